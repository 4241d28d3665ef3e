"""Return To Furnace: go back to a furnace that stands somewhere."""

import jax.numpy as jnp
from craftax.craftax_classic.constants import BlockType
from craftax.craftax_classic.envs.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, within_reach


def is_done(closest_blocks: Array) -> Array:
    """Returns whether a furnace is within reach."""
    return within_reach(closest_blocks, BlockType.FURNACE.value)


def reward(inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for having one within reach, which ends the task, and a little for coming nearer to it.

    Stone that is spent, on a new one or otherwise, costs more than that: plans count on keeping it.
    """
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.FURNACE.value, lasting=True)
    spent = jnp.where(inventory_diff.stone < 0, 1.5, 0.0)
    return within_reach(closest_blocks, BlockType.FURNACE.value) + nearer - spent
