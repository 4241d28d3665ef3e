"""Eat Cow: kill a cow and eat it."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a cow was eaten since the task began."""
    return achievements[Achievement.EAT_COW.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for eating a cow, which ends the task; skill code does not see creatures."""
    return achievements_diff[Achievement.EAT_COW.value] * 1.0
