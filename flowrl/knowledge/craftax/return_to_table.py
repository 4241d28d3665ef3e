"""Return To Table: go back to a crafting table that was placed on this floor, until it is within reach."""

import jax.numpy as jnp
from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, within_reach


def is_done(closest_blocks: Array) -> Array:
    """Returns whether a crafting table is within reach."""
    return within_reach(closest_blocks, BlockType.CRAFTING_TABLE.value)


def reward(inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for having one within reach, which ends the task, and a little for coming nearer to it.

    The wood for a new one costs more than that: plans count on keeping it.
    """
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    spent = jnp.where(inventory_diff.wood < 0, 1.5, 0.0)
    return within_reach(closest_blocks, BlockType.CRAFTING_TABLE.value) + nearer - spent
