"""Eat Bat: kill a bat of the mines and eat it."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a bat was eaten since the task began."""
    return achievements[Achievement.EAT_BAT.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for eating a bat, which ends the task; skill code does not see creatures."""
    return achievements_diff[Achievement.EAT_BAT.value] * 1.0
