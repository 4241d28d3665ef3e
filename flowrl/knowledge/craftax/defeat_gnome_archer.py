"""Defeat Gnome Archer: kill a gnome archer of the mines."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a gnome archer was killed since the task began."""
    return achievements[Achievement.DEFEAT_GNOME_ARCHER.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for killing a gnome archer, which ends the task; skill code does not see creatures."""
    return achievements_diff[Achievement.DEFEAT_GNOME_ARCHER.value] * 1.0
