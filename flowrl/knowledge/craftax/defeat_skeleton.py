"""Defeat Skeleton: kill a skeleton in its tunnels."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a skeleton was killed since the task began."""
    return achievements[Achievement.DEFEAT_SKELETON.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for killing a skeleton, which ends the task; skill code does not see creatures."""
    return achievements_diff[Achievement.DEFEAT_SKELETON.value] * 1.0
