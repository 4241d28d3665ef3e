"""What of the map a player has seen: where to look next, and what looking is worth."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from flowrl.env.block_memory import UNKNOWN
from flowrl.env.domain import Domain, World

PATCHES = 5
"""The neighbourhood is this many views high and wide, the view itself in the middle."""
_SQUARE = 4
"""Rows and columns from one place that may be looked from to the next. Divides a map's sides."""
_BOTH = 4096.0
_LIKELY = 0.5
"""The share of a place's ground that is taken to be of the sought kind before any of it is seen."""
_DOUBT = 24
"""How many cells, seen near a place, count as much as that."""
_NEAR = 8
"""Steps that are added to every way: what lies at hand is not worth any number of steps elsewhere."""


def nothing_explored(domain: Domain) -> Bool[Array, "floors R C"] | None:
    """The map of a player who has seen nothing. None if the observation's layout has no such map."""
    return None if domain.map_size is None else jnp.zeros((domain.sight.floors, *domain.map_size), dtype=bool)


def explore(
    domain: Domain, explored: Bool[Array, "floors R C"] | None, world: World
) -> Bool[Array, "floors R C"] | None:
    """Add what is in view now."""
    if explored is None or domain.map_size is None:
        return None
    position, floor = domain.sight.place_fn(world)
    rows, columns = (
        jnp.abs(jnp.arange(size) - position[axis]) <= domain.view[axis] // 2
        for axis, size in enumerate(domain.map_size)
    )
    here = jnp.arange(domain.sight.floors) == floor  # [floors]
    return explored | (here[:, None, None] & rows[:, None] & columns)


# Example, views of 7 x 9 cells, the player at row 10: the patches' middle rows are -4 3 10 17 24. Of the first, rows
# -7 to -1, no cell is on the map, and so none is unseen.
def map_shares(domain: Domain, explored: Bool[Array, "floors R C"], world: World) -> Float[Array, "planes patches"]:
    """Share of each patch round the player that is unseen and the share that is known to be rock.

    Patches go row by row and are as large as the view that is shown. What lies beyond the map is neither.
    """
    position, floor = domain.sight.place_fn(world)
    steps = jnp.arange(PATCHES) - PATCHES // 2

    def members(axis: int) -> Float[Array, "patches cells"]:
        """Which rows, or columns, each patch takes."""
        middles = position[axis] + domain.shown[axis] * steps
        distance = jnp.abs(jnp.arange(explored.shape[1 + axis]) - middles[:, None])
        return (distance <= domain.shown[axis] // 2).astype(jnp.float32)

    seen = explored[floor]
    planes = jnp.stack([~seen] if domain.rock_fn is None else [~seen, seen & domain.rock_fn(world)])
    shares = members(0) @ planes.astype(jnp.float32) @ members(1).T
    return shares.reshape(len(planes), -1) / domain.shown_cells


def round_about(shares: Float[Array, "planes patches"]) -> Float[Array, "floats"]:
    """All shares but those of the patch in the middle, which is in view."""
    middle = shares.shape[1] // 2
    return jnp.concatenate([shares[:, :middle], shares[:, middle + 1 :]], axis=1).reshape(-1)


# Example: of two places 10 and 30 steps away, 36 unseen cells each, the near one among cells of which 6 of 48 are rock
# and the far one among cells of which 48 of 48 are: 36 * (6 + 12) / (48 + 24) / 18 = 0.5 and
# 36 * (48 + 12) / (48 + 24) / 38 = 0.79. Who seeks iron goes far.
def where_to_look(
    domain: Domain, explored: Bool[Array, "floors R C"], world: World, target: Int[Array, ""]
) -> Int[Array, "2"]:
    """dx and dy to the place from which most is to be learned of where a block is, for the way there.

    Places are the middles of squares of 4 by 4 cells. What counts is how much of the square and of the two columns on
    each side is unseen, how likely its ground is the kind where the block is, by what is seen of the nine squares round
    it, and how far it is.

    Args:
        target: row of `closest_blocks`; `UNKNOWN` both ways for -1, and in a layout that does not say.
    """
    if domain.rock_fn is None or domain.ores is None:
        return jnp.full(2, UNKNOWN)
    position, floor = domain.sight.place_fn(world)
    seen, rock = explored[floor], domain.rock_fn(world)
    in_rock = jnp.asarray([name in domain.ores for name in domain.sight.names])[jnp.maximum(target, 0)]
    # Both counts in one number: unseen cells, and `_BOTH` for each seen cell of the right ground. Exact in float32.
    cells = jnp.where(seen, jnp.where(rock == in_rock, _BOTH, 0.0), 1.0)
    rows, columns = (np.arange(_SQUARE // 2, size, _SQUARE) for size in seen.shape)
    apart = np.arange(seen.shape[1])[:, None] - columns  # [C, columns]
    tall = cells.reshape(len(rows), _SQUARE, -1).sum(axis=1)
    unseen = (tall @ (np.abs(apart) <= _SQUARE).astype(np.float32)) % _BOTH
    three_squares = (apart >= -3 * _SQUARE // 2) & (apart < 3 * _SQUARE // 2)
    nine = jnp.pad(tall @ three_squares.astype(np.float32), ((1, 1), (0, 0)))
    nine = nine[:-2] + nine[1:-1] + nine[2:]
    right, unknown = nine // _BOTH, nine % _BOTH
    likely = (right + _LIKELY * _DOUBT) / ((3 * _SQUARE) ** 2 - unknown + _DOUBT)
    steps = jnp.abs(rows - position[0])[:, None] + jnp.abs(columns - position[1])
    best = jnp.argmax(unseen * likely / (steps + _NEAR))
    row, column = jnp.asarray(rows)[best // len(columns)], jnp.asarray(columns)[best % len(columns)]
    return jnp.where(target >= 0, jnp.stack([column - position[1], row - position[0]]), UNKNOWN)


def newly_seen(
    before: Bool[Array, "B floors R C"] | None, after: Bool[Array, "B floors R C"] | None
) -> Int[Array, "B"] | int:
    """Number of cells that were seen for the first time. 0 without a map."""
    return 0 if before is None or after is None else (after & ~before).sum(axis=(1, 2, 3))
