"""Place Furnace: place a furnace on the free cell ahead and stay within its reach; it needs no table."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a furnace was placed since the task began."""
    return achievements[Achievement.PLACE_FURNACE.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for placing a furnace, which ends the task."""
    return achievements_diff[Achievement.PLACE_FURNACE.value] * 1.0
