"""World generation evaluated so that its noise is computed once, with the same results bit for bit."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.extend import core

P = ParamSpec("P")
R = TypeVar("R")
LARGE = 512
"""From how many cells on an array counts as large."""


def noise_stored(fn: Callable[P, R]) -> Callable[P, R]:
    """Returns ``fn`` of one world with every large quotient stored, as upstream's noise is one: its last step divides.

    A map is made from noise by a dozen comparisons, and XLA computes the noise anew, sines and all, for each loop
    that compares. A product with the identity is the same number, and is not merged into other loops.
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

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        values.update(zip(eqn.outvars, _evaluate(eqn, [read(v) for v in eqn.invars]), strict=True))
    return [read(v) for v in jaxpr.outvars]


def _evaluate(eqn: Any, args: list[Any]) -> list[Any]:
    if eqn.primitive.name == "jit":
        inner = eqn.params["jaxpr"]
        return _run(inner.jaxpr, inner.consts, args)
    results = eqn.primitive.bind(*args, **eqn.params)
    results = list(results) if eqn.primitive.multiple_results else [results]
    if eqn.primitive.name == "div":
        return [_stored(result) for result in results]
    return results


def _stored(value: Any) -> Any:
    if value.ndim != 2 or value.size < LARGE or value.dtype != jnp.float32:
        return value
    return jnp.matmul(value, jnp.eye(value.shape[1]), precision="highest")
