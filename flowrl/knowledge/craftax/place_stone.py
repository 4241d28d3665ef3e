"""Place Stone: put a stone on the free cell or the water ahead."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a stone was placed since the task began."""
    return achievements[Achievement.PLACE_STONE.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for placing a stone, which ends the task."""
    return achievements_diff[Achievement.PLACE_STONE.value] * 1.0
