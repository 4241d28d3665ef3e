"""Collect Sapphire: mine sapphires of the mines with a diamond pickaxe until n are in hand."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether n sapphire are in hand."""
    return inventory.sapphire >= n


def reward(
    inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array, n: Array
) -> Array:
    """Returns the share of n gathered in this step, and a little for coming nearer to a sapphire."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.SAPPHIRE.value)
    return gathered(inventory.sapphire, inventory_diff.sapphire, n) + nearer
