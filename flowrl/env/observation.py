"""Compact observations, and the flat one that they stand for."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, UInt8

from flowrl.env.domain import Domain, Observation, Plane


def view_of(
    grid: Num[Array, "R C"], position: Int[Array, "2"], view: tuple[int, int], outside: int
) -> Num[Array, "cells"]:
    """Returns the cells of ``view`` centred on ``position``, row by row; ``outside`` beyond the grid's edge."""
    rows = position[0] + jnp.arange(view[0]) - view[0] // 2
    columns = position[1] + jnp.arange(view[1]) - view[1] // 2
    inside = ((rows >= 0) & (rows < grid.shape[0]))[:, None] & ((columns >= 0) & (columns < grid.shape[1]))[None]
    seen = grid[jnp.clip(rows, 0, grid.shape[0] - 1)[:, None], jnp.clip(columns, 0, grid.shape[1] - 1)[None]]
    return jnp.where(inside, seen, outside).reshape(-1)


def _written_in_view(
    position: Int[Array, "M 2"], mask: Bool[Array, "M"], centre: Int[Array, "2"], view: tuple[int, int]
) -> tuple[Int[Array, "M"], Bool[Array, "M"]]:
    """Returns the cell that each creature is written to (-1: none) and whether it shows there.

    An absent creature is written as "nothing", and an index up to one view's size below zero wraps round: this is how
    `render_craftax_symbolic` of upstream's renderer.py behaves, and the observation has to be upstream's as it is.
    """
    local = position - centre + jnp.array(view) // 2
    shown = ((local >= 0) & (local < jnp.array(view))).all(axis=-1) & mask
    wrapped = jnp.where(local < 0, local + jnp.array(view), local)
    written = ((wrapped >= 0) & (wrapped < jnp.array(view))).all(axis=-1)
    return jnp.where(written, wrapped[:, 0] * view[1] + wrapped[:, 1], -1), shown


def mark_in_view(
    position: Int[Array, "M 2"], mask: Bool[Array, "M"], centre: Int[Array, "2"], view: tuple[int, int]
) -> Bool[Array, "cells"]:
    """Returns a bool array [cells], true where a masked creature stands; a later one overwrites an earlier one."""
    cell, shown = _written_in_view(position, mask, centre, view)
    grid = jnp.zeros(view[0] * view[1], dtype=bool)
    for i in range(position.shape[0]):
        grid = jnp.where(jnp.arange(grid.size) == cell[i], shown[i], grid)
    return grid


def mark_types_in_view(
    position: Int[Array, "M 2"],
    mask: Bool[Array, "M"],
    type_id: Int[Array, "M"],
    centre: Int[Array, "2"],
    view: tuple[int, int],
) -> UInt8[Array, "cells"]:
    """Returns one byte a cell: bit t is set where a masked creature of type t stands.

    As `mark_in_view`, but a later creature overwrites the bit of its own type only.
    """
    cell, shown = _written_in_view(position, mask, centre, view)
    bit = (1 << type_id).astype(jnp.uint8)
    grid = jnp.zeros(view[0] * view[1], dtype=jnp.uint8)
    for i in range(position.shape[0]):
        marked = jnp.where(shown[i], grid | bit[i], grid & ~bit[i])
        grid = jnp.where(jnp.arange(grid.size) == cell[i], marked, grid)
    return grid


def pack_bits(flags: Array) -> UInt8[Array, "cells"]:
    """Returns one byte a cell from bool flags [up to 8, cells]; flag i is bit i."""
    weights = (1 << jnp.arange(flags.shape[0])).astype(jnp.uint8)
    return (flags.astype(jnp.uint8) * weights[:, None]).sum(axis=0, dtype=jnp.uint8)


def unpack_bits(byte: UInt8[Array, "*B"], size: int) -> Array:
    """Returns float32 [*B, size] holding the lowest ``size`` bits of each byte."""
    return ((byte[..., None] >> jnp.arange(size, dtype=jnp.uint8)) & 1).astype(jnp.float32)


def _expand_plane(values: UInt8[Array, "*B"], plane: Plane) -> Array:
    if plane.kind == "bits":
        return unpack_bits(values, plane.size)
    return jax.nn.one_hot(values, plane.size, dtype=jnp.float32)


def expand(domain: Domain, observation: Observation) -> Float[Array, "*B D"]:
    """Returns the flat observation: upstream's own, then what flowrl adds.

    Shapes: cells [*B, cells, planes], scalars [*B, scalars + extras] -> [*B, observation_size].
    """
    parts = [_expand_plane(observation.cells[..., i], plane) for i, plane in enumerate(domain.planes)]
    grid = jnp.concatenate(parts, axis=-1)
    return jnp.concatenate([grid.reshape(*grid.shape[:-2], -1), observation.scalars], axis=-1)
