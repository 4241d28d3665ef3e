"""Collect Drink: drink water once."""

from jax import Array

from flowrl.env.shaping import approach
from flowrl.env.tiny import Achievement, Block


def is_done(achievements: Array) -> Array:
    """Returns whether the player drank since the task began."""
    return achievements[Achievement.COLLECT_DRINK] > 0


def reward(achievements_diff: Array, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for drinking, which ends the task, and a little for coming nearer to water."""
    nearer = approach(closest_blocks, closest_blocks_prev, Block.WATER)
    return achievements_diff[Achievement.COLLECT_DRINK] + nearer
