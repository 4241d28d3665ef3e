"""Rest: close a chamber in the rock and sleep there."""

import jax.numpy as jnp
from craftax.craftax_classic.constants import BlockType
from jax import Array

POINT_VALUE = 0.2
"""The reward of one point of energy, or of health."""
SIDE_VALUE = 0.05
"""The reward of one open side less."""
SAFE_VALUE = 0.5
"""The reward of a place with one way in, and again of one with none; taken back when it opens."""
OPEN = (BlockType.GRASS.value, BlockType.SAND.value, BlockType.PATH.value)
"""What a zombie can stand on."""


def value_of(closest_blocks: Array) -> Array:
    """Returns the worth of the player's place. Few open sides and few ways in make it safe."""
    cells = closest_blocks[jnp.array(OPEN)].transpose(0, 2, 1).reshape(-1, 2)
    near = jnp.abs(cells).sum(axis=1)
    apart = jnp.abs(cells[:, None] - cells[None]).sum(axis=2)
    leads = (near[:, None] == 2) & (near[None] == 1) & (apart == 1)
    sides, ways = (near == 1).sum(), leads.any(axis=1).sum()
    # Of each type the five nearest are known: with three open sides no cell behind them may be among them.
    ways = jnp.where(sides >= 3, 8, ways)
    return SAFE_VALUE * ((ways <= 1) + 1.0 * (ways == 0)) - SIDE_VALUE * sides


def is_done(player_intrinsics: Array) -> Array:
    """Returns False. Energy ends it."""
    return player_intrinsics[0] < 0


def reward(closest_blocks: Array, closest_blocks_prev: Array, player_intrinsics_diff: Array) -> Array:
    """Returns the place's gain in worth. Points of energy and of health add a little."""
    gained = value_of(closest_blocks) - value_of(closest_blocks_prev)
    return gained + POINT_VALUE * (player_intrinsics_diff[3] + player_intrinsics_diff[0])
