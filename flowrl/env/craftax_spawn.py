"""Where and when the full game's creatures appear. They are drawn from a window round the player. Source of the rules:
`spawn_mobs` in craftax/craftax/game_logic.py, craftax 1.6.1.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from craftax.craftax.constants import (
    FLOOR_MOB_MAPPING,
    FLOOR_MOB_SPAWN_CHANCE,
    MOB_TYPE_HEALTH_MAPPING,
    MONSTERS_KILLED_TO_CLEAR_LEVEL,
    BlockType,
    MobType,
)
from craftax.craftax.craftax_state import EnvParams, EnvState, StaticEnvParams
from craftax.craftax.util.game_logic_utils import is_boss_spawn_wave, is_fighting_boss
from jaxtyping import Array, Bool, Float, Int, UInt32

from flowrl.env.fast.spawn_sampling import (
    ChooseCell,
    cut_window,
    pack_two,
    place_shape,
    shape_words,
    window_origin,
    without,
)

PARAMS = EnvParams()
STATIC = StaticEnvParams()
GROUND = (BlockType.GRASS, BlockType.PATH, BlockType.FIRE_GRASS, BlockType.ICE_GRASS)
GRAVES = (BlockType.GRAVE, BlockType.GRAVE2, BlockType.GRAVE3)
DEEP_THING = 5
NIGHT_COLUMN = 3


def _ring(inside_fn: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Words of a ring in reach. The distance is Euclidean, its square compared, in integers."""
    reach = PARAMS.mob_despawn_distance**2

    def inside(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        squared = rows**2 + columns**2
        return (squared < reach) & inside_fn(squared)

    return shape_words(inside)


SHAPES = (
    _ring(lambda squared: squared > 3**2),
    _ring(lambda squared: squared <= 6**2),
    _ring(lambda squared: squared > 9**2),
)


class Spawn(NamedTuple):
    """One class of creature. At most one appears in a step."""

    field: str
    chance: Float[Array, ""]
    type_id: Int[Array, ""]
    health: Float[Array, ""]
    ground: UInt32[Array, "w"]


def spawn_mobs(key: jax.Array, world: EnvState, choose_cell_fn: ChooseCell) -> EnvState:
    """Give all kinds of mobs their chance to appear. In upstream's order."""
    level = world.player_level
    origin = window_origin(world.player_position, STATIC.map_size)
    occupied: list[tuple[Array, Array]] = []
    for spawn in _spawns(world, origin):
        key, chance_key = jax.random.split(key)
        key, cell_key = jax.random.split(key)
        candidates = spawn.ground
        for spot, taken in occupied:
            candidates = without(candidates, spot, origin, taken)
        full = getattr(world, spawn.field).mask[level].all()
        appears = ~full & (jax.random.uniform(chance_key) < spawn.chance) & (candidates != 0).any()
        cell = choose_cell_fn(cell_key, candidates, origin, STATIC.map_size)
        world, place = _place(world, spawn, appears, cell)
        occupied.append(place)
    return world


def _spawns(world: EnvState, origin: Int[Array, "2"]) -> tuple[Spawn, Spawn, Spawn]:
    level = world.player_level
    boss = is_fighting_boss(world, STATIC)
    beyond_3, within_6, beyond_9 = (place_shape(s, world.player_position, origin) for s in SHAPES)
    far = jnp.where(boss, within_6, beyond_9)
    passive_type = FLOOR_MOB_MAPPING[level, MobType.PASSIVE.value]
    # In the boss fight each wave brings the monsters of the next floor.
    melee_type, ranged_type = FLOOR_MOB_MAPPING[jnp.where(boss, world.boss_progress, level)][1:]
    blocks, free = cut_window(world.map, origin, level), ~cut_window(world.mob_map, origin, level)
    special = jnp.where(boss, _any_of(blocks, GRAVES), blocks == BlockType.WATER.value)
    ground, special = pack_two(_any_of(blocks, GROUND) & free, special & free)
    chance = FLOOR_MOB_SPAWN_CHANCE[level]
    melee_chance = chance[MobType.MELEE.value] + chance[NIGHT_COLUMN] * jnp.square(1 - world.light_level)
    haste = _haste(world)
    return (
        _spawn(MobType.PASSIVE, jnp.where(boss, 0.0, chance[0]), passive_type, ground & beyond_3),
        _spawn(MobType.MELEE, melee_chance * haste, melee_type, jnp.where(boss, special, ground) & far),
        _spawn(
            MobType.RANGED,
            chance[MobType.RANGED.value] * haste,
            ranged_type,
            jnp.where(boss | (ranged_type == DEEP_THING), special, ground) & far,
        ),
    )


def _spawn(kind: Any, chance: Array, type_id: Array, ground: Array) -> Spawn:
    health = MOB_TYPE_HEALTH_MAPPING[type_id, kind.value]
    return Spawn(f"{kind.name.lower()}_mobs", chance, type_id, health, ground)


def _any_of(blocks: Int[Array, "w w"], kinds: tuple[Any, ...]) -> Bool[Array, "w w"]:
    return functools.reduce(operator.or_, [blocks == kind.value for kind in kinds])


def _haste(world: EnvState) -> Int[Array, ""]:
    """Factor of how often monsters appear. More on a floor not cleared yet; in the boss fight only in waves."""
    uncleared = world.monsters_killed[world.player_level] < MONSTERS_KILLED_TO_CLEAR_LEVEL
    wave = jnp.where(is_boss_spawn_wave(world, STATIC), 1000, 0)
    return (1 + 2 * uncleared) * jnp.where(is_fighting_boss(world, STATIC), wave, 1)


def _place(
    world: EnvState, spawn: Spawn, appears: Bool[Array, ""], cell: Int[Array, "2"]
) -> tuple[EnvState, tuple[Int[Array, "2"], Bool[Array, ""]]]:
    """Put an appearing creature into the floor's first free slot.

    Comes with the cell, which is marked if the flag beside it says so. The slot takes the new type either way, as
    upstream writes it: with no slot free the first creature changes type.
    """
    mobs = getattr(world, spawn.field)
    level = world.player_level
    slot = jnp.argmax(~mobs.mask[level])
    chosen = (jnp.arange(mobs.mask.shape[0]) == level)[:, None] & (jnp.arange(mobs.mask.shape[1]) == slot)
    new = chosen & appears
    mobs = mobs.replace(
        position=jnp.where(new[..., None], cell, mobs.position),
        health=jnp.where(new, spawn.health, mobs.health),
        mask=mobs.mask | new,
        type_id=jnp.where(chosen, spawn.type_id, mobs.type_id),
    )
    row, column = mobs.position[level, slot]
    taken = world.mob_map[level, row, column] | mobs.mask[level, slot]
    world = world.replace(**{spawn.field: mobs, "mob_map": world.mob_map.at[level, row, column].set(taken)})
    return world, (mobs.position[level, slot], mobs.mask[level, slot])
