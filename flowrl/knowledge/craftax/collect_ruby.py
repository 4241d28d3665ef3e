"""Collect Ruby: mine rubies of the mines with a diamond pickaxe until n are in hand."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether n ruby are in hand."""
    return inventory.ruby >= n


def reward(
    inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array, n: Array
) -> Array:
    """Returns the share of n gathered in this step, and a little for coming nearer to a ruby."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.RUBY.value)
    return gathered(inventory.ruby, inventory_diff.ruby, n) + nearer
