"""Make Wood Sword: make a wooden sword at a crafting table within reach."""

from craftax.craftax_classic.constants import BlockType
from craftax.craftax_classic.envs.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory) -> Array:
    """Returns whether a wooden sword is in hand."""
    return inventory.wood_sword >= 1


def reward(inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for the first sword, and a little for coming back to a table."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    return gathered(inventory.wood_sword, inventory_diff.wood_sword, 1) + nearer
