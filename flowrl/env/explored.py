"""What of the map a player has seen: where to look next, and what looking is worth."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flowrl.env.domain import Domain, World

PATCHES = 5
"""The neighbourhood is this many views high and wide, the view itself in the middle."""


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


def newly_seen(
    before: Bool[Array, "B floors R C"] | None, after: Bool[Array, "B floors R C"] | None
) -> Int[Array, "B"] | int:
    """Number of cells that were seen for the first time. 0 without a map."""
    return 0 if before is None or after is None else (after & ~before).sum(axis=(1, 2, 3))
