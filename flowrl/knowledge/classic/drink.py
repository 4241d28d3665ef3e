"""Drink: go to water that is known, and drink one's fill."""

from craftax.craftax_classic.constants import BlockType
from jax import Array

from flowrl.env.shaping import approach

POINT_VALUE = 0.1
"""The reward of one point of drink."""


def is_done(player_intrinsics: Array) -> Array:
    """Returns False. Drink ends it."""
    return player_intrinsics[0] < 0


def reward(player_intrinsics_diff: Array, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns the drink gained, and a little for coming nearer to water."""
    nearer = approach(closest_blocks, closest_blocks_prev, BlockType.WATER.value, lasting=True)
    return POINT_VALUE * player_intrinsics_diff[2] + nearer
