"""Make Torches: make torches of wood and coal at a crafting table within reach, n times four."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered

AT_ONCE = 4


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether n times four torches are in hand."""
    return inventory.torches >= AT_ONCE * n


def reward(
    inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array, n: Array
) -> Array:
    """Returns the share made in this step, and a little for coming back to a table."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    return gathered(inventory.torches, inventory_diff.torches, AT_ONCE * n) + nearer
