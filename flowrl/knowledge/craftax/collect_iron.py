"""Collect Iron: mine iron with a stone pickaxe until n are in hand."""

from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether n iron are in hand."""
    return inventory.iron >= n


def reward(
    inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array, n: Array
) -> Array:
    """Returns the share of n gathered in this step, and a little for coming nearer to iron."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.IRON.value)
    return gathered(inventory.iron, inventory_diff.iron, n) + nearer
