"""Eat Snail: kill a snail of the dungeon and eat it."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a snail was eaten since the task began."""
    return achievements[Achievement.EAT_SNAIL.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for eating a snail, which ends the task; skill code does not see creatures."""
    return achievements_diff[Achievement.EAT_SNAIL.value] * 1.0
