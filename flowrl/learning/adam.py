"""Adam for one expert among many, a few rows at a time and in place.

An expert's parameters and moments are read and written once a step. On a CPU that is what a step of many experts costs,
so nothing but that crosses the memory: the copies that XLA makes of a few rows stay in a core's cache.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from flowrl.config import PPOConfig
from flowrl.models.experts import Params

CHUNK = 16384
"""Numbers of a kernel that are stepped at a time on a CPU: with their moments and gradient they fit a core's cache."""
_ADAM = optax.scale_by_adam(eps=1e-5)
Leaves = tuple[Array, Array, Array]
"""A parameter, or some rows of it, and its two moments."""


class Experts(NamedTuple):
    """Parameters, leaves [E, ...], with their moments."""

    params: Params
    moments: optax.ScaleByAdamState


def init_optimiser(params: Params) -> optax.ScaleByAdamState:
    """Returns the optimiser's state for experts' parameters."""
    state: optax.ScaleByAdamState = _ADAM.init(params)
    return state


def gradient_norm(gradient: Params) -> Float[Array, ""]:
    """Returns the norm of one expert's gradient over all its leaves."""
    return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradient)))


def step_expert(
    experts: Experts,
    number: Int[Array, ""] | int,
    gradient: Params,
    config: PPOConfig,
    lr: Float[Array, ""],
    wanted: Bool[Array, ""],
    on_cpu: bool,
) -> tuple[Experts, Float[Array, ""]]:
    """Returns the experts, one of them after a step of Adam, its gradient's norm clipped on its own; the norm before.

    The count of steps stays: it is all experts' in common.

    Args:
        gradient: leaves [1, ...].
        wanted: whether to make the step at all; not to be known when it is compiled. The branch on it keeps what is
            written from being computed in the place that it is read from, for which XLA would copy all experts.
        on_cpu: go over a kernel a few rows at a time.
    """
    norm = gradient_norm(gradient)
    scale = jnp.minimum(1.0, config.grad_norm / jnp.maximum(norm, 1e-8))

    def step(param: Array, mu: Array, nu: Array, slope: Array) -> Leaves:
        direction, moments = _ADAM.update(slope * scale, experts.moments._replace(mu=mu, nu=nu), param)
        return param - lr * direction, moments.mu, moments.nu

    def step_leaf(param: Array, mu: Array, nu: Array, slope: Array) -> Leaves:
        rows, rest = param.shape[1], param.shape[2:]
        parts = -(-slope.size // CHUNK) if on_cpu and rest else 1
        size = -(-rows // parts)

        def step_rows(i: Array, leaves: Leaves) -> Leaves:
            # The last rows may have been stepped already, with those before.
            first = jnp.minimum(i * size, rows - size)
            is_new = (first + jnp.arange(size) >= i * size).reshape(size, *(1 for _ in rest))
            start = (number, first, *(0 for _ in rest))

            def new_rows(old: Leaves, slopes: Array) -> Leaves:
                param, mu, nu = (jnp.where(is_new, n, o) for n, o in zip(step(*old, slopes), old, strict=True))
                return param, mu, nu

            param, mu, nu = (jax.lax.dynamic_slice(leaf, start, (1, size, *rest)) for leaf in leaves)
            slopes = jax.lax.dynamic_slice(slope, (0, *start[1:]), (1, size, *rest))
            new = jax.lax.cond(wanted, new_rows, lambda old, _: old, (param, mu, nu), slopes)
            param, mu, nu = (
                jax.lax.dynamic_update_slice(leaf, part, start) for leaf, part in zip(leaves, new, strict=True)
            )
            return param, mu, nu

        stepped: Leaves = jax.lax.fori_loop(0, -(-rows // size), step_rows, (param, mu, nu))
        return stepped

    leaves = jax.tree.map(step_leaf, experts.params, experts.moments.mu, experts.moments.nu, gradient)
    params, mu, nu = jax.tree.transpose(jax.tree.structure(gradient), jax.tree.structure((0, 0, 0)), leaves)
    return Experts(params, experts.moments._replace(mu=mu, nu=nu)), norm
