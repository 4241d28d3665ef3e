"""Batches of worlds with given fluents and a thing ahead."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from flowrl.env.domain import Domain, World
from flowrl.env.staging import worlds as staging

AS_IT_IS = -1
"""Stands for an amount, a level or a thing that is left as the world has it."""
ABSENT, OUT_OF_REACH, WITHIN_REACH = 0, 1, 2
"""Where a station is; absent: nowhere on the floor."""
AHEAD = (-1, 0)
_CORNERS = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
_AFAR = np.array([(0, 4), (0, -4), (4, 0), (4, 4), (4, -4)])
_PEN = ((-2, 0), (-1, -1), (-1, 1))
_HEALTH = 1


@dataclass(frozen=True)
class Kind:
    """A kind of thing that players face.

    Attributes:
        herd: the field of the world that it is a creature of; "" for a block.
        type: which of the herd's types.
    """

    name: str
    herd: str = ""
    type: int = 0


class Scene(NamedTuple):
    """The content of one world or of many.

    Attributes:
        items: of each of the domain's items, how much is in hand.
        stations: `ABSENT`, `OUT_OF_REACH` or `WITHIN_REACH` for each of the domain's stations.
        body: the levels of the body.
        kind: index into the kinds of the stage: what is ahead of the player.
    """

    items: Int[np.ndarray, "*W items"]
    stations: Int[np.ndarray, "*W stations"]
    body: Int[np.ndarray, "*W levels"]
    kind: Int[np.ndarray, "*W"]


@dataclass(frozen=True)
class Stage:
    """Sets up scenes in one game's worlds.

    Attributes:
        floor: where `plain_worlds` are, in games with floors.
        kinds: what there is to stand before: bare ground, then every block, then every creature.
    """

    domain: Domain
    floor: int
    kinds: tuple[Kind, ...]

    @staticmethod
    def of(domain: Domain, floor: int = 0) -> "Stage":
        """Build the stage of a game."""
        world = jax.eval_shape(domain.reset_fn, jax.random.key(0))
        bare = staging.ground(world)
        blocks = [Kind(name) for name in domain.sight.names if name != bare]
        types = 8 if staging.is_full(world) else 1
        each_type = [(herd, k) for herd in staging.herds(world) for k in range(types)]
        creatures = [Kind(f"{herd}:{k}" if types > 1 else herd, herd, k) for herd, k in each_type]
        return Stage(domain, floor, (Kind(bare), *blocks, *creatures))

    @property
    def stations(self) -> tuple[str, ...]:
        """Names of the game's stations."""
        return tuple(name for name, _ in self.domain.symbols.stations)

    def station_of(self, kind: int) -> str:
        """The station that a kind of thing is. "" for none."""
        stations = self.domain.symbols.stations
        return next((name for name, blocks in stations if self.kinds[kind].name in blocks), "")

    def plain_worlds(self, key: jax.Array, count: int) -> World:
        """Make worlds in which the player stands alone."""
        keys = jax.random.split(key, count)
        return jax.jit(jax.vmap(lambda key: staging.plain(self.domain.reset_fn(key), self.floor)))(keys)

    def scene(
        self,
        items: Mapping[str, int],
        stations: Mapping[str, int],
        body: int | Mapping[str, int] = AS_IT_IS,
        kind: int = AS_IT_IS,
        others: int = 0,
    ) -> Scene:
        """Describe one scene.

        Args:
            others: the amount of the items that are not named.
        """
        levels = self.domain.symbols.intrinsics
        given = body if isinstance(body, Mapping) else dict.fromkeys(levels, body)
        return Scene(
            np.array([items.get(item, others) for item in self.domain.items], np.int32),
            np.array([stations.get(station, ABSENT) for station in self.stations], np.int32),
            np.array([given.get(level, AS_IT_IS) for level in levels], np.int32),
            np.array(kind, np.int32),
        )

    def set_up(self, bases: World, which: Int[np.ndarray, "W"], scenes: Scene) -> World:
        """Set the scenes up, each in one of the base worlds, [W].

        Things are put ahead of a player that looks up, as in `plain_worlds`.
        """
        return _set_up(self, bases, which, scenes)

    def renewed(self, world: World, cell: Int[Array, "2"], kind: Int[Array, ""]) -> World:
        """Put a block on a cell of the player's floor again. Creatures are not put again."""
        layers = [staging.layer(world, each.name) if not each.herd else "" for each in self.kinds]
        numbers = jnp.array([staging.block(world, each.name) if not each.herd else 0 for each in self.kinds])
        spot = (*staging.here(world), cell[0], cell[1])
        for field in sorted({layer for layer in layers if layer}):
            old = getattr(world, field)
            mine = jnp.array([layer == field for layer in layers])[kind] & (kind != AS_IT_IS)
            world = staging.replace(world, **{field: old.at[spot].set(jnp.where(mine, numbers[kind], old[spot]))})
        return world


def stack_scenes(scenes: Sequence[Scene]) -> Scene:
    """Stack scenes on a leading axis."""
    return Scene(*(np.stack(leaves) for leaves in zip(*scenes, strict=True)))


@functools.partial(jax.jit, static_argnums=0)
def _set_up(stage: Stage, bases: World, which: Array, scenes: Scene) -> World:
    def one(index: Array, scene: Scene) -> World:
        world = jax.tree.map(lambda leaf: leaf[index], bases)
        world = _face(stage, _equip(stage.domain, world, scene), jnp.asarray(scene.kind))
        for i, (_, blocks) in enumerate(stage.domain.symbols.stations):
            world = _put_station(stage, world, blocks, i, scene.stations[i])
        return world

    return jax.vmap(one)(which, scenes)


def _equip(domain: Domain, world: World, scene: Scene) -> World:
    """Set inventory and body and clear the achievements. Those stay that the inventory and the floors passed imply."""
    present = domain.amounts_fn(world.inventory)
    held = {}
    for i, item in enumerate(domain.items):
        old = getattr(world.inventory, item)
        amount = jnp.where(scene.items[i] == AS_IT_IS, present[i], scene.items[i])
        held[item] = (amount + jnp.arange(old.shape[-1])[::-1]) // old.shape[-1] if jnp.ndim(old) else amount
    levels = {}
    for i, name in enumerate(domain.symbols.intrinsics):
        old = getattr(world, f"player_{name}")
        levels[f"player_{name}"] = jnp.where(scene.body[i] == AS_IT_IS, old, scene.body[i])
    nothing = jnp.zeros_like(world.achievements)
    world = staging.replace(staging.hold(world, **held), achievements=nothing, **levels)
    return staging.lived_in(world) if staging.is_full(world) else world


def _put_station(stage: Stage, world: World, blocks: tuple[str, ...], number: int, level: Array) -> World:
    """Put a station within or out of reach, or take it away. One that is where it should be stays there."""
    field = staging.layer(world, blocks[0])
    cells = getattr(world, field)[staging.here(world)]
    ids = [staging.block(world, name) for name in blocks]
    nothing = staging.block(world, staging.ground(world) if field == "map" else "NONE")
    place = staging.position(world)
    there = functools.reduce(jnp.logical_or, [cells == each for each in ids])
    rows, columns = jnp.arange(cells.shape[0])[:, None] - place[0], jnp.arange(cells.shape[1])[None] - place[1]
    reach = (jnp.abs(rows) <= 1) & (jnp.abs(columns) <= 1)  # [R, C]
    is_near = (there & reach).any()
    cleared = jnp.where(there & (reach | (level == ABSENT)), nothing, cells)
    near = _free_corner(stage, world, place)
    afar = jnp.clip(place + _AFAR[number], 0, jnp.array(cells.shape) - 1)
    with_near = jnp.where(is_near, cells, cells.at[near[0], near[1]].set(ids[0]))
    with_afar = jnp.where((there & ~reach).any(), cleared, cleared.at[afar[0], afar[1]].set(ids[0]))
    after = jnp.stack([cleared, with_afar, with_near, cells])[jnp.where(level == AS_IT_IS, 3, level)]
    whole = getattr(world, field)
    return staging.replace(world, **{field: whole.at[staging.here(world)].set(after) if staging.here(world) else after})


def _free_corner(stage: Stage, world: World, place: Int[Array, "2"]) -> Int[Array, "2"]:
    """First diagonal cell without a station. The player never faces such a cell."""
    size = world.map.shape[-1]
    corners = jnp.clip(place + _CORNERS, 0, size - 1)
    taken = jnp.zeros(len(_CORNERS), bool)
    for _, blocks in stage.domain.symbols.stations:
        for name in blocks:
            cells = getattr(world, staging.layer(world, name))[staging.here(world)]
            taken |= cells[corners[:, 0], corners[:, 1]] == staging.block(world, name)
    return corners[jnp.argmin(taken)]


def _face(stage: Stage, world: World, kind: Array) -> World:
    ahead = staging.position(world) + jnp.array(AHEAD)
    size = world.map.shape[-1]
    world = stage.renewed(world, jnp.clip(ahead, 0, size - 1), kind)
    types = jnp.array([each.type for each in stage.kinds])[kind]
    fenced = staging.put(world, "STONE", *_PEN)
    for herd in staging.herds(world):
        # A fence keeps the creature where it is; a station that takes the place of a stone does so as well.
        put = staging.put_creature(fenced, herd, AHEAD, _HEALTH, types)
        mine = jnp.array([each.herd == herd for each in stage.kinds])[kind] & (kind != AS_IT_IS)
        world = jax.tree.map(functools.partial(jnp.where, mine), put, world)
    return world
