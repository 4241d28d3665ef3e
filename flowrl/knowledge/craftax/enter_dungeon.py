"""Enter Dungeon: find the ladder of the overworld, which is open, and climb down to the dungeon."""

from craftax.craftax.constants import BlockType
from jax import Array

from flowrl.env.shaping import approach

LADDER_DOWN = len(BlockType)
"""Its row in `closest_blocks`: ladders follow the blocks."""
FLOOR = 1


def is_done(player_level: Array) -> Array:
    """Returns whether the player is on floor 1."""
    return player_level == FLOOR


def reward(player_level: Array, player_level_diff: Array, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for coming to floor 1, which ends the task, and a little for coming nearer to the ladder."""
    came = (player_level == FLOOR) & (player_level_diff != 0)
    nearer = approach(closest_blocks, closest_blocks_prev, LADDER_DOWN, lasting=True)
    return came + nearer * (player_level_diff == 0)
