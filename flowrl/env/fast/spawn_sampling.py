"""Draws the cell in which a creature appears. Upstream draws from all cells of the map with
`jax.random.choice(p=...)`, a cumulative sum over 4,096 (Classic) or 2,304 (full) cells for each of three kinds of
creature at every step: on a CPU the hottest spot of all. But a creature appears less than 14 cells from the player (L1
in Classic, Euclidean in the full game), so a 28 x 28 window holds every candidate. It is cut out once; from then on a
column of the window is the bits of one word.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt32

REACH = 13
WINDOW = 2 * REACH + 2
"""One more than the reach asks for: an even number of rows is packed by halves."""
HALF = WINDOW // 2
ALL = np.uint32((1 << WINDOW) - 1)

ChooseCell = Callable[[jax.Array, UInt32[Array, "w"], Int[Array, "2"], tuple[int, int]], Int[Array, "2"]]
"""(key, candidates by column of the window, the window's first cell, the map's size) -> the chosen row and column."""


def window_origin(position: Int[Array, "2"], map_size: tuple[int, int]) -> Int[Array, "2"]:
    """First row and column of the window. It stays on the map and still holds every cell in reach."""
    return jnp.clip(position - REACH, 0, jnp.array(map_size) - WINDOW)


def cut_window(grid: Array, origin: Int[Array, "2"], *lead: Int[Array, ""]) -> Array:
    """Cut the window at ``origin`` out of ``grid``. Of the floor ``lead``, where the map has floors."""
    return jax.lax.dynamic_slice(grid, (*lead, *origin), (*(1 for _ in lead), WINDOW, WINDOW)).reshape(WINDOW, WINDOW)


def pack_two(first: Bool[Array, "w w"], second: Bool[Array, "w w"]) -> tuple[UInt32[Array, "w"], UInt32[Array, "w"]]:
    """Pack two grids' columns into words. The first row's bit is the lowest.

    One sum makes both, half a column of each in one word, so that what the grids are made from is read only once.
    """
    place = jnp.arange(HALF, dtype=jnp.uint32)[:, None]
    both = jnp.asarray(first, jnp.uint32) | (jnp.asarray(second, jnp.uint32) << HALF)
    # Row i and row 14 + i of both grids: bits i and 14 + i of a word are the first grid's and the second's.
    upper, lower = (both.reshape(2, HALF, WINDOW) << place).sum(axis=1, dtype=jnp.uint32)
    mask = np.uint32((1 << HALF) - 1)
    return (upper & mask) | ((lower & mask) << HALF), (upper >> HALF) | ((lower >> HALF) << HALF)


def shape_words(inside_fn: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Pack a shape round the player into words; ``inside_fn`` takes offsets. An empty column at each end."""
    offsets = np.arange(-REACH, REACH + 1)
    inside = inside_fn(offsets[:, None], offsets[None])
    words = (inside.astype(np.uint32) << (offsets + REACH).astype(np.uint32)[:, None]).sum(axis=0, dtype=np.uint32)
    return np.pad(words, 1)


def place_shape(words: np.ndarray, position: Int[Array, "2"], origin: Int[Array, "2"]) -> UInt32[Array, "w"]:
    """Move a packed shape into the window."""
    # The shape's first cell lies at position - REACH; shift is how far the window begins after it.
    shift = origin - position + REACH  # [2]
    columns = jnp.asarray(words)[jnp.clip(jnp.arange(WINDOW) + shift[1] + 1, 0, len(words) - 1)]
    by = jnp.abs(shift[0]).astype(jnp.uint32)
    return jnp.where(shift[0] >= 0, columns >> by, columns << by) & ALL


def without(
    columns: UInt32[Array, "w"], cell: Int[Array, "2"], origin: Int[Array, "2"], taken: Bool[Array, ""]
) -> UInt32[Array, "w"]:
    """Take a ``taken`` cell of the map out of ``columns``."""
    row, column = cell[0] - origin[0], cell[1] - origin[1]
    within = taken & (row >= 0) & (row < WINDOW)
    bit = jnp.where(within, jnp.uint32(1) << jnp.clip(row, 0, WINDOW - 1).astype(jnp.uint32), 0)
    return jnp.where(jnp.arange(WINDOW) == column, columns & ~bit, columns)


# Example, three columns with candidates 0b0110, 0b0000, 0b1010: counts = [2, 0, 2], total = 4.
#     rank 3: columns 0 and 1 are passed (2 <= 3), so column = 2, before = 2, and the row is bit number 1 of 0b1010: 3
def choose_by_rank(
    key: jax.Array, columns: UInt32[Array, "w"], origin: Int[Array, "2"], map_size: tuple[int, int]
) -> Int[Array, "2"]:
    """Draw a candidate uniformly. A column by its count, then a row."""
    del map_size
    counts = jax.lax.population_count(columns).astype(jnp.int32)  # [28]
    total = counts.sum()
    rank = jnp.minimum((jax.random.uniform(key) * total).astype(jnp.int32), total - 1)
    up_to, column, before = jnp.int32(0), jnp.int32(0), jnp.int32(0)
    for i in range(WINDOW):
        up_to = up_to + counts[i]
        passed = up_to <= rank
        column, before = column + passed, jnp.where(passed, up_to, before)
    row = _nth_bit(columns[jnp.minimum(column, WINDOW - 1)], rank - before)
    return origin + jnp.array([row, column], dtype=jnp.int32)


def _nth_bit(word: UInt32[Array, ""], rank: Int[Array, ""]) -> Int[Array, ""]:
    """Position of the set bit of this ``rank``. Found by halving the word five times."""
    place = jnp.int32(0)
    for width in (16, 8, 4, 2, 1):
        low = (word >> place.astype(jnp.uint32)) & np.uint32((1 << width) - 1)
        count = jax.lax.population_count(low).astype(jnp.int32)
        # Go on in the upper half, the lower half's bits counted off, or in the lower half.
        beyond = rank >= count
        rank, place = jnp.where(beyond, rank - count, rank), jnp.where(beyond, place + width, place)
    return jnp.minimum(place, WINDOW - 1)
