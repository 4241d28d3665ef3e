"""Make Iron Pickaxe: make an iron pickaxe with a crafting table and a furnace within reach."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach

TIER = 3


def is_done(inventory: Inventory) -> Array:
    """Returns whether an iron pickaxe, or a better one, is in hand."""
    return inventory.pickaxe >= TIER


def reward(inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for reaching the tier, and a little for coming back to a table and a furnace, half for each."""
    reached = (inventory.pickaxe >= TIER) & (inventory.pickaxe - inventory_diff.pickaxe < TIER)
    to_table = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    to_furnace = approach(closest_blocks, closest_blocks_prev, BlockType.FURNACE.value, lasting=True)
    return reached + (to_table + to_furnace) / 2
