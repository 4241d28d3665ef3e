"""Collect Drink: drink water, or from a fountain, once."""

from craftax.craftax.constants import Achievement, BlockType
from jax import Array

from flowrl.env.shaping import approach


def is_done(achievements: Array) -> Array:
    """Returns whether the player drank since the task began."""
    return achievements[Achievement.COLLECT_DRINK.value] > 0


def reward(achievements_diff: Array, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for drinking, which ends the task, and a little for coming nearer to water or a fountain."""
    nearer = approach(
        closest_blocks, closest_blocks_prev, BlockType.WATER.value, BlockType.FOUNTAIN.value, lasting=True
    )
    return achievements_diff[Achievement.COLLECT_DRINK.value] + nearer
