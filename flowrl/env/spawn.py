"""Choosing the cell in which a creature appears: the hottest spot of upstream's step on a CPU.

Upstream draws from all cells of the map with `jax.random.choice(p=...)`, a cumulative sum over 4,096 (Classic) or
2,304 (full) cells for each of three kinds of creature at every step. But a creature appears less than 14 cells
from the player (L1 in Classic, Euclidean in the full game), so a 27 x 27 window holds every candidate.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

REACH = 13
WINDOW = 2 * REACH + 1

ChooseCell = Callable[[jax.Array, Bool[Array, "w w"], Int[Array, "2"], tuple[int, int]], Int[Array, "2"]]
"""(key, candidates in the window, the window's first cell, the map's size) -> the chosen row and column."""


def window_origin(position: Int[Array, "2"], map_size: tuple[int, int]) -> Int[Array, "2"]:
    """Returns the first row and column of the window: it stays on the map and still holds every cell in reach."""
    return jnp.clip(position - REACH, 0, jnp.array(map_size) - WINDOW)


def cut_window(grid: Array, origin: Int[Array, "2"]) -> Array:
    """Returns the [27, 27] part of ``grid`` that starts at ``origin``."""
    return jax.lax.dynamic_slice(grid, (origin[0], origin[1]), (WINDOW, WINDOW))


def choose_by_rank(
    key: jax.Array, candidates: Bool[Array, "w w"], origin: Int[Array, "2"], map_size: tuple[int, int]
) -> Int[Array, "2"]:
    """Returns a cell drawn uniformly from the candidates in two short steps: a row by its count, then a column."""
    del map_size
    per_row = candidates.sum(axis=1, dtype=jnp.int32)
    up_to_row = jnp.cumsum(per_row)
    total = up_to_row[-1]
    rank = jnp.minimum((jax.random.uniform(key) * total).astype(jnp.int32), total - 1)
    row = jnp.minimum((up_to_row <= rank).sum(), WINDOW - 1)
    rank_in_row = rank - (up_to_row[row] - per_row[row])
    column = jnp.minimum((jnp.cumsum(candidates[row].astype(jnp.int32)) <= rank_in_row).sum(), WINDOW - 1)
    return origin + jnp.array([row, column], dtype=jnp.int32)


def choose_as_upstream(
    key: jax.Array, candidates: Bool[Array, "w w"], origin: Int[Array, "2"], map_size: tuple[int, int]
) -> Int[Array, "2"]:
    """Returns the cell that upstream's sampler picks with this key, bit for bit; slow, kept for comparison."""
    full = jax.lax.dynamic_update_slice(jnp.zeros(map_size, dtype=bool), candidates, (origin[0], origin[1]))
    index = jax.random.choice(key, jnp.arange(map_size[0] * map_size[1]), shape=(1,), p=full.reshape(-1) / full.sum())[
        0
    ]
    return jnp.array([index // map_size[0], index % map_size[1]], dtype=jnp.int32)
