"""Memory of blocks seen in the view. A block is remembered until its place is seen again. Positions are kept as rows
and columns of the map. The player always knows its own displacement, so this is dead reckoning written in the frame
that needs no shifting.
"""

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int8, UInt16

from flowrl.env.domain import NO_MARK, Domain, World

SLOTS = 5
"""How many of each type are remembered, the nearest ones."""
UNKNOWN = 30
"""The offset that `closest_blocks` carries where fewer are known, in both directions."""
OFFSET_SCALE = 10.0
"""What offsets are divided by for the network."""
_NOWHERE = -100
_FAR = 1 << 9
"""Farther than any two cells of a map."""
_SHIFT = 128
"""Makes rows and columns, which are kept in a signed byte each, positive."""


class NearestCells(NamedTuple):
    """The cells of a view by distance."""

    order: np.ndarray
    offsets: np.ndarray
    """[cells + 1, 2] row and column offset of each cell in order; the last row says nowhere."""


def nearest_cells(view: tuple[int, int]) -> NearestCells:
    """Order the cells of ``view`` by L1 distance from its centre. Ties in reading order."""
    rows, columns = np.divmod(np.arange(view[0] * view[1]), view[1])
    offsets = np.stack([rows - view[0] // 2, columns - view[1] // 2], axis=1)
    order = np.argsort(np.abs(offsets).sum(axis=1), kind="stable")
    return NearestCells(order, np.concatenate([offsets[order], [[_NOWHERE, _NOWHERE]]]))


# Example, 6 cells of kinds [2 0 2 - 0 2], 3 kinds, count = 2:
#     words of the kinds: 0b010010, 0, 0b100101; lowest bits: cells 1, -, 0; taken off: 0b010000, 0, 0b100100
#     found = [[1 4] [6 6] [0 2]], 6 being the number of cells
def first_cells(rows: Int[Array, "planes cells"], kinds: int, count: int) -> Int[Array, "kinds count"]:
    """Places of each kind's first ``count`` cells.

    The number of cells where there are fewer. Where a kind stands becomes the bits of 32-bit words, and the lowest set
    bit is taken off ``count`` times: a tenth of the work of sorting or of a cumulative sum over every cell. Each cell
    adds its bit to the word of its kind: on a CPU, comparing each with every kind takes five times as long.

    Args:
        rows: the kinds that are at each cell, -1 for none.
    """
    cells = rows.shape[1]
    words = -(-cells // 32)
    word, bit = np.arange(cells) // 32, np.left_shift(np.uint32(1), np.arange(cells, dtype=np.uint32) % 32)
    nothing = jnp.zeros((words, kinds), jnp.uint32)
    # Index ``kinds`` lies past the end, so that the add drops it.
    places = jnp.where(rows < 0, kinds, rows)
    planes = [nothing.at[word, place].add(bit, mode="drop") for place in places]
    # [kinds] for each of the words; a cell may hold one thing a plane.
    left = list(functools.reduce(operator.or_, planes))
    found = []
    for _ in range(count):
        position = jnp.full(kinds, cells)
        searching = jnp.ones(kinds, dtype=bool)
        for w in range(words):
            lowest = left[w] & (~left[w] + 1)  # x & -x, [kinds]
            here = searching & (lowest != 0)
            # The bits below the lowest set one are its number: population_count(0b1000 - 1) = 3.
            position = jnp.where(here, w * 32 + jax.lax.population_count(lowest - 1).astype(jnp.int32), position)
            left[w] = jnp.where(here, left[w] ^ lowest, left[w])
            searching = searching & ~here
        found.append(position)
    return jnp.stack(found, axis=1)


def empty_memory(domain: Domain) -> Int8[Array, "floors rows 2 slots"]:
    """Memory of a player who has seen nothing. Rows for the creatures that it follows come last."""
    shape = (domain.sight.floors, len(domain.sight.names) + len(domain.followed), 2, SLOTS)
    return jnp.full(shape, _NOWHERE, dtype=jnp.int8)


def _seen_now(domain: Domain, table: NearestCells, cells: Array, position: Array) -> Int[Array, "types 2 slots"]:
    rows = domain.sight.rows_fn(cells[table.order])  # [layers, cells], nearest first
    offsets = jnp.asarray(table.offsets)[first_cells(rows, len(domain.sight.names), SLOTS)]  # [types, slots, 2]
    known = offsets[..., :1] != _NOWHERE
    return jnp.where(known, offsets + position, _NOWHERE).swapaxes(1, 2)


def _still_remembered(
    domain: Domain, cells: Array, position: Array, remembered: Int[Array, "types 2 slots"]
) -> Int[Array, "types 2 slots"]:
    half = jnp.array(domain.view) // 2
    offsets = remembered - position[None, :, None]  # [types, 2, slots]
    looked_at = (jnp.abs(offsets) <= half[None, :, None]).all(axis=1)
    if domain.sight.dark:
        index = (offsets[:, 0] + half[0]) * domain.view[1] + offsets[:, 1] + half[1]
        looked_at &= domain.sight.lit_fn(cells)[jnp.clip(index, 0, domain.cells - 1)]
    return jnp.where(looked_at[:, None], _NOWHERE, remembered)


# Example, the player at (5, 5), the first two of 10 candidates of a type, and their numbers from the upper bits down:
#     (5, 7)   distance 2, order 0   rank 2 * 10 + 0 = 20   row 5 + 128   column 7 + 128
#     (5, 6)   distance 1, order 1   rank 1 * 10 + 1 = 11   row 5 + 128   column 6 + 128
# The smaller number is the nearer, and holds its place in its lower 16 bits.
def _nearest_first(places: Int[Array, "types 2 many"], position: Int[Array, "2"]) -> Int[Array, "types 2 slots"]:
    """Select the nearest places. Ties stay in the order given.

    Distance, order and place go into one number each, whose minimum is taken and struck out again and again.
    """
    row, column = places.transpose(1, 2, 0)  # [many, types] each
    distance = jnp.abs(row - position[0]) + jnp.abs(column - position[1])
    order = jnp.arange(row.shape[0])[:, None]
    rank = jnp.where(row != _NOWHERE, distance, _FAR) * row.shape[0] + order
    numbers = (rank << 16) | ((row + _SHIFT) << 8) | (column + _SHIFT)
    nearest = []
    for _ in range(SLOTS):
        nearest.append(numbers.min(axis=0))
        numbers = jnp.where(numbers == nearest[-1], jnp.iinfo(jnp.int32).max, numbers)
    found = jnp.stack(nearest, axis=1)  # [types, slots]
    return jnp.stack([((found >> 8) & 255) - _SHIFT, (found & 255) - _SHIFT], axis=1)


def remember(
    domain: Domain, table: NearestCells, memory: Int8[Array, "floors rows 2 slots"], world: World, cells: Array
) -> Int8[Array, "floors rows 2 slots"]:
    """Update the memory with the view. What is in view replaces what was remembered of those cells."""
    position, floor = domain.sight.place_fn(world)
    types = len(domain.sight.names)
    remembered = memory[floor, :types].astype(jnp.int32)
    now = _seen_now(domain, table, cells, position)
    kept = _still_remembered(domain, cells, position, remembered)
    merged = _nearest_first(jnp.concatenate([now, kept], axis=-1), position)
    return memory.at[floor, :types].set(merged.astype(jnp.int8))


def follow(
    domain: Domain, memory: Int8[Array, "floors rows 2 slots"], world: World, visible: Int[Array, "kinds 2"]
) -> Int8[Array, "floors rows 2 slots"]:
    """Note where the nearest creature of each followed kind is. Where one was and is not any more is forgotten.

    Args:
        visible: see `nearest_creatures`.
    """
    if not domain.followed:
        return memory
    position, floor = domain.sight.place_fn(world)
    types = len(domain.sight.names)
    seen = visible[jnp.asarray(domain.followed)][:, ::-1]  # rows and columns
    before = memory[floor, types:, :, 0].astype(jnp.int32)
    in_view = (jnp.abs(before - position) <= jnp.array(domain.view) // 2).all(axis=1, keepdims=True)
    kept = jnp.where(in_view, _NOWHERE, before)
    here = jnp.where((seen != UNKNOWN).any(axis=1, keepdims=True), seen + position, kept)
    return memory.at[floor, types:, :, 0].set(here.astype(jnp.int8))


def closest_blocks(
    domain: Domain, memory: Int8[Array, "floors rows 2 slots"], world: World
) -> Int[Array, "types 2 slots"]:
    """Offsets from the player to remembered blocks.

    [:, 0] columns (dx), [:, 1] rows (dy), nearest first by L1 distance; (30, 30) where fewer are known.
    """
    position, floor = domain.sight.place_fn(world)
    places = memory[floor, : len(domain.sight.names)].astype(jnp.int32)
    offsets = jnp.where(places == _NOWHERE, UNKNOWN, places - position[None, :, None])
    return offsets[:, ::-1]


def nearest_creatures(domain: Domain, table: NearestCells, marks: UInt16[Array, "marks"]) -> Int[Array, "kinds 2"]:
    """dx and dy to the nearest visible creature of each kind. (30, 30) where none is seen."""
    rank_of_cell = np.argsort(table.order)  # [cells], the inverse of the order
    cell = marks.astype(jnp.int32) // domain.cell_size  # [slots], a mark being a column of the flat observation
    rank = jnp.where(marks != NO_MARK, jnp.asarray(rank_of_cell)[jnp.minimum(cell, domain.cells - 1)], domain.cells)
    kinds = jnp.arange(len(domain.creatures))[:, None] == jnp.asarray(domain.slots, jnp.int32)[None]
    # [kinds]
    nearest = jnp.where(kinds, rank[None], domain.cells).min(axis=1, initial=domain.cells)
    offsets = jnp.asarray(table.offsets)[nearest]
    return jnp.where(offsets == _NOWHERE, UNKNOWN, offsets)[:, ::-1]


def known_creatures(
    domain: Domain, memory: Int8[Array, "floors rows 2 slots"], world: World, visible: Int[Array, "kinds 2"]
) -> Int[Array, "kinds 2"]:
    """dx and dy to the nearest visible creature of each kind, or to where one that is followed was last seen."""
    if not domain.followed:
        return visible
    position, floor = domain.sight.place_fn(world)
    places = memory[floor, len(domain.sight.names) :, :, 0].astype(jnp.int32)
    offsets = jnp.where(places == _NOWHERE, UNKNOWN, places - position)[:, ::-1]
    return visible.at[jnp.asarray(domain.followed)].set(offsets)


def offset_to(blocks: Int[Array, "types 2"], target: Int[Array, ""]) -> Int[Array, "2"]:
    """dx and dy to the nearest known block of a type; (30, 30) where none is known, and for a negative type."""
    return jnp.where(target >= 0, blocks[jnp.maximum(target, 0)], UNKNOWN)
