"""Make Iron Sword: make an iron sword with a crafting table and a furnace within reach."""

from craftax.craftax_classic.constants import BlockType
from craftax.craftax_classic.envs.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory) -> Array:
    """Returns whether an iron sword is in hand."""
    return inventory.iron_sword >= 1


def reward(inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for the first sword, and a little for coming back to a table and a furnace, half for each."""
    to_table = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    to_furnace = approach(closest_blocks, closest_blocks_prev, BlockType.FURNACE.value, lasting=True)
    return gathered(inventory.iron_sword, inventory_diff.iron_sword, 1) + (to_table + to_furnace) / 2
