"""Place Table: place a crafting table on the free cell ahead and stay within its reach."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a table was placed since the task began."""
    return achievements[Achievement.PLACE_TABLE.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for placing a table, which ends the task."""
    return achievements_diff[Achievement.PLACE_TABLE.value] * 1.0
