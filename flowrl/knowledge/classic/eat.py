"""Eat: go to a cow that is known, and eat it."""

from jax import Array

POINT_VALUE = 0.1
"""The reward of one point of food."""


def is_done(player_intrinsics: Array) -> Array:
    """Returns False. Food ends it."""
    return player_intrinsics[0] < 0


def reward(player_intrinsics_diff: Array) -> Array:
    """Returns the food gained. What hunger takes is taken back."""
    return POINT_VALUE * player_intrinsics_diff[1]
