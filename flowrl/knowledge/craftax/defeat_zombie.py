"""Defeat Zombie: kill a zombie."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a zombie was killed since the task began."""
    return achievements[Achievement.DEFEAT_ZOMBIE.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for killing a zombie, which ends the task; skill code does not see creatures."""
    return achievements_diff[Achievement.DEFEAT_ZOMBIE.value] * 1.0
