"""Collect Stone: mine stone with a pickaxe until n are in hand."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether n stone are in hand."""
    return inventory.stone >= n


def reward(
    inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array, n: Array
) -> Array:
    """Returns the share of n gathered in this step, and a little for coming nearer to stone."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.STONE.value)
    return gathered(inventory.stone, inventory_diff.stone, n) + nearer
