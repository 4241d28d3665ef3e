"""The full Craftax as a `Domain`. Source of the order: `craftax_step` in
craftax/craftax/game_logic.py, craftax 1.6.1.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from craftax.craftax import game_logic
from craftax.craftax.constants import (
    ACHIEVEMENT_REWARD_MAP,
    DIRECTIONS,
    LEVEL_ACHIEVEMENT_MAP,
    MONSTERS_KILLED_TO_CLEAR_LEVEL,
    OBS_DIM,
    TORCH_LIGHT_MAP,
    Achievement,
    Action,
    BlockType,
    ItemType,
)
from craftax.craftax.craftax_state import EnvState, Inventory
from craftax.craftax.util.game_logic_utils import (
    calculate_light_level,
    clip_inventory_and_intrinsics,
    is_boss_vulnerable,
)
from craftax.craftax.world_gen.world_gen import generate_world
from jaxtyping import Array, Bool, Float, Int, Int8, UInt8, UInt16

from flowrl.env.craftax_spawn import PARAMS, STATIC, spawn_mobs
from flowrl.env.domain import Domain, Facts, Ground, Observation, Plane, Sight, Transition, Vitals
from flowrl.env.fast.jaxpr_rewrite import flush_writes, rewrite_step
from flowrl.env.fast.spawn_sampling import ChooseCell, choose_by_rank
from flowrl.env.observation import mark_columns, marks_in_view, view_of

UNTIMED = PARAMS.replace(max_timesteps=2**31 - 1)
"""With them upstream says whether the game is over for another reason than its clock."""
SUMMED = ("armour", "potions")
COUNTED = tuple(field for field in Inventory.__dataclass_fields__ if field not in SUMMED)
ITEMS = COUNTED + SUMMED

# What upstream reads off the inventory at each step (`calculate_inventory_achievements`).
COLLECTED = (
    ("COLLECT_WOOD", "wood"),
    ("COLLECT_STONE", "stone"),
    ("COLLECT_COAL", "coal"),
    ("COLLECT_IRON", "iron"),
    ("COLLECT_DIAMOND", "diamond"),
    ("COLLECT_RUBY", "ruby"),
    ("COLLECT_SAPPHIRE", "sapphire"),
    ("COLLECT_SAPLING", "sapling"),
    ("FIND_BOW", "bow"),
    ("MAKE_ARROW", "arrows"),
    ("MAKE_TORCH", "torches"),
)
TOOLS = ("pickaxe", "sword")
TIERS = ("WOOD", "STONE", "IRON", "DIAMOND")

# The player of this version can't walk into lava, and the boss hurts through its waves of monsters only.
CAUSES = ("melee", "projectile", "potion", "hunger", "thirst", "fatigue")
MELEE_COOLDOWN = 5
RANGED_COOLDOWN = 4
POISON = 1

CREATURES = ("melee", "passive", "ranged", "mob_projectile", "player_projectile")
HERDS = ("melee_mobs", "passive_mobs", "ranged_mobs", "mob_projectiles", "player_projectiles")
TYPES = 8
LADDERS = (ItemType.LADDER_DOWN, ItemType.LADDER_UP, ItemType.LADDER_DOWN_BLOCKED)
INTRINSICS = ("health", "food", "drink", "energy", "mana")
STATIONS = (
    ("crafting_table", ("CRAFTING_TABLE",)),
    ("furnace", ("FURNACE",)),
    ("plant", ("PLANT", "RIPE_PLANT")),
    ("ladder_down", ("LADDER_DOWN",)),
    ("ladder_up", ("LADDER_UP",)),
)
ROOTED = ("wood", "stone", "coal", "iron", "diamond", "sapphire", "ruby", "sapling", "torches", "arrows")
SLOTS = (
    STATIC.max_melee_mobs,
    STATIC.max_passive_mobs,
    STATIC.max_ranged_mobs,
    STATIC.max_mob_projectiles,
    STATIC.max_player_projectiles,
)
CELL_SIZE = len(BlockType) + len(ItemType) + len(HERDS) * TYPES + 1
UNSEEN = 255
DARK_UP_TO = 0.05


def step(
    key: jax.Array, world: EnvState, action: Int[Array, ""], choose_cell_fn: ChooseCell = choose_by_rank
) -> Transition:
    """Upstream's transition of one world.

    Flags are sticky upstream, so the step runs on a cleared mask: what is set afterwards happened in this step. Only
    `change_floor` reads flags (a first visit gives experience), so it runs before the mask is cleared.
    """
    before = world
    action = jax.lax.select(world.is_sleeping | world.is_resting, Action.NOOP.value, action)
    world = game_logic.change_floor(world, action, PARAMS, STATIC)
    achieved = world.achievements
    world = world.replace(achievements=jnp.zeros_like(achieved))
    key, world = _act(key, world, action)
    world = flush_writes(world)
    key, mobs_key = jax.random.split(key)
    world = game_logic.update_mobs(mobs_key, world, PARAMS, STATIC)
    key, spawn_key = jax.random.split(key)
    world = flush_writes(spawn_mobs(spawn_key, world, choose_cell_fn))
    world = game_logic.update_plants(world, STATIC)
    world = game_logic.update_player_intrinsics(world, action, STATIC)
    events = world.achievements | _entered(before, world) | _gained(before.inventory, world.inventory)
    world = clip_inventory_and_intrinsics(world, PARAMS)
    world = game_logic.calculate_inventory_achievements(world.replace(achievements=achieved | world.achievements))
    key, state_key = jax.random.split(key)
    world = world.replace(
        timestep=world.timestep + 1,
        light_level=calculate_light_level(world.timestep + 1, PARAMS),
        state_rng=state_key,
    )
    new = world.achievements.astype(int) - before.achievements.astype(int)
    reward = (new * ACHIEVEMENT_REWARD_MAP).sum() + (world.player_health - before.player_health) * 0.1
    over, expired = game_logic.is_game_over(world, UNTIMED, STATIC), world.timestep >= PARAMS.max_timesteps
    return Transition(world, reward, over, expired, events)


def _act(key: jax.Array, world: EnvState, action: Int[Array, ""]) -> tuple[jax.Array, EnvState]:
    """Apply the player's action on one floor. Comes with the key that is left."""
    world = game_logic.do_crafting(world, action)
    key, do_key = jax.random.split(key)
    world = game_logic.do_action(do_key, world, action, STATIC)
    world = flush_writes(_place_block(world, action))
    world = game_logic.shoot_projectile(world, action, STATIC)
    world = game_logic.cast_spell(world, action, STATIC)
    world = game_logic.drink_potion(world, action)
    key, book_key = jax.random.split(key)
    world = game_logic.read_book(book_key, world, action)
    key, enchant_key = jax.random.split(key)
    world = game_logic.enchant(enchant_key, world, action)
    world = game_logic.boss_logic(world, STATIC)
    world = game_logic.level_up_attributes(world, action, PARAMS)
    return key, game_logic.move_player(world, action, PARAMS)


def _place_block(world: EnvState, action: Int[Array, ""]) -> EnvState:
    """Upstream's `place_block` with light recomputed around torches only."""
    after = game_logic.place_block(world, action, STATIC)
    lit = after.inventory.torches < world.inventory.torches
    block = world.player_position + DIRECTIONS[world.player_direction]
    sizes = TORCH_LIGHT_MAP.shape
    corner = block - jnp.array(sizes) // 2
    start = jnp.clip(corner, 0, jnp.array(STATIC.map_size) - jnp.array(sizes))
    shift = start - corner + jnp.array(sizes)
    light, inside = (
        jax.lax.dynamic_slice(jnp.pad(patch, [(size, size) for size in sizes]), shift, sizes)
        for patch in (TORCH_LIGHT_MAP, jnp.ones(sizes, dtype=bool))
    )
    place = (world.player_level, start[0], start[1])
    old = jax.lax.dynamic_slice(world.light_map, place, (1, *sizes))
    new = jnp.where(lit & inside, jnp.clip(light + old, 0.0, 1.0), old)
    return after.replace(light_map=jax.lax.dynamic_update_slice(world.light_map, new, place))


def _entered(before: EnvState, after: EnvState) -> Bool[Array, "achievements"]:
    """Flag of the floor that the player came to in this step. Upstream sets it for as long as the player stays."""
    came = (after.player_level != before.player_level) & (after.player_level != 0)
    return (jnp.arange(len(Achievement)) == LEVEL_ACHIEVEMENT_MAP[after.player_level]) & came


def _gained(before: Inventory, after: Inventory) -> Bool[Array, "achievements"]:
    """Flags of what the inventory gained.

    ``after`` is not yet capped: 99 pieces of wood and one more count. A tool's flag is set when its tier goes from
    below to at least that tier, as a chest may skip some.
    """
    names = [name for name, _ in COLLECTED]
    flags = [getattr(after, item) > getattr(before, item) for _, item in COLLECTED]
    for tool in TOOLS:
        for tier, material in enumerate(TIERS, start=1):
            names.append(f"MAKE_{material}_{tool.upper()}")
            flags.append((getattr(before, tool) < tier) & (getattr(after, tool) >= tier))
    indices = jnp.array([Achievement[name].value for name in names])
    return jnp.zeros(len(Achievement), dtype=bool).at[indices].set(jnp.stack(flags))


def reset(key: jax.Array) -> EnvState:
    """Generate a new world as upstream's `reset_env` does. Every leaf is an array, so that worlds can be stacked."""
    _, world_key = jax.random.split(key)
    return jax.tree.map(jnp.asarray, generate_world(world_key, PARAMS, STATIC))


def observe(world: EnvState) -> Observation:
    """Upstream's symbolic observation in compact form. An unlit cell is neither block nor item."""
    level, position = world.player_level, world.player_position
    blocks = view_of(world.map[level], position, OBS_DIM, BlockType.OUT_OF_BOUNDS.value)
    items = view_of(world.item_map[level], position, OBS_DIM, ItemType.NONE.value)
    lit = view_of(world.light_map[level], position, OBS_DIM, 0) > DARK_UP_TO
    cells = [jnp.where(lit, plane, UNSEEN).astype(jnp.uint8) for plane in (blocks, items)]
    marks = [_marks(world, lit, i) for i in range(len(HERDS))]
    return Observation(jnp.stack(cells, axis=-1), jnp.concatenate(marks), _levels(world), _floats(world))


def _marks(world: EnvState, lit: Bool[Array, "cells"], herd: int) -> UInt16[Array, "M"]:
    level, mobs = world.player_level, getattr(world, HERDS[herd])
    kind = mobs.type_id[level]
    cell = marks_in_view(mobs.position[level], mobs.mask[level], kind, world.player_position, OBS_DIM)
    cell = jnp.where(lit[cell], cell, -1)
    first = len(BlockType) + len(ItemType) + herd * TYPES
    return mark_columns(CELL_SIZE, first, cell, kind)


def _levels(world: EnvState) -> Int8[Array, "38"]:
    held = world.inventory
    cleared = world.monsters_killed[world.player_level] >= MONSTERS_KILLED_TO_CLEAR_LEVEL
    parts = (
        jnp.stack([getattr(held, item) for item in ROOTED]),
        held.potions,
        jnp.stack([held.books, held.pickaxe, held.sword, world.sword_enchantment, world.bow_enchantment, held.bow]),
        world.player_direction[None],
        held.armour,
        world.armour_enchantments,
        jnp.stack([world.is_sleeping, world.is_resting]),
        world.learned_spells,
        jnp.stack([world.player_level, cleared, is_boss_vulnerable(world)]),
    )
    return jnp.concatenate([part.astype(jnp.int8) for part in parts])


def _floats(world: EnvState) -> Float[Array, "10"]:
    vital = [world.player_health, world.player_food, world.player_drink, world.player_energy, world.player_mana]
    skills = [world.player_xp, world.player_dexterity, world.player_strength, world.player_intelligence]
    return jnp.stack([jnp.asarray(x, jnp.float32) for x in (*vital, *skills, world.light_level)])


def scalars(levels: Int8[Array, "*B 38"], floats: Float[Array, "*B 10"]) -> Float[Array, "*B 51"]:
    """The floats after the map in upstream's observation."""
    small = levels.astype(jnp.float32)
    rooted, potions, tools, direction, armour, enchantments, states, spells, place = jnp.split(
        small, (10, 16, 22, 23, 27, 31, 33, 35), axis=-1
    )
    parts = (
        jnp.sqrt(rooted) / 10.0,
        tools[..., :1] / 2.0,
        tools[..., 1:3] / 4.0,
        tools[..., 3:],
        jnp.sqrt(potions) / 10.0,
        floats[..., :9] / 10.0,
        jax.nn.one_hot(direction[..., 0].astype(jnp.int32) - 1, num_classes=4),
        armour / 2.0,
        enchantments,
        floats[..., 9:],
        states,
        spells,
        place[..., :1] / 10.0,
        place[..., 1:],
    )
    return jnp.concatenate(parts, axis=-1)


def amounts(inventory: Inventory) -> Int[Array, "items"]:
    """Amounts in hand in the order of `ITEMS`. A tool counts by its tier; armour and potions are summed up."""
    counted = [getattr(inventory, item) for item in COUNTED]
    summed = [getattr(inventory, item).sum() for item in SUMMED]
    return jnp.stack(counted + summed).astype(jnp.int32)


def vitals(world: EnvState) -> Vitals:
    """Inventory, intrinsics, floor and kills. Intrinsics are health rounded down, food, drink, energy, mana."""
    row, column = world.player_position
    in_lava = world.map[world.player_level, row, column] == BlockType.LAVA.value
    levels = [world.player_health, world.player_food, world.player_drink, world.player_energy, world.player_mana]
    intrinsics = jnp.stack([jnp.floor(level).astype(jnp.int32) for level in levels])
    return Vitals(world.inventory, intrinsics, in_lava, world.player_level, world.monsters_killed)


def cause_of_death(before: EnvState, after: EnvState) -> Int[Array, ""]:
    """Hardest blow of this step as index into `CAUSES`. 0 if none."""
    mapping = before.potion_mapping
    poisoned = ((after.inventory.potions < before.inventory.potions) & (mapping == POISON)).any()
    # Want takes a point when recovery falls below -15, from where it starts anew at 0.
    wasted = (before.player_recover <= -14) & (after.player_recover == 0)
    needs = jnp.stack([after.player_food, after.player_drink, after.player_energy]) <= 0
    struck = (after.melee_mobs.attack_cooldown[after.player_level] == MELEE_COOLDOWN).any()
    return jnp.argmax(jnp.stack([struck, _shot(before, after), poisoned, *(needs & wasted)]))


def _shot(before: EnvState, after: EnvState) -> Bool[Array, ""]:
    """Whether a monster's projectile hit. One that flew or was fired in this step ended on the player."""
    level, shots = after.player_level, after.mob_projectiles
    end = shots.position[level]
    start = end - after.mob_projectile_directions[level]
    met = (end == after.player_position).all(axis=-1) | (start == after.player_position).all(axis=-1)
    fired = (after.ranged_mobs.attack_cooldown[level] == RANGED_COOLDOWN).any()
    return (met & ~shots.mask[level] & (before.mob_projectiles.mask[level] | fired)).any()


def _rows(cells: UInt8[Array, "cells planes"]) -> Int[Array, "2 cells"]:
    blocks, items = cells[:, 0].astype(jnp.int32), cells[:, 1].astype(jnp.int32)
    return jnp.stack([jnp.where(blocks == UNSEEN, -1, blocks), _ladders(items)])


def _ladders(items: Int[Array, "*cells"]) -> Int[Array, "*cells"]:
    """Rows of the sight that items are. -1 for other items."""
    first, last = LADDERS[0].value, LADDERS[-1].value
    return jnp.where((items >= first) & (items <= last), items - first + len(BlockType), -1)


def _ground(world: EnvState) -> Ground:
    """Blocks and ladders of all floors. A floor is reached where its flag says so, the first one always."""
    layers = jnp.stack([world.map.astype(jnp.int32), _ladders(world.item_map.astype(jnp.int32))], axis=1)
    floors = jnp.arange(STATIC.num_levels)
    reached = world.achievements[LEVEL_ACHIEVEMENT_MAP[floors]] | (floors == 0) | (floors == world.player_level)
    return Ground(layers, world.achievements, reached)


def domain(fast: bool = True, layout: str = "craftax-1", choose_cell_fn: ChooseCell = choose_by_rank) -> Domain:
    """The full Craftax.

    Args:
        fast: rewrite the step for CPUs, see `flowrl.env.fast`; the results are the same.
        layout: of the observation.
        choose_cell_fn: draws the cell in which a creature appears.
    """
    step_fn: Any = functools.partial(step, choose_cell_fn=choose_cell_fn)
    return Domain(
        name="Craftax-Symbolic-v1",
        layout=layout,
        actions=tuple(action.name for action in Action),
        items=ITEMS,
        achievements=tuple(a.name for a in sorted(Achievement, key=lambda a: a.value)),  # upstream lists them otherwise
        view=OBS_DIM,
        planes=(
            Plane(len(BlockType), "onehot"),
            Plane(len(ItemType), "onehot"),
            *(Plane(TYPES, "marks") for _ in CREATURES),
            Plane(1, "lit"),
        ),
        levels=38,
        floats=10,
        scalars=51,
        scalars_fn=scalars,
        creatures=CREATURES,
        slots=tuple(kind for kind, many in enumerate(SLOTS) for _ in range(many)),
        causes=CAUSES,
        sight=Sight(
            names=tuple(block.name for block in BlockType) + tuple(ladder.name for ladder in LADDERS),
            floors=STATIC.num_levels,
            dark=True,
            rows_fn=_rows,
            lit_fn=lambda cells: cells[:, 0] != UNSEEN,
            place_fn=lambda world: (world.player_position, world.player_level),
        ),
        reset_fn=reset,
        step_fn=rewrite_step(step_fn) if fast else step_fn,
        observe_fn=observe,
        vitals_fn=vitals,
        amounts_fn=amounts,
        cause_fn=cause_of_death,
        light_fn=lambda world: world.light_level,
        facts=Facts(STATIONS, INTRINSICS, _ground),
    )
