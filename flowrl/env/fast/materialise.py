"""World generation with its noise computed once."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.extend import core

from flowrl.env.fast.threefry import IMPL

P = ParamSpec("P")
R = TypeVar("R")
LARGE = 512
"""From how many cells on an array counts as large."""
WIDTH = 16
"""Columns of the identity that arrays are multiplied by: 8 and 32 take longer on a CPU."""
COSTLY = ("bitcast_convert_type", "div")
"""What ends a costly chain: random bits that become a number, and the last step of upstream's noise."""
REDUCED = ("reduce_min", "reduce_max")
"""What reads the noise before it is scaled."""


def materialise(fn: Callable[P, R]) -> Callable[P, R]:
    """Rewrite ``fn`` of one world so that costly large arrays are stored.

    A map is made from noise by a dozen comparisons, and XLA computes the noise anew, sines and all, for each loop that
    compares, and the random numbers, twenty rounds of them. A product with the identity is the same number, and is not
    merged into other loops.
    """

    @functools.wraps(fn)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        traced, shape = jax.make_jaxpr(functools.partial(fn, **kwargs), return_shape=True)(*args)
        results = _run(traced.jaxpr, traced.consts, jax.tree.leaves(args))
        typed = [jnp.asarray(x, leaf.dtype) for x, leaf in zip(results, jax.tree.leaves(shape), strict=True)]
        return jax.tree.unflatten(jax.tree.structure(shape), typed)

    return wrapped


def _run(jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    reduced = {id(var) for eqn in jaxpr.eqns if eqn.primitive.name in REDUCED for var in eqn.invars}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        results = _evaluate(eqn, [read(v) for v in eqn.invars])
        # A chain that ends here is stored, so that no reader computes it again.
        costly = eqn.primitive.name in COSTLY
        for var, result in zip(eqn.outvars, results, strict=True):
            values[var] = _stored(result) if costly or id(var) in reduced else result
    return [read(v) for v in jaxpr.outvars]


def _evaluate(eqn: Any, args: list[Any]) -> list[Any]:
    name = eqn.primitive.name
    if name == "jit":
        inner = eqn.params["jaxpr"]
        return _run(inner.jaxpr, inner.consts, args)
    if name == "random_wrap" and eqn.params["impl"].name == "threefry2x32":
        return [jax.random.wrap_key_data(args[0], impl=IMPL)]
    results = eqn.primitive.bind(*args, **eqn.params)
    return list(results) if eqn.primitive.multiple_results else [results]


def _stored(value: Any) -> Any:
    if value.dtype != jnp.float32 or value.size < LARGE or value.size % WIDTH:
        return value
    # [cells / 16, 16] @ [16, 16]; "highest" keeps all bits of a float32.
    return jnp.matmul(value.reshape(-1, WIDTH), jnp.eye(WIDTH), precision="highest").reshape(value.shape)
