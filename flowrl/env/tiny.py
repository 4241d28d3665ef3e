"""Tiny-Grid-v1: wood, a table and stone on 81 cells, learned in seconds. It plays by Craftax's rules as far as it goes:
a move turns the player even where the way is blocked, DO acts on the cell ahead, crafting needs a table among the eight
cells around. Positions are (row, column).
"""

import dataclasses
from enum import IntEnum
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int8

from flowrl.env.domain import Domain, Facts, Ground, Observation, Plane, Sight, Transition, Vitals
from flowrl.env.observation import view_of

SIZE = 9
VIEW = (5, 5)
TREES, STONES, WATERS = 8, 5, 4
CAPACITY = 9
STEPS_PER_HEALTH = 17
"""Health falls by one so often and never rises: who only waits starves at step 153."""


class Block(IntEnum):
    """Content of a cell. Only grass can be walked on."""

    OUT_OF_BOUNDS = 0
    GRASS = 1
    TREE = 2
    STONE = 3
    WATER = 4
    TABLE = 5


class Action(IntEnum):
    """Actions. The first five are Craftax's, and number the directions too."""

    NOOP = 0
    LEFT = 1
    RIGHT = 2
    UP = 3
    DOWN = 4
    DO = 5
    PLACE_TABLE = 6
    MAKE_PICKAXE = 7


class Achievement(IntEnum):
    """What can happen."""

    COLLECT_WOOD = 0
    PLACE_TABLE = 1
    MAKE_PICKAXE = 2
    COLLECT_STONE = 3
    COLLECT_DRINK = 4


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Inventory:
    """Amounts in hand."""

    wood: Any = 0
    stone: Any = 0
    pickaxe: Any = 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TinyState:
    """One world.

    Attributes:
        map: [9, 9] of `Block`.
        position: [2] of the player.
        direction: the move that it made last, 1 to 4.
        achievements: [5] what has happened.
    """

    map: Any
    position: Any
    direction: Any
    inventory: Inventory
    timestep: Any
    achievements: Any = dataclasses.field(default_factory=lambda: jnp.zeros(len(Achievement), dtype=bool))


ITEMS = tuple(field.name for field in dataclasses.fields(Inventory))
_OFFSETS = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))


def reset(key: jax.Array) -> TinyState:
    """Generate a new world. Trees, stones and water are strewn over grass, the player somewhere between."""
    cells_key, direction_key = jax.random.split(key)
    cells = jax.random.permutation(cells_key, SIZE * SIZE)
    blocks = [Block.GRASS] + [Block.TREE] * TREES + [Block.STONE] * STONES + [Block.WATER] * WATERS
    strewn = jnp.full(SIZE * SIZE, Block.GRASS, dtype=jnp.int32).at[cells[: len(blocks)]].set(jnp.array(blocks))
    return TinyState(
        map=strewn.reshape(SIZE, SIZE),
        position=jnp.stack([cells[0] // SIZE, cells[0] % SIZE]),
        direction=jax.random.randint(direction_key, (), 1, 5),
        inventory=Inventory(**{item: jnp.int32(0) for item in ITEMS}),
        timestep=jnp.int32(0),
    )


def _ahead(world: TinyState) -> tuple[Int[Array, "2"], Bool[Array, ""]]:
    """The cell ahead and whether it is inside the map."""
    cell = world.position + jnp.array(_OFFSETS)[world.direction]
    inside = ((cell >= 0) & (cell < SIZE)).all()
    return jnp.clip(cell, 0, SIZE - 1), inside


def _near_table(world: TinyState) -> Bool[Array, ""]:
    return (view_of(world.map, world.position, (3, 3), Block.OUT_OF_BOUNDS) == Block.TABLE).any()


def _gain(inventory: Inventory, **amounts: Array) -> Inventory:
    held = {item: jnp.minimum(getattr(inventory, item) + amount, CAPACITY) for item, amount in amounts.items()}
    return dataclasses.replace(inventory, **held)


def _craft(world: TinyState, action: Array) -> tuple[TinyState, Bool[Array, ""]]:
    made = (action == Action.MAKE_PICKAXE) & (world.inventory.wood >= 1) & _near_table(world)
    return dataclasses.replace(world, inventory=_gain(world.inventory, wood=-1 * made, pickaxe=1 * made)), made


def _use(world: TinyState, action: Array) -> tuple[TinyState, Bool[Array, "4"]]:
    """Apply DO and PLACE_TABLE. Also says whether wood, stone or water was taken and a table placed."""
    cell, inside = _ahead(world)
    block = world.map[cell[0], cell[1]]
    does = (action == Action.DO) & inside
    wood = does & (block == Block.TREE)
    stone = does & (block == Block.STONE) & (world.inventory.pickaxe >= 1)
    water = does & (block == Block.WATER)
    table = (action == Action.PLACE_TABLE) & inside & (block == Block.GRASS) & (world.inventory.wood >= 1)
    after = jnp.where(wood | stone, Block.GRASS, jnp.where(table, Block.TABLE, block))
    return dataclasses.replace(
        world,
        map=world.map.at[cell[0], cell[1]].set(after),
        inventory=_gain(world.inventory, wood=1 * wood - 1 * table, stone=1 * stone),
    ), jnp.stack([wood, stone, water, table])


def _move(world: TinyState, action: Array) -> TinyState:
    moves = (action >= Action.LEFT) & (action <= Action.DOWN)
    turned = dataclasses.replace(world, direction=jnp.where(moves, action, world.direction))
    cell, inside = _ahead(turned)
    free = moves & inside & (world.map[cell[0], cell[1]] == Block.GRASS)
    return dataclasses.replace(turned, position=jnp.where(free, cell, world.position))


def step(key: jax.Array, world: TinyState, action: Int[Array, ""]) -> Transition:
    """The transition of one world without chance. The reward is the number of things that happened."""
    del key
    world, pickaxe = _craft(world, action)
    world, (wood, stone, water, table) = _use(world, action)
    world = _move(world, action)
    world = dataclasses.replace(world, timestep=world.timestep + 1)
    happened = {
        Achievement.COLLECT_WOOD: wood,
        Achievement.PLACE_TABLE: table,
        Achievement.MAKE_PICKAXE: pickaxe,
        Achievement.COLLECT_STONE: stone,
        Achievement.COLLECT_DRINK: water,
    }
    events = jnp.stack([happened[achievement] for achievement in Achievement])
    world = dataclasses.replace(world, achievements=world.achievements | events)
    return Transition(world, events.astype(jnp.float32).sum(), _health(world) <= 0, jnp.bool_(False), events)


def _health(world: TinyState) -> Int[Array, ""]:
    return 9 - world.timestep // STEPS_PER_HEALTH


def _intrinsics(world: TinyState) -> Int[Array, "4"]:
    return jnp.stack([_health(world), jnp.int32(9), jnp.int32(9), jnp.int32(9)])


def observe(world: TinyState) -> Observation:
    """The compact view with amounts and levels."""
    cells = view_of(world.map, world.position, VIEW, Block.OUT_OF_BOUNDS).astype(jnp.uint8)[:, None]
    levels = jnp.concatenate([amounts(world.inventory), _intrinsics(world), world.direction[None]])
    return Observation(cells, jnp.zeros(0, jnp.uint16), levels.astype(jnp.int8), jnp.zeros(0))


def scalars(levels: Int8[Array, "*B 8"], floats: Float[Array, "*B 0"]) -> Float[Array, "*B 11"]:
    """Amounts and intrinsics in tenths before the one-hot direction."""
    del floats
    tenths = levels[..., :-1].astype(jnp.float32) / 10.0
    return jnp.concatenate([tenths, jax.nn.one_hot(levels[..., -1] - 1, 4)], axis=-1)


def amounts(inventory: Inventory) -> Int[Array, "items"]:
    """Amounts in hand in the order of `ITEMS`."""
    return jnp.stack([getattr(inventory, item) for item in ITEMS]).astype(jnp.int32)


def vitals(world: TinyState) -> Vitals:
    """Inventory and intrinsics. Only health ever changes, and there is no lava."""
    return Vitals(world.inventory, _intrinsics(world), jnp.bool_(False), None, None)


def _ground(world: TinyState) -> Ground:
    return Ground(world.map[None, None], world.achievements, jnp.ones(1, dtype=bool))


def domain(fast: bool = True, layout: str = "tiny-1") -> Domain:
    """The tiny game; ``fast`` changes nothing here."""
    del fast
    return Domain(
        name="Tiny-Grid-v1",
        layout=layout,
        actions=tuple(action.name for action in Action),
        items=ITEMS,
        achievements=tuple(achievement.name for achievement in Achievement),
        view=VIEW,
        planes=(Plane(len(Block), "onehot"),),
        levels=len(ITEMS) + 4 + 1,
        floats=0,
        scalars=len(ITEMS) + 4 + 4,
        scalars_fn=scalars,
        creatures=(),
        slots=(),
        causes=("hunger",),
        sight=Sight(
            names=tuple(block.name for block in Block),
            floors=1,
            dark=False,
            rows_fn=lambda cells: cells[:, 0].astype(jnp.int32)[None],
            lit_fn=lambda cells: jnp.ones(cells.shape[0], dtype=bool),
            place_fn=lambda world: (world.position, jnp.int32(0)),
        ),
        reset_fn=reset,
        step_fn=step,
        observe_fn=observe,
        vitals_fn=vitals,
        amounts_fn=amounts,
        cause_fn=lambda before, after: jnp.int32(0),
        facts=Facts((("table", ("TABLE",)),), (), _ground),
        light_fn=lambda world: _health(world) / 9,  # the day fades with the player
    )
