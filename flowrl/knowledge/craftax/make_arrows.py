"""Make Arrows: make arrows of wood and stone at a crafting table within reach, two at a time."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered

WANTED = 2


def is_done(inventory: Inventory) -> Array:
    """Returns whether two arrows are in hand."""
    return inventory.arrows >= WANTED


def reward(inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns the share made in this step, and a little for coming back to a table."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    return gathered(inventory.arrows, inventory_diff.arrows, WANTED) + nearer
