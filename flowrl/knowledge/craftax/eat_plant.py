"""Eat Plant: stay alive until a planted sapling is ripe, 600 steps after it was planted, and eat of it."""

from craftax.craftax.constants import Achievement, BlockType
from jax import Array

from flowrl.env.shaping import approach


def is_done(achievements: Array) -> Array:
    """Returns whether a ripe plant was eaten since the task began."""
    return achievements[Achievement.EAT_PLANT.value] > 0


def reward(achievements_diff: Array, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for eating, which ends the task, and a little for coming nearer to the nearest plant, ripe or not."""
    nearer = approach(
        closest_blocks, closest_blocks_prev, BlockType.PLANT.value, BlockType.RIPE_PLANT.value, lasting=True
    )
    return achievements_diff[Achievement.EAT_PLANT.value] + nearer
