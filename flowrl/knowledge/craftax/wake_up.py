"""Wake Up: fall asleep when tired and wake up."""

from craftax.craftax.constants import Achievement
from jax import Array

from flowrl.env.shaping import STEP_VALUE

ENERGY = 3


def is_done(achievements: Array) -> Array:
    """Returns whether the player woke up since the task began."""
    return achievements[Achievement.WAKE_UP.value] > 0


def reward(achievements_diff: Array, player_intrinsics_diff: Array) -> Array:
    """Returns 1 for waking up, which ends the task, and a little for each level of energy won, less what was lost."""
    return achievements_diff[Achievement.WAKE_UP.value] + STEP_VALUE * player_intrinsics_diff[ENERGY]
