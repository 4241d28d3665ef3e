"""Collect Sapling: search grass until n saplings are in hand; one try in ten finds one."""

from craftax.craftax.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import gathered


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether n saplings are in hand."""
    return inventory.sapling >= n


def reward(inventory: Inventory, inventory_diff: Inventory, n: Array) -> Array:
    """Returns the share of n gathered in this step; grass is underfoot almost everywhere, so nothing for nearness."""
    return gathered(inventory.sapling, inventory_diff.sapling, n)
