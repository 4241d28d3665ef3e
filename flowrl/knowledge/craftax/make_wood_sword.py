"""Make Wood Sword: make a wooden sword with a crafting table within reach."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach

TIER = 1


def is_done(inventory: Inventory) -> Array:
    """Returns whether a wooden sword, or a better one, is in hand."""
    return inventory.sword >= TIER


def reward(inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for reaching the tier, and a little for coming back to a table."""
    reached = (inventory.sword >= TIER) & (inventory.sword - inventory_diff.sword < TIER)
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    return reached + nearer
