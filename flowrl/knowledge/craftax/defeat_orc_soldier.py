"""Defeat Orc Soldier: kill an orc soldier of the dungeon."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether an orc soldier was killed since the task began."""
    return achievements[Achievement.DEFEAT_ORC_SOLIDER.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for killing an orc soldier, which ends the task; skill code does not see creatures."""
    return achievements_diff[Achievement.DEFEAT_ORC_SOLIDER.value] * 1.0
