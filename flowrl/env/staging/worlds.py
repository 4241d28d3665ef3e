"""Worlds staged by hand.

    plain(world)                        the player alone in the middle, on ground where nothing appears
    put(world, "TREE", (-1, 0))         blocks, by rows and columns from the middle
    put_creature(world, "cows", (-1, 0))
    hold(world, wood=3)

All work on one world of any of the games, most of them under `jit` and `vmap` as well. A game is told by the fields of
its worlds and imported only where its names are asked for.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from flowrl.env.domain import World

CREATURES = ("zombies", "cows", "skeletons", "arrows")
FULL_CREATURES = ("melee_mobs", "passive_mobs", "ranged_mobs", "mob_projectiles", "player_projectiles")
UP = 3
"""The number of the direction in which the player of `plain` looks, in every game."""


def is_full(world: World) -> bool:
    """Whether the world is one of full Craftax."""
    return hasattr(world, "player_level")


def is_tiny(world: World) -> bool:
    """Whether the world is the tiny game's."""
    return not hasattr(world, "player_position")


def herds(world: World) -> tuple[str, ...]:
    """Fields of the world that hold creatures."""
    if is_tiny(world):
        return ()
    return FULL_CREATURES if is_full(world) else CREATURES


def ground(world: World) -> str:
    """The block that `plain` strews. It can be walked and built on, and no creature appears there."""
    return "GRASS" if is_tiny(world) else "SAND"


def position(world: World) -> Array:
    """Row and column of the player, [2]."""
    return world.position if is_tiny(world) else world.player_position


def here(world: World) -> tuple[Any, ...]:
    """Index of the player's floor in a map. Empty without floors."""
    return (world.player_level,) if is_full(world) else ()


def block(world: World, name: str) -> int:
    """Number of a block. Of the full game's ladders and torches, their number as an item."""
    if is_tiny(world):
        from flowrl.env.tiny import Block

        return Block[name].value
    if is_full(world):
        from craftax.craftax.constants import BlockType as FullBlock
        from craftax.craftax.constants import ItemType

        return int(FullBlock[name].value if name in FullBlock.__members__ else ItemType[name].value)
    from craftax.craftax_classic.constants import BlockType

    return int(BlockType[name].value)


def layer(world: World, name: str) -> str:
    """Field of the world that holds such a block. The full game's ladders and torches lie on top."""
    if is_full(world):
        from craftax.craftax.constants import BlockType as FullBlock

        return "map" if name in FullBlock.__members__ else "item_map"
    return "map"


def replace(world: World, **parts: Any) -> World:
    """Replace parts of the world; arrays keep their types."""

    def cast(new: Any, old: Any) -> Any:
        return jnp.asarray(new, old.dtype)

    return dataclasses.replace(
        world, **{name: jax.tree.map(cast, part, getattr(world, name)) for name, part in parts.items()}
    )


def plain(world: World, floor: Array | int = 0) -> World:
    """Put the player alone on bare ground looking up.

    Nothing appears there. All floors of the full game are so, lit and without ladders; the player is on ``floor``.
    """
    middle = jnp.full(2, world.map.shape[-1] // 2)
    bare = jnp.full_like(world.map, block(world, ground(world)))
    if is_tiny(world):
        return replace(world, map=bare, position=middle, direction=UP)
    if is_full(world):
        nothing = jnp.full_like(world.item_map, block(world, "NONE"))
        world = replace(world, light_map=jnp.ones_like(world.light_map), item_map=nothing, player_level=floor)
    creatures = {herd: getattr(world, herd) for herd in herds(world)}
    return replace(
        world,
        map=bare,
        mob_map=jnp.zeros_like(world.mob_map),
        player_position=middle,
        player_direction=UP,
        **{herd: mobs.replace(mask=jnp.zeros_like(mobs.mask)) for herd, mobs in creatures.items()},
    )


def put(world: World, name: str, *offsets: tuple[int, int]) -> World:
    """Put blocks by offsets from the present floor's middle.

    Ladders and torches of the full game go on top of what is there.
    """
    field = layer(world, name)
    cells = getattr(world, field)
    middle = cells.shape[-1] // 2
    spots = (*here(world), *(jnp.array(offsets).T + middle))
    return replace(world, **{field: cells.at[spots].set(block(world, name))})


def put_creature(world: World, herd: str, offset: tuple[int, int], health: int = 1, kind: Array | int = 0) -> World:
    """Put the herd's first creature by its offset from the middle.

    Args:
        herd: a field of the world, see `herds`.
        kind: the full game's `type_id`.
    """
    floor, mobs = here(world), getattr(world, herd)
    spot = jnp.array(offset) + world.map.shape[-1] // 2
    first = (*floor, 0)
    changed = mobs.replace(
        position=mobs.position.at[first].set(spot),
        health=mobs.health.at[first].set(health),
        mask=mobs.mask.at[first].set(True),
        attack_cooldown=mobs.attack_cooldown.at[first].set(9),
        **({"type_id": mobs.type_id.at[first].set(kind)} if is_full(world) else {}),
    )
    return replace(world, **{herd: changed}, mob_map=world.mob_map.at[(*floor, *spot)].set(True))


def hold(world: World, **amounts: Any) -> World:
    """Put amounts in hand. A number for armour or potions is spread over their kinds."""
    held = {item: _spread(amount, getattr(world.inventory, item)) for item, amount in amounts.items()}
    return replace(world, inventory=dataclasses.replace(world.inventory, **held))


def _spread(amount: Any, present: Any) -> Any:
    if np.shape(amount) == np.shape(present):
        return amount
    kinds = present.shape[-1]
    return (amount + jnp.arange(kinds)[::-1]) // kinds


def lived_in(world: World) -> World:
    """Set the full game's flags that inventory and floors passed imply.

    Upstream sets them at any step for as long as they are so, regardless of the action.
    """
    from craftax.craftax.constants import LEVEL_ACHIEVEMENT_MAP
    from craftax.craftax.game_logic import calculate_inventory_achievements

    is_passed = jnp.arange(1, len(LEVEL_ACHIEVEMENT_MAP)) <= world.player_level
    passed = world.achievements.at[LEVEL_ACHIEVEMENT_MAP[1:]].max(is_passed)
    return calculate_inventory_achievements(replace(world, achievements=passed))
