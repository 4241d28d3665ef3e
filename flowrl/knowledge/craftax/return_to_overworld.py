"""Return To Overworld: go back to the ladder of the dungeon and climb up to the overworld."""

from craftax.craftax.constants import BlockType
from jax import Array

from flowrl.env.shaping import approach

LADDER_UP = len(BlockType) + 1
"""Its row in `closest_blocks`: ladders follow the blocks."""
FLOOR = 0


def is_done(player_level: Array) -> Array:
    """Returns whether the player is on floor 0."""
    return player_level == FLOOR


def reward(player_level: Array, player_level_diff: Array, closest_blocks: Array, closest_blocks_prev: Array) -> Array:
    """Returns 1 for coming to floor 0, which ends the task, and a little for coming nearer to the ladder."""
    came = (player_level == FLOOR) & (player_level_diff != 0)
    nearer = approach(closest_blocks, closest_blocks_prev, LADDER_UP, lasting=True)
    return came + nearer * (player_level_diff == 0)
