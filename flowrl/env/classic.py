"""Craftax-Classic as a `Domain`: upstream's step functions, in upstream's order.

Source of the order: `craftax_step` in craftax/craftax_classic/game_logic.py, craftax 1.6.1.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from craftax.craftax_classic import game_logic
from craftax.craftax_classic.constants import OBS_DIM, Achievement, Action, BlockType
from craftax.craftax_classic.envs.craftax_state import EnvParams, EnvState, Inventory, Mobs, StaticEnvParams
from craftax.craftax_classic.world_gen import generate_world
from jaxtyping import Array, Bool, Float, Int, Int8, UInt16

from flowrl.env.domain import Domain, Facts, Ground, Observation, Plane, Sight, Transition, Vitals
from flowrl.env.fast.jaxpr_rewrite import flush_writes, rewrite_step
from flowrl.env.fast.materialise import materialise
from flowrl.env.fast.spawn_sampling import (
    ChooseCell,
    choose_by_rank,
    cut_window,
    pack_two,
    place_shape,
    shape_words,
    window_origin,
    without,
)
from flowrl.env.observation import mark_columns, marks_in_view, view_of

NAME = "Craftax-Classic-Symbolic-v1"
PARAMS = EnvParams()
UNTIMED = PARAMS.replace(max_timesteps=2**31 - 1)
"""With them upstream says whether the game is over for another reason than its clock."""
STATIC = StaticEnvParams()
ITEMS = tuple(Inventory.__dataclass_fields__)
INTRINSICS = ("health", "food", "drink", "energy")
STATIONS = (
    ("crafting_table", ("CRAFTING_TABLE",)),
    ("furnace", ("FURNACE",)),
    ("plant", ("PLANT", "RIPE_PLANT")),
)
REACHED = PARAMS.mob_despawn_distance
BEYOND_3 = shape_words(lambda rows, columns: (abs(rows) + abs(columns) > 3) & (abs(rows) + abs(columns) < REACHED))
BEYOND_9 = shape_words(lambda rows, columns: (abs(rows) + abs(columns) > 9) & (abs(rows) + abs(columns) < REACHED))
CAUSES = ("zombie", "arrow", "lava", "hunger", "thirst", "fatigue")
HERDS = ("zombies", "cows", "skeletons", "arrows")
CELL_SIZE = len(BlockType) + len(HERDS)
_ROCKS = (BlockType.STONE, BlockType.COAL, BlockType.IRON, BlockType.DIAMOND, BlockType.PATH, BlockType.LAVA)
ORES = ("STONE", "COAL", "IRON", "DIAMOND")
_ROCK_BITS = np.uint32(sum(1 << block.value for block in _ROCKS))
_OPEN_BITS = np.uint32(sum(1 << block.value for block in (BlockType.GRASS, BlockType.SAND, BlockType.PATH)))
SLOTS = (STATIC.max_zombies, STATIC.max_cows, STATIC.max_skeletons, STATIC.max_arrows)


def spawn_mobs(key: jax.Array, world: EnvState, choose_cell_fn: ChooseCell) -> EnvState:
    """Give cows, zombies and skeletons their chance to appear. In upstream's order."""
    origin = window_origin(world.player_position, STATIC.map_size)
    blocks, free = cut_window(world.map, origin), ~cut_window(world.mob_map, origin)
    grass, path = pack_two((blocks == BlockType.GRASS.value) & free, (blocks == BlockType.PATH.value) & free)
    near, far = (place_shape(ring, world.player_position, origin) for ring in (BEYOND_3, BEYOND_9))
    night = PARAMS.spawn_zombie_night_chance * jnp.square(1 - world.light_level)
    kinds = (
        ("cows", grass & near, PARAMS.spawn_cow_chance, PARAMS.cow_health),
        ("zombies", (grass | path) & far, PARAMS.spawn_zombie_base_chance + night, PARAMS.zombie_health),
        ("skeletons", path & far, PARAMS.spawn_skeleton_chance, PARAMS.skeleton_health),
    )
    occupied: list[tuple[Array, Array]] = []
    for name, candidates, chance, health in kinds:
        key, chance_key = jax.random.split(key)
        key, cell_key = jax.random.split(key)
        for spot, taken in occupied:
            candidates = without(candidates, spot, origin, taken)
        mobs = getattr(world, name)
        appears = ~mobs.mask.all() & (jax.random.uniform(chance_key) < chance) & (candidates != 0).any()
        cell = choose_cell_fn(cell_key, candidates, origin, STATIC.map_size)
        mobs, mob_map, place = _place(mobs, world.mob_map, appears, cell, health)
        occupied.append(place)
        world = world.replace(**{name: mobs, "mob_map": mob_map})
    return world


def _place(
    mobs: Mobs, mob_map: Array, appears: Array, cell: Int[Array, "2"], health: int
) -> tuple[Mobs, Bool[Array, "R C"], tuple[Int[Array, "2"], Bool[Array, ""]]]:
    """Put a creature into the first free slot, if it appears.

    Comes with the map of creatures, and the cell that is marked there if the flag says so.
    """
    slot = jnp.argmax(~mobs.mask)
    chosen = (jnp.arange(mobs.mask.shape[0]) == slot) & appears
    mobs = mobs.replace(
        position=jnp.where(chosen[:, None], cell, mobs.position),
        health=jnp.where(chosen, health, mobs.health),
        mask=mobs.mask | chosen,
    )
    spot = mobs.position[slot]
    marked = mob_map.at[spot[0], spot[1]].set(mob_map[spot[0], spot[1]] | mobs.mask[slot])
    return mobs, marked, (spot, mobs.mask[slot])


def step(
    key: jax.Array, world: EnvState, action: Int[Array, ""], choose_cell_fn: ChooseCell = choose_by_rank
) -> Transition:
    """Upstream's transition of one world.

    Flags are sticky upstream, so the step runs on a cleared mask: what is set afterwards happened in this step.
    """
    before = world
    world = world.replace(achievements=jnp.zeros_like(world.achievements))
    action = jax.lax.select(world.is_sleeping, Action.NOOP.value, action)
    world = game_logic.do_crafting(world, action)
    key, do_key = jax.random.split(key)
    world = game_logic.do_action(do_key, world, action, STATIC)
    world = flush_writes(game_logic.place_block(world, action, STATIC))
    world = game_logic.move_player(world, action)
    key, mobs_key = jax.random.split(key)
    world = game_logic.update_mobs(mobs_key, world, PARAMS, STATIC)
    key, spawn_key = jax.random.split(key)
    world = flush_writes(spawn_mobs(spawn_key, world, choose_cell_fn))
    world = game_logic.update_plants(world, STATIC)
    world = game_logic.update_player_intrinsics(world, action)
    world = game_logic.cap_inventory(world)
    world = game_logic.update_health(world)
    events = world.achievements
    achieved = before.achievements | events
    gained = achieved.astype(jnp.float32).sum() - before.achievements.astype(jnp.float32).sum()
    reward = gained + (world.player_health - before.player_health) * 0.1
    key, state_key = jax.random.split(key)
    world = world.replace(
        achievements=achieved,
        timestep=world.timestep + 1,
        light_level=game_logic.calculate_light_level(world.timestep + 1, PARAMS),
        state_rng=state_key,
    )
    over, expired = game_logic.is_game_over(world, UNTIMED), world.timestep >= PARAMS.max_timesteps
    return Transition(world, reward, over, expired, events)


def reset(key: jax.Array) -> EnvState:
    """Generate a new world. Every leaf is an array, so that worlds can be stacked and stored."""
    world = generate_world(key, PARAMS, STATIC)
    return jax.tree.map(jnp.asarray, world)


def observe(world: EnvState) -> Observation:
    """Upstream's symbolic observation, compact."""
    blocks = view_of(world.map, world.player_position, OBS_DIM, BlockType.OUT_OF_BOUNDS.value)
    marks = [_marks(getattr(world, herd), i, world.player_position) for i, herd in enumerate(HERDS)]
    levels = [amounts(world.inventory), _intrinsics(world), world.player_direction[None], world.is_sleeping[None]]
    return Observation(
        blocks.astype(jnp.uint8)[:, None],
        jnp.concatenate(marks),
        jnp.concatenate(levels).astype(jnp.int8),
        world.light_level[None].astype(jnp.float32),
    )


def _marks(mobs: Mobs, kind: int, centre: Int[Array, "2"]) -> UInt16[Array, "M"]:
    kinds = jnp.full(mobs.mask.shape, kind)
    cell = marks_in_view(mobs.position, mobs.mask, kinds, centre, OBS_DIM)
    return mark_columns(CELL_SIZE, len(BlockType), cell, kinds)


def scalars(levels: Int8[Array, "*B 18"], floats: Float[Array, "*B 1"]) -> Float[Array, "*B 22"]:
    """The floats after the map in upstream's observation. Amounts and intrinsics, direction, light, asleep."""
    tenths = levels[..., :16].astype(jnp.float16) / 10.0
    direction = jax.nn.one_hot(levels[..., 16] - 1, num_classes=4)
    asleep = levels[..., 17:].astype(jnp.float32)
    return jnp.concatenate([tenths.astype(jnp.float32), direction, floats, asleep], axis=-1)


def amounts(inventory: Inventory) -> Int[Array, "items"]:
    """Amounts in hand, in the order of `ITEMS`."""
    return jnp.stack([getattr(inventory, item) for item in ITEMS]).astype(jnp.int32)


def _intrinsics(world: EnvState) -> Int[Array, "4"]:
    levels = [world.player_health, world.player_food, world.player_drink, world.player_energy]
    return jnp.stack(levels).astype(jnp.int32)


def _in_lava(world: EnvState) -> Bool[Array, ""]:
    return world.map[world.player_position[0], world.player_position[1]] == BlockType.LAVA.value


def vitals(world: EnvState) -> Vitals:
    """Inventory and intrinsics (health, food, drink, energy); Classic has one floor."""
    return Vitals(world.inventory, _intrinsics(world), _in_lava(world), None, None)


def cause_of_death(before: EnvState, after: EnvState) -> Int[Array, ""]:
    """Most likely cause of this step's death, an index into `CAUSES`.

    A zombie sets its cooldown to 5 as it strikes; an arrow takes 2 points at once; want takes 1 point.
    """
    zombie = (after.zombies.mask & (after.zombies.attack_cooldown == 5)).any()
    struck = before.player_health - after.player_health >= 2
    flags = jnp.stack(
        [
            zombie,
            struck,
            _in_lava(after),
            after.player_food <= 0,
            after.player_drink <= 0,
            after.player_energy <= 0,
        ]
    )
    order = jnp.array([CAUSES.index(c) for c in ("lava", "zombie", "hunger", "thirst", "fatigue", "arrow")])
    order_if_struck = jnp.array([CAUSES.index(c) for c in ("lava", "zombie", "arrow", "hunger", "thirst", "fatigue")])
    order = jnp.where(struck, order_if_struck, order)
    return order[jnp.argmax(flags[order])]


def _ground(world: EnvState) -> Ground:
    return Ground(world.map[None, None], world.achievements, jnp.ones(1, dtype=bool))


def nearby(world: EnvState) -> Float[Array, "23"]:
    """What the player faces, one-hot, and the hour on a circle.

    What an action does depends on the cell ahead, which upstream's observation gives by direction and view only; and by
    light alone dusk looks like dawn.
    """
    ahead = world.player_position + game_logic.DIRECTIONS[world.player_direction]
    block = view_of(world.map, ahead, (1, 1), BlockType.OUT_OF_BOUNDS.value)[0]
    herds = [getattr(world, herd) for herd in HERDS]
    creatures = jnp.stack([((mobs.position == ahead).all(axis=1) & mobs.mask).any() for mobs in herds])
    hour = 2 * jnp.pi * world.timestep / PARAMS.day_length
    blocks = jax.nn.one_hot(block, len(BlockType))
    return jnp.concatenate([blocks, creatures.astype(jnp.float32), jnp.stack([jnp.sin(hour), jnp.cos(hour)])])


def turn(world: EnvState) -> Int[Array, ""]:
    """Quarter turns clockwise from up of the way the player faces."""
    return jnp.array([0, 3, 1, 0, 2])[world.player_direction]  # a direction is the action that moves there


def rock(world: EnvState) -> Bool[Array, "R C"]:
    """The cells of the mountains. Stone, what lies in it, and the ways through it."""
    # A bit for each type of block: one shift in place of six comparisons.
    return (_ROCK_BITS >> world.map.astype(jnp.uint32)) & 1 == 1


def sheltered(world: EnvState) -> Bool[Array, ""]:
    """Whether no creature can come next to the player. Each free cell beside it leads nowhere."""
    blocks = view_of(world.map, world.player_position, (5, 5), BlockType.OUT_OF_BOUNDS.value).reshape(5, 5)
    free = (_OPEN_BITS >> blocks.astype(jnp.uint32)) & 1 == 1
    ways = jnp.stack(
        [
            free[1, 2] & (free[0, 2] | free[1, 1] | free[1, 3]),
            free[3, 2] & (free[4, 2] | free[3, 1] | free[3, 3]),
            free[2, 1] & (free[2, 0] | free[1, 1] | free[3, 1]),
            free[2, 3] & (free[2, 4] | free[1, 3] | free[3, 3]),
        ]
    )
    return ~ways.any()


def domain(fast: bool = True, layout: str = "classic-1", choose_cell_fn: ChooseCell = choose_by_rank) -> Domain:
    """Craftax-Classic.

    Args:
        fast: rewrite the functions of a world for CPUs, see `flowrl.env.fast`; the results are the same.
        layout: of the observation.
        choose_cell_fn: draws the cell in which a creature appears.
    """
    noted, turned = layout != "classic-1", layout in ("classic-3", "classic-4")
    step_fn: Any = functools.partial(step, choose_cell_fn=choose_cell_fn)
    return Domain(
        name=NAME,
        layout=layout,
        actions=tuple(action.name for action in Action),
        items=ITEMS,
        achievements=tuple(a.name for a in Achievement),
        view=OBS_DIM,
        planes=(Plane(len(BlockType), "onehot"), Plane(len(HERDS), "marks")),
        levels=18,
        floats=1,
        scalars=22,
        scalars_fn=scalars,
        creatures=("zombie", "cow", "skeleton", "arrow"),
        slots=tuple(kind for kind, many in enumerate(SLOTS) for _ in range(many)),
        causes=CAUSES,
        sight=Sight(
            names=tuple(block.name for block in BlockType),
            floors=1,
            dark=False,
            rows_fn=lambda cells: cells[:, 0].astype(jnp.int32)[None],
            lit_fn=lambda cells: jnp.ones(cells.shape[0], dtype=bool),
            place_fn=lambda world: (world.player_position, jnp.int32(0)),
        ),
        reset_fn=materialise(reset) if fast else reset,
        step_fn=rewrite_step(step_fn) if fast else step_fn,
        observe_fn=observe,
        vitals_fn=vitals,
        amounts_fn=amounts,
        cause_fn=cause_of_death,
        facts=Facts(STATIONS, INTRINSICS, _ground),
        light_fn=lambda world: world.light_level,
        map_size=STATIC.map_size if noted else None,
        turn_fn=turn if turned else None,
        rock_fn=rock if turned else None,
        ores=ORES if layout == "classic-4" else None,
        followed=(HERDS.index("cows"),) if layout == "classic-4" else (),
        sheltered_fn=sheltered,
        nearby=len(BlockType) + len(HERDS) + 2 if noted else 0,
        nearby_fn=nearby if noted else None,
    )
