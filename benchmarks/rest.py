"""Rest for chain runs. On trial: sleep until the energy is back, somewhere it is safe."""

from jax import Array

POINT_VALUE = 0.1
"""The reward of one point of energy."""


def is_done(player_intrinsics: Array) -> Array:
    """Returns False: energy ends it."""
    return player_intrinsics[0] < 0


def reward(player_intrinsics_diff: Array) -> Array:
    """Returns a little for each point of energy won and of health won or lost."""
    return POINT_VALUE * (player_intrinsics_diff[3] + player_intrinsics_diff[0])
