"""Generalised advantage estimation over tasks, and its normalisation per expert."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


# Example, gamma = 0.9, lambda = 1, all values 0, four steps of one world, the last value 2:
#     reward        0     1     0     0
#     cut           no    yes   no    no       the task is done in the second step
#     next value    0     0     0     2        none after the cut
#     delta         0     1     0     1.8
#     advantage     0.9   1     1.62  1.8      0.9 = 0.9 * 1; 1 takes nothing from 1.62
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
    """Estimate advantages and value targets.

    Nothing flows over a cut: after a death, or after a task or a plan that is done, no value follows; where the time
    limit ends the episode the value of the state reached does, but not the next episode's.

    Source: Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation".
    """
    next_value = jnp.concatenate([value[1:], last_value[None]])  # [T, B]
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
    """Standardise each expert's advantages on their own.

    The standard deviation is at least ``floor``: an expert with nothing left to learn must not have its noise blown up
    to unit size.

    Args:
        total_fn: the sums over all groups, wherever they are, of leaves [G, ...].
    """
    member = expert[:, None] == jnp.arange(experts)[:, None]  # [G, E, N]
    total, sums = total_fn((member.sum(axis=2), jnp.where(member, advantages[:, None], 0.0).sum(axis=2)))
    total = jnp.maximum(total, 1)
    mean = sums / total  # [E]
    centred = advantages - mean[expert]  # [G, N]
    squares = total_fn(jnp.where(member, centred[:, None] ** 2, 0.0).sum(axis=2))  # [E]
    return centred / jnp.maximum(jnp.sqrt(squares / total), floor)[expert]
