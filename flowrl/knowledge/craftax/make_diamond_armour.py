"""Make Diamond Armour: make a piece of diamond armour, which counts twice, at a crafting table within reach."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered

WANTED = 2


def is_done(inventory: Inventory) -> Array:
    """Returns whether the pieces of armour add up to two."""
    return inventory.armour.sum() >= WANTED


def reward(inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns the share made in this step, and a little for coming back to a table."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    return gathered(inventory.armour.sum(), inventory_diff.armour.sum(), WANTED) + nearer
