"""Place Table: place a table on the grass ahead."""

from jax import Array

from flowrl.env.tiny import Achievement


def is_done(achievements: Array) -> Array:
    """Returns whether a table was placed since the task began; an older one may be far away by now."""
    return achievements[Achievement.PLACE_TABLE] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for placing a table, which ends the task."""
    return achievements_diff[Achievement.PLACE_TABLE] * 1.0
