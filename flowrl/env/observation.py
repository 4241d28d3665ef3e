"""Compact observations and the flat one behind them."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, UInt16

from flowrl.env.block_memory import OFFSET_SCALE, UNKNOWN
from flowrl.env.domain import NO_MARK, Domain, Observation
from flowrl.models.sparse_layer import Features


def view_of(
    grid: Num[Array, "R C"], position: Int[Array, "2"], view: tuple[int, int], outside: int
) -> Num[Array, "cells"]:
    """Cut the ``view`` around ``position`` out of a grid. A cell beyond the grid's edge is ``outside``."""
    rows = position[0] + jnp.arange(view[0]) - view[0] // 2
    columns = position[1] + jnp.arange(view[1]) - view[1] // 2
    # [view rows, view columns]
    inside = ((rows >= 0) & (rows < grid.shape[0]))[:, None] & ((columns >= 0) & (columns < grid.shape[1]))[None]
    seen = grid[jnp.clip(rows, 0, grid.shape[0] - 1)[:, None], jnp.clip(columns, 0, grid.shape[1] - 1)[None]]
    return jnp.where(inside, seen, outside).reshape(-1)


def marks_in_view(
    position: Int[Array, "M 2"],
    mask: Bool[Array, "M"],
    bit: Int[Array, "M"],
    centre: Int[Array, "2"],
    view: tuple[int, int],
) -> Int[Array, "M"]:
    """Cell of the view that shows each creature; -1 for none.

    Each cell and bit once. An absent creature is written as "nothing", an index up to one view's size below zero wraps
    round, and what is written later covers what was written to the same bit of the cell before: this is how
    `render_craftax_symbolic` of upstream's renderer.py behaves, and the observation has to be upstream's as it is.
    """
    local = position - centre + jnp.array(view) // 2  # [M, 2], row and column in the view
    shown = ((local >= 0) & (local < jnp.array(view))).all(axis=-1) & mask
    wrapped = jnp.where(local < 0, local + jnp.array(view), local)
    written = ((wrapped >= 0) & (wrapped < jnp.array(view))).all(axis=-1)
    cell = jnp.where(written, wrapped[:, 0] * view[1] + wrapped[:, 1], -1)
    later = jnp.arange(cell.shape[0])[:, None] < jnp.arange(cell.shape[0])[None]
    # [M, M] before any: a later creature in the same cell of the same bit.
    covered = (later & (cell[:, None] == cell[None]) & (bit[:, None] == bit[None])).any(axis=1)
    return jnp.where(shown & ~covered, cell, -1)


def mark_columns(cell_size: int, first: int, cell: Int[Array, "M"], bit: Int[Array, "M"]) -> UInt16[Array, "M"]:
    """Columns that marks set in a plane that begins at ``first``. -1 becomes `NO_MARK`."""
    return jnp.where(cell >= 0, cell * cell_size + first + bit, NO_MARK).astype(jnp.uint16)


def active_columns(domain: Domain, observation: Observation) -> Int[Array, "*B L"]:
    """Columns of the flat view that are 1. Past its end for none."""
    cell = jnp.arange(domain.shown_cells) * domain.cell_size
    parts, first, byte = [], 0, 0
    for plane in domain.planes:
        if plane.kind == "onehot":
            value = observation.cells[..., byte].astype(jnp.int32)
            parts.append(jnp.where(value < plane.size, cell + first + value, NO_MARK))
            byte += 1
        elif plane.kind == "lit":
            parts.append(jnp.where(observation.cells[..., 0] != 255, cell + first, NO_MARK))
        first += plane.size
    # [*B, cells] a plane, then [*B, slots].
    return jnp.concatenate([*parts, observation.marks.astype(jnp.int32)], axis=-1)


def dense_columns(domain: Domain, observation: Observation) -> Float[Array, "*B K"]:
    """The columns after the view's. Upstream's first."""
    own = domain.scalars_fn(observation.levels[..., : domain.levels], observation.floats[..., : domain.floats])
    offsets = observation.levels[..., domain.levels :].astype(jnp.int32)
    offsets = offsets.reshape(*offsets.shape[:-1], -1, 2)  # [*B, things, (dx, dy)]
    known = (offsets != UNKNOWN).any(axis=-1, keepdims=True)
    scaled = jnp.where(known, offsets / OFFSET_SCALE, 0.0)
    added = jnp.concatenate([scaled, known], axis=-1, dtype=jnp.float32)  # [*B, things, (dx, dy, known)]
    added = added.reshape(*added.shape[:-2], -1)
    return jnp.concatenate([own, added, observation.floats[..., domain.floats :]], axis=-1)


def features(domain: Domain, observation: Observation) -> Features:
    """The network's input. Set columns, and the values of the last ones."""
    return Features(active_columns(domain, observation), dense_columns(domain, observation))


def expand(domain: Domain, observation: Observation) -> Float[Array, "*B D"]:
    """The flat observation that `Features` stand for. Upstream's own, then what flowrl adds."""
    seen = features(domain, observation)
    view = domain.shown_size
    batch = seen.columns.shape[:-1]
    columns = seen.columns.reshape(-1, seen.columns.shape[-1])
    flat = jnp.zeros((columns.shape[0], view)).at[jnp.arange(columns.shape[0])[:, None], columns].set(1.0, mode="drop")
    return jnp.concatenate([flat.reshape(*batch, view), seen.dense], axis=-1)
