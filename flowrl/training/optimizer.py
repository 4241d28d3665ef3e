"""Adam for one expert, its gradient norm clipped on its own."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from flowrl.config import PPOConfig
from flowrl.models.experts import Params
from flowrl.rollout.devices import TreeT

ROWS = 16
"""Rows of a kernel that are squared and added at a time on a CPU."""
_ADAM = optax.scale_by_adam(eps=1e-5)


class Experts(NamedTuple):
    """Parameters with their moments and counts of steps, leaves [E, ...]."""

    params: Params
    moments: optax.ScaleByAdamState


def one_of(everyone: TreeT, number: Array) -> TreeT:
    """Slice one of all experts, leaves [1, ...]."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, number, 1), everyone)


def with_one(everyone: TreeT, one: TreeT, number: Array) -> TreeT:
    """Replace one of all experts."""
    return jax.tree.map(lambda all_of, new: jax.lax.dynamic_update_slice_in_dim(all_of, new, number, 0), everyone, one)


def init_optimizer(params: Params) -> optax.ScaleByAdamState:
    """Adam's state before the first step, leaves [E, ...].

    Each expert counts its own steps: its moments are corrected for what it has seen, not for what others have.
    """
    state: optax.ScaleByAdamState = _ADAM.init(params)
    return state._replace(count=jnp.zeros(jax.tree.leaves(params)[0].shape[0], jnp.int32))


def step_expert(
    expert: Experts, gradient: Params, config: PPOConfig, lr: Float[Array, ""], on_cpu: bool
) -> tuple[Experts, Float[Array, ""]]:
    """Make one Adam step of one expert, leaves [1, ...]. The norm that comes back is the one before clipping."""
    norm = gradient_norm(gradient, on_cpu)
    scale = jnp.minimum(1.0, config.max_grad_norm / jnp.maximum(norm, 1e-8))
    # A count without an axis: with one, XLA rounds otherwise on one device than on several.
    own = expert.moments._replace(count=expert.moments.count[0])
    directions, moments = _ADAM.update(jax.tree.map(lambda leaf: leaf * scale, gradient), own)
    params = jax.tree.map(lambda param, direction: param - lr * direction, expert.params, directions)
    return Experts(params, moments._replace(count=moments.count[None])), norm


def gradient_norm(gradient: Params, on_cpu: bool) -> Float[Array, ""]:
    """Norm of one expert's gradient, leaves [1, ...], over all its leaves.

    Args:
        on_cpu: add row by row: XLA's own sum there takes one number after another.
    """
    return jnp.sqrt(sum(_sum_of_squares(leaf, on_cpu) for leaf in jax.tree.leaves(gradient)))


def _sum_of_squares(leaf: Array, on_cpu: bool) -> Float[Array, ""]:
    if not on_cpu or leaf.ndim < 3 or leaf.shape[1] < ROWS:
        return jnp.square(leaf).sum()

    def add(i: Array, total: Array) -> Array:
        # [ROWS, F]
        return total + jnp.square(jax.lax.dynamic_slice_in_dim(leaf[0], i * ROWS, ROWS))

    whole = leaf.shape[1] // ROWS
    total = jax.lax.fori_loop(0, whole, add, jnp.zeros((ROWS, *leaf.shape[2:]), leaf.dtype))
    return total.sum() + jnp.square(leaf[0, whole * ROWS :]).sum()  # and the rows that make no whole block
