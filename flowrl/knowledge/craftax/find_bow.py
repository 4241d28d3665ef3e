"""Find Bow: open a chest of the dungeon: the first one holds a bow."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory) -> Array:
    """Returns whether a bow is in hand."""
    return inventory.bow >= 1


def reward(inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for the bow, and a little for coming nearer to a chest."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.CHEST.value)
    return gathered(inventory.bow, inventory_diff.bow, 1) + nearer
