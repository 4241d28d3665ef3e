"""Observations turned so that the player faces up: what it learned of one direction it knows of all four.

Games on a grid look the same from four sides, and in a mirror. In a turned layout the network sees the view, every
offset and every patch of the map as the player does that faces up and finds what it seeks to the right, and the moves
that it chooses are meant so too. A view that is wider than high is shown within a square; what lies outside it is no
block at all.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from flowrl.env.block_memory import UNKNOWN
from flowrl.env.domain import NO_MARK, Domain, Observation

# Quarter turns from facing up, clockwise, then each mirrored. Of an offset (row, column) each makes the one that a
# player facing up sees: facing right, what is to the right (0, 1) lies ahead (-1, 0).
_QUARTERS = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])
TURNS = np.concatenate([_QUARTERS, np.array([[1, 0], [0, -1]]) @ _QUARTERS])
MOVES = {"UP": (-1, 0), "RIGHT": (0, 1), "DOWN": (1, 0), "LEFT": (0, -1)}


def turned_actions(actions: tuple[str, ...]) -> np.ndarray:
    """The game's action for each action of a player who takes the way it faces for up. [turns, actions]."""
    names = {move: name for name, move in MOVES.items()}
    table = np.tile(np.arange(len(actions)), (len(TURNS), 1))
    for turn, matrix in enumerate(TURNS):
        for name, move in MOVES.items():
            there = tuple((matrix.T @ np.array(move)).tolist())
            table[turn, actions.index(name)] = actions.index(names[there])
    return table


def turned_cells(shape: tuple[int, int]) -> np.ndarray:
    """The cell of a grid that stands at each place of the turned one. [turns, side * side].

    The side is the longer one of ``shape``; the number of cells where the grid has none.
    """
    rows, columns = shape
    side = max(shape)
    places = np.stack(np.divmod(np.arange(side * side), side), axis=1) - side // 2  # canonical offsets
    offsets = places @ TURNS + np.array([rows // 2, columns // 2])  # [turns, places, 2]: row vectors times M are M^T v
    inside = ((offsets >= 0) & (offsets < np.array(shape))).all(axis=2)
    return np.where(inside, offsets[..., 0] * columns + offsets[..., 1], rows * columns)


def turn_towards(quarters: Int[Array, ""], sought: Int[Array, "things 2"]) -> Int[Array, ""]:
    """The turn after which the first of some things that is known and not straight ahead or behind is to the right.

    Args:
        quarters: the turn after which the player faces up.
        sought: (dx, dy) of each.
    """
    dx = turn_offsets(sought, quarters)[:, 0]
    aside = (dx != 0) & (sought != UNKNOWN).any(axis=1)
    return quarters + 4 * (dx[jnp.argmax(aside)] < 0) * aside.any()


def turn_offsets(offsets: Int[Array, "things 2"], turn: Int[Array, ""]) -> Int[Array, "things 2"]:
    """Turn (dx, dy) pairs. What is unknown stays so."""
    matrix = jnp.asarray(TURNS)[turn]
    dx, dy = offsets[:, 0], offsets[:, 1]
    there = jnp.stack([matrix[1, 0] * dy + matrix[1, 1] * dx, matrix[0, 0] * dy + matrix[0, 1] * dx], axis=1)
    return jnp.where((offsets == UNKNOWN).all(axis=1, keepdims=True), UNKNOWN, there)


def turn_patches(shares: Float[Array, "planes patches"], turn: Int[Array, ""]) -> Float[Array, "planes patches"]:
    """Turn what is said of a square of patches."""
    side = round(shares.shape[1] ** 0.5)
    return shares[:, jnp.asarray(turned_cells((side, side)))[turn]]


def turn_view(domain: Domain, seen: Observation, turn: Int[Array, ""]) -> Observation:
    """Turn the cells of one world's view and what stands in them."""
    table = turned_cells(domain.view)
    cells = seen.cells.at[jnp.asarray(table)[turn]].get(mode="fill", fill_value=255)
    place_of = np.zeros((len(TURNS), domain.cells), np.int32)
    for k, row in enumerate(table):
        place_of[k, row[row < domain.cells]] = np.flatnonzero(row < domain.cells)
    marks = seen.marks.astype(jnp.int32)
    cell, column = jnp.divmod(marks, domain.cell_size)
    there = jnp.asarray(place_of)[turn, jnp.minimum(cell, domain.cells - 1)] * domain.cell_size + column
    turned = jnp.where(marks == NO_MARK, NO_MARK, there).astype(jnp.uint16)
    return seen._replace(cells=cells, marks=turned)
