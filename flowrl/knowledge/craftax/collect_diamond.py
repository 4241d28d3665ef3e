"""Collect Diamond: mine diamonds with an iron pickaxe until n are in hand."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether n diamond are in hand."""
    return inventory.diamond >= n


def reward(
    inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array, n: Array
) -> Array:
    """Returns the share of n gathered in this step, and a little for coming nearer to a diamond."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.DIAMOND.value)
    return gathered(inventory.diamond, inventory_diff.diamond, n) + nearer
