"""Collect Coal: mine coal with a pickaxe until n are in hand."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether n coal are in hand."""
    return inventory.coal >= n


def reward(
    inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array, n: Array
) -> Array:
    """Returns the share of n gathered in this step, and a little for coming nearer to coal."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.COAL.value)
    return gathered(inventory.coal, inventory_diff.coal, n) + nearer
