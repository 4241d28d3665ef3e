"""Return To Furnace: go back to a furnace that was placed on this floor, until it is within reach."""

from craftax.craftax.constants import BlockType
from jax import Array

from flowrl.env.shaping import approach, within_reach


def is_done(closest_blocks: Array) -> Array:
    """Returns whether a furnace is within reach."""
    return within_reach(closest_blocks, BlockType.FURNACE.value)


def reward(closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for having one within reach, which ends the task, and a little for coming nearer to it."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.FURNACE.value, lasting=True)
    return within_reach(closest_blocks, BlockType.FURNACE.value) + nearer
