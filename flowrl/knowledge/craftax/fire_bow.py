"""Fire Bow: shoot an arrow."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether an arrow was shot since the task began."""
    return achievements[Achievement.FIRE_BOW.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for shooting an arrow, which ends the task."""
    return achievements_diff[Achievement.FIRE_BOW.value] * 1.0
