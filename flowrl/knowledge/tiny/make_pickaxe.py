"""Make Pickaxe: make a pickaxe at a table within reach."""

from jax import Array

from flowrl.env.shaping import approach, gathered
from flowrl.env.tiny import Block, Inventory


def is_done(inventory: Inventory) -> Array:
    """Returns whether a pickaxe is in hand."""
    return inventory.pickaxe >= 1


def reward(inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for the first pickaxe, and a little for coming back to a table."""
    nearer = approach(closest_blocks, closest_blocks_prev, Block.TABLE)
    return gathered(inventory.pickaxe, inventory_diff.pickaxe, 1) + nearer
