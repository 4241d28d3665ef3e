"""Shelter, on trial in chain runs: keep the four cells around blocked while it is dark, and rest."""

import jax.numpy as jnp
from craftax.craftax_classic.constants import BlockType
from jax import Array

CELL_VALUE = 0.1
"""The reward of one more blocked neighbour."""
OPEN = (BlockType.GRASS, BlockType.SAND, BlockType.PATH)
"""What a zombie can stand on."""
CLOSED = tuple(block.value for block in BlockType if block not in OPEN and block.name not in ("INVALID", "LAVA"))
AROUND = ((-1, 0), (1, 0), (0, -1), (0, 1))


def blocked(closest_blocks: Array) -> Array:
    """Returns how many of the four neighbours no creature can enter."""
    known = closest_blocks[jnp.array(CLOSED)]  # [types, 2, 5]
    there = [((known[:, 0] == dx) & (known[:, 1] == dy)).any() for dx, dy in AROUND]
    return jnp.stack(there).sum()


def is_done(player_intrinsics: Array) -> Array:
    """Returns False: light ends it."""
    return player_intrinsics[0] < 0


def reward(closest_blocks: Array, closest_blocks_prev: Array, player_intrinsics_diff: Array) -> Array:
    """Returns a little for each neighbour that was closed, taken back when it opens, and for health won or lost."""
    closed = (blocked(closest_blocks) - blocked(closest_blocks_prev)).astype(jnp.float32)
    return CELL_VALUE * (closed + player_intrinsics_diff[0])
