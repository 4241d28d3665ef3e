"""Make Iron Armour: make iron armour, piece by piece until n, with a crafting table and a furnace within reach."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether the pieces of armour add up to n."""
    return inventory.armour.sum() >= n


def reward(
    inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array, n: Array
) -> Array:
    """Returns the share made in this step, and a little for coming back to a table and a furnace, half for each."""
    to_table = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    to_furnace = approach(closest_blocks, closest_blocks_prev, BlockType.FURNACE.value, lasting=True)
    return gathered(inventory.armour.sum(), inventory_diff.armour.sum(), n) + (to_table + to_furnace) / 2
