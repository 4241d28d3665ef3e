"""Enter Gnomish Mines: climb down the open ladder of the dungeon to the gnomish mines."""

from craftax.craftax.constants import BlockType
from jax import Array

from flowrl.env.shaping import approach

LADDER_DOWN = len(BlockType)
"""Its row in `closest_blocks`: ladders follow the blocks."""
FLOOR = 2


def is_done(player_level: Array) -> Array:
    """Returns whether the player is on floor 2."""
    return player_level == FLOOR


def reward(player_level: Array, player_level_diff: Array, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for coming to floor 2, which ends the task, and a little for coming nearer to the ladder."""
    came = (player_level == FLOOR) & (player_level_diff != 0)
    nearer = approach(closest_blocks, closest_blocks_prev, LADDER_DOWN, lasting=True)
    return came + nearer * (player_level_diff == 0)
