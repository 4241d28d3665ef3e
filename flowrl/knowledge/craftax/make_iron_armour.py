"""Make Iron Armour: make iron armour, piece by piece until n, with a crafting table and a furnace within reach."""

import jax.numpy as jnp
from craftax.craftax.constants import Achievement, BlockType
from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered

EVENT = Achievement.MAKE_IRON_ARMOUR.value


def is_done(inventory: Inventory, achievements: Array, n: Array) -> Array:
    """Returns whether a piece of iron was made, and the pieces, one of diamond counting twice, add up to n."""
    return achievements[EVENT] & (inventory.armour.sum() >= n)


def reward(
    inventory: Inventory,
    inventory_diff: Inventory,
    achievements: Array,
    achievements_diff: Array,
    closest_blocks: Array,
    closest_blocks_prev: Array,
    n: Array,
) -> Array:
    """Returns the share made in this step, the last of it only once a piece was made of iron, and a little for coming
    back to a table and a furnace, half for each."""
    to_table = approach(closest_blocks, closest_blocks_prev, BlockType.CRAFTING_TABLE.value, lasting=True)
    to_furnace = approach(closest_blocks, closest_blocks_prev, BlockType.FURNACE.value, lasting=True)
    worn, made = inventory.armour.sum(), achievements[EVENT]
    before = jnp.minimum(worn - inventory_diff.armour.sum(), n - 1 + (made & ~achievements_diff[EVENT]))
    after = jnp.minimum(worn, n - 1 + made)
    return gathered(after, after - before, n) + (to_table + to_furnace) / 2
