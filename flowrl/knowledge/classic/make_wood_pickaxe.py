"""Make Wood Pickaxe: make a wooden pickaxe at a crafting table within reach."""

from craftax.craftax_classic.constants import BlockType
from craftax.craftax_classic.envs.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory) -> Array:
    """Returns whether a wooden pickaxe is in hand."""
    return inventory.wood_pickaxe >= 1


def reward(inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for the first pickaxe, and a little for coming back to a table."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    return gathered(inventory.wood_pickaxe, inventory_diff.wood_pickaxe, 1) + nearer
