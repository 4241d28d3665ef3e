"""Place Plant: plant a sapling on the grass ahead."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a sapling was planted since the task began."""
    return achievements[Achievement.PLACE_PLANT.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for planting a sapling, which ends the task."""
    return achievements_diff[Achievement.PLACE_PLANT.value] * 1.0
