"""The way to what a player seeks. All of it for one world."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flowrl.env.block_memory import (
    OFFSET_SCALE,
    UNKNOWN,
    closest_blocks,
    known_creatures,
    nearest_cells,
    nearest_creatures,
    offset_to,
)
from flowrl.env.domain import Domain
from flowrl.env.explored import where_to_look
from flowrl.env.player import PlayerState
from flowrl.env.turning import turn_offsets, turn_towards


def things_known(domain: Domain, player: PlayerState) -> Int[Array, "things 2"]:
    """dx and dy to the nearest block of each type and the nearest creature of each kind."""
    blocks = closest_blocks(domain, player.memory, player.world)[:, :, 0]
    visible = nearest_creatures(domain, nearest_cells(domain.view), player.seen.marks)
    return jnp.concatenate([blocks, known_creatures(domain, player.memory, player.world, visible)])


def way_to(domain: Domain, player: PlayerState, target: Int[Array, ""]) -> tuple[Int[Array, "2"], Bool[Array, ""]]:
    """dx and dy to the nearest known block of a type, else to where to look for one; and whether one is known.

    Args:
        target: row of `closest_blocks`; -1 for none.
    """
    way = offset_to(things_known(domain, player), target)
    known = (way != UNKNOWN).any()
    if player.explored is not None:
        way = jnp.where(known, way, where_to_look(domain, player.explored, player.world, target))
    return way, known


def way_shown(domain: Domain, player: PlayerState, target: Int[Array, ""], turn: Array | None) -> Float[Array, "3"]:
    """What the policy sees of the way. Scaled dx and dy, zeros for no way, and whether it leads to a known block."""
    way, known = way_to(domain, player, target)
    turned = way if turn is None else turn_offsets(way[None], turn)[0]
    shown = jnp.where((way == UNKNOWN).all(), 0.0, turned / OFFSET_SCALE)
    return jnp.concatenate([shown, known[None].astype(jnp.float32)])


def turn_of(domain: Domain, player: PlayerState, target: Int[Array, ""]) -> Int[Array, ""] | None:
    """How the layout turns one world (see `turning.py`). None for one that does not."""
    if domain.turn_fn is None:
        return None
    creature = things_known(domain, player)[len(domain.sight.names)]
    way, _ = way_to(domain, player, target)
    return turn_towards(domain.turn_fn(player.world), jnp.stack([way, creature]))
