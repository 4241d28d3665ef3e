"""Defeat Gnome Warrior: kill a gnome warrior of the mines."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a gnome warrior was killed since the task began."""
    return achievements[Achievement.DEFEAT_GNOME_WARRIOR.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for killing a gnome warrior, which ends the task; skill code does not see creatures."""
    return achievements_diff[Achievement.DEFEAT_GNOME_WARRIOR.value] * 1.0
