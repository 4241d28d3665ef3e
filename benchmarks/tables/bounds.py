"""The two numbers that bound a piece of work, and what the machine does of each in a second."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.tables.measure import Bound, Row, row, time_in_turn
from flowrl.env.domain import Domain

_FLOAT = 4
_SIDE = 1536
_COPIED = 64 * 2**20


def compiled_loop(function: Any, *arguments: Any, of: int = 1) -> tuple[Callable[..., Any], Bound]:
    """Returns a jitted function compiled, and what the compiler counts in one turn of its loop, divided by ``of``.

    The body of a loop counts once, however often it runs, and a loop within it likewise.
    """
    program = function.lower(*arguments).compile()
    costs: Any = program.cost_analysis()
    return program, Bound(costs["bytes accessed"] / of, costs["flops"] / of)


def tree_bytes(tree: Any) -> int:
    """Returns the bytes of a tree of arrays, or of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def hidden_parameters(domain: Domain, width: int, layers: int) -> int:
    """Returns the parameters of one expert's actor and critic behind their shared first layer."""
    inner = (layers - 2) * width * (width + 1)
    return 2 * inner + (width + 1) * (len(domain.actions) + 1)


def expert_parameters(domain: Domain, width: int, layers: int) -> int:
    """Returns the parameters of one expert's actor and critic."""
    return hidden_parameters(domain, width, layers) + width * (domain.observation_size + 1)


def _operations_of_one(domain: Domain, width: int, layers: int) -> float:
    """Returns the operations that one observation takes forward, its zeros skipped: a cell is one row of the kernel."""
    rows = domain.shown_cells + domain.scalars + domain.extra_size
    return 2.0 * (hidden_parameters(domain, width, layers) + width * rows)


def update_bound(
    domain: Domain, width: int, layers: int, experts: int, batch: int, sample_bytes: int, minibatches: int
) -> Bound:
    """Returns the bound of one gradient step with Adam, of an epoch of so many.

    Parameters and two moments are read and written once an epoch, as an expert's stay in the cache over its steps; a
    sample is read forward and backward, its activations are written and read.
    """
    parameters = experts * expert_parameters(domain, width, layers)
    activations = batch * (2 * (layers - 2) + 1) * width
    moved = _FLOAT * (6 * parameters / minibatches + 2 * activations) + 2 * batch * sample_bytes
    return Bound(moved, 3 * batch * _operations_of_one(domain, width, layers) + 10 * parameters)


def frame_bound(
    domain: Domain,
    width: int,
    layers: int,
    experts: int,
    epochs: int,
    minibatch: int,
    sample_bytes: int,
    minibatches: int,
) -> Bound:
    """Returns the bound of a frame of training, the game left out: acting, and its share of the gradient steps.

    Args:
        minibatch: samples of a step.
        minibatches: steps of an epoch.
    """
    step = update_bound(domain, width, layers, experts, minibatch, sample_bytes, minibatches)
    acting = _operations_of_one(domain, width, layers)
    return Bound(sample_bytes + epochs * step.bytes_moved / minibatch, acting + epochs * step.operations / minibatch)


def machine_rows(table: str) -> list[Row]:
    """Returns what this machine does in a second: of bytes copied, and of operations in a product of matrices."""
    square = jnp.ones((_SIDE, _SIDE))
    block = jnp.ones(_COPIED // _FLOAT)
    multiply, copy = jax.jit(lambda x: x @ x), jax.jit(lambda x: x + 1)
    seconds = time_in_turn({"multiply": lambda _: multiply(square), "copy": lambda _: copy(block)})
    return [
        row(table, "this machine: operations", [2e-9 * _SIDE**3 / s for s in seconds["multiply"]], "10^9/s"),
        row(table, "this machine: bytes read and written", [2e-9 * _COPIED / s for s in seconds["copy"]], "GB/s"),
    ]
