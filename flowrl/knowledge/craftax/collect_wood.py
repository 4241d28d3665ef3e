"""Collect Wood: chop trees until n wood are in hand."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether n wood are in hand."""
    return inventory.wood >= n


def reward(
    inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array, n: Array
) -> Array:
    """Returns the share of n gathered in this step, and a little for coming nearer to a tree."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.TREE.value)
    return gathered(inventory.wood, inventory_diff.wood, n) + nearer
