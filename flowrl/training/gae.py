"""Generalised advantage estimation over tasks, and its normalisation per expert."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def generalised_advantages(
    reward: Float[Array, "T B"],
    value: Float[Array, "T B"],
    last_value: Float[Array, "B"],
    cut: Bool[Array, "T B"],
    timeout: Bool[Array, "T B"],
    timeout_value: Float[Array, "T B"],
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Array, "T B"], Float[Array, "T B"]]:
    """Returns (advantages, value targets).

    Nothing flows over a task's end: where a task is cut by success or death no value follows; where the time limit
    ends the episode the value of the state reached does, but not the next episode's.
    Source: Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation".
    """
    next_value = jnp.concatenate([value[1:], last_value[None]])
    next_value = jnp.where(cut, 0.0, jnp.where(timeout, timeout_value, next_value))
    delta = reward + gamma * next_value - value
    flows = ~(cut | timeout)

    def back(following: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, flows = now
        advantage = delta + gamma * gae_lambda * flows * following
        return advantage, advantage

    _, advantages = jax.lax.scan(back, jnp.zeros_like(last_value), (delta, flows), reverse=True)
    return advantages, advantages + value


def normalise_per_expert(
    advantages: Float[Array, "G N"],
    expert: Int[Array, "G N"],
    experts: int,
    floor: float,
    total_fn: Callable[[Any], Any],
) -> Float[Array, "G N"]:
    """Returns advantages with each expert's mean taken off, divided by its standard deviation or ``floor``.

    The floor keeps an expert that has nothing left to learn from having its noise blown up to unit size.

    Args:
        total_fn: the sums over all groups, wherever they are, of leaves [G, ...].
    """
    member = expert[:, None] == jnp.arange(experts)[:, None]
    total, sums = total_fn((member.sum(axis=2), jnp.where(member, advantages[:, None], 0.0).sum(axis=2)))
    total = jnp.maximum(total, 1)
    mean = sums / total
    centred = advantages - mean[expert]
    squares = total_fn(jnp.where(member, centred[:, None] ** 2, 0.0).sum(axis=2))
    return centred / jnp.maximum(jnp.sqrt(squares / total), floor)[expert]
