"""Make Diamond Armour: make pieces of armour of diamond until there are n, with a crafting table within reach."""

import jax.numpy as jnp
from craftax.craftax.constants import BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered

TIER = 2


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether n pieces are of diamond; pieces of iron add up to nothing here."""
    return (inventory.armour >= TIER).sum() >= n


def reward(
    inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array, n: Array
) -> Array:
    """Returns the share made in this step, and a little for coming back to a table."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    before, after = (jnp.sum(armour >= TIER) for armour in (inventory.armour - inventory_diff.armour, inventory.armour))
    return gathered(after, after - before, n) + nearer
