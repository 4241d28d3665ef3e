"""Worlds staged and played by hand, with everything that a step hands to skill code."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from craftax.craftax import game_logic
from craftax.craftax.constants import LEVEL_ACHIEVEMENT_MAP, ItemType
from craftax.craftax.constants import BlockType as FullBlock
from craftax.craftax_classic.constants import Action, BlockType

from flowrl.env import tiny
from flowrl.env.code_parser import SkillFunctions, bind_tasks, load_module
from flowrl.env.domain import Domain
from flowrl.env.domains import domain_named
from flowrl.env.flow_env import evaluate_skill
from flowrl.env.memory import closest_blocks, empty_memory, nearest_cells, remember
from flowrl.env.module_source import SkillSource, compose_module
from flowrl.env.skill_inputs import SkillInputs, skill_inputs
from flowrl.knowledge import KnowledgeBase, load_base

CLASSIC, TINY, FULL = "Craftax-Classic-Symbolic-v1", "Tiny-Grid-v1", "Craftax-Symbolic-v1"
BASES = {name: load_base(name) for name in (CLASSIC, TINY)}
WORLDS = 8
HERDS = {
    CLASSIC: ("zombies", "cows", "skeletons", "arrows"),
    FULL: ("melee_mobs", "passive_mobs", "ranged_mobs", "mob_projectiles", "player_projectiles"),
}


class Moment:
    """Everything that one step hands to skill code, in `WORLDS` worlds at once."""

    def __init__(self, game: "Game", worlds: Any):
        self.game, self.worlds = game, strong(worlds)
        self.memory = game.look(self.worlds)
        self.achieved = jnp.zeros((WORLDS, len(game.domain.achievements)), dtype=bool)
        self.steps = 0

    def step(self, actions: Any) -> SkillInputs:
        """Returns the inputs of the step, n being 1."""
        self.steps += 1
        keys = jax.random.split(jax.random.key(self.steps), WORLDS)
        acts = jnp.broadcast_to(jnp.asarray(actions), WORLDS)
        self.worlds, self.memory, self.achieved, inputs = self.game.advance(
            keys, self.worlds, self.memory, self.achieved, acts
        )
        return inputs


@dataclass(frozen=True)
class Game:
    """A compiled domain, with the functions of its knowledge base's skills."""

    domain: Domain
    advance: Callable[..., Any]
    look: Callable[[Any], Any]
    evaluate: Callable[..., Any]
    actions: dict[str, int]

    @property
    def base(self) -> KnowledgeBase:
        return load_base(self.domain.name)

    def play(self, name: str, worlds: Any, actions: Sequence[Any], n: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Returns (done, reward) of a skill, each [steps, WORLDS], for actions played from ``worlds``."""
        moment = Moment(self, worlds)
        return self.judge(name, [moment.step(action) for action in actions], n)

    def judge(self, name: str, inputs: Sequence[SkillInputs], n: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (done, reward) of a skill for recorded steps."""
        wanted = jnp.full(WORLDS, n)
        outcomes = [self.evaluate(functions_of(self.domain.name, name), each._replace(n=wanted)) for each in inputs]
        return np.stack([np.asarray(done) for done, _ in outcomes]), np.stack([np.asarray(r) for _, r in outcomes])


def strong(world: Any) -> Any:
    """Returns the world with types that no constant can change, so that one compilation serves all worlds."""
    return jax.tree.map(
        lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.astype(leaf, leaf.dtype), world
    )


def compile_game(domain: Domain) -> Game:
    table = nearest_cells(domain.view)

    def look(world: Any) -> Any:
        return remember(domain, table, empty_memory(domain), world, domain.observe_fn(world).cells)

    def advance(key: Any, world: Any, memory: Any, achieved: Any, action: Any) -> Any:
        transition = domain.step_fn(key, world, action)
        after = remember(domain, table, memory, transition.world, domain.observe_fn(transition.world).cells)
        achieved = achieved | transition.events
        known = closest_blocks(domain, memory, world), closest_blocks(domain, after, transition.world)
        vitals = domain.vitals_fn(world), domain.vitals_fn(transition.world)
        inputs = skill_inputs(*vitals, *known, achieved, transition.events, transition.reward, jnp.int32(1))
        return strong(transition.world), after, achieved, inputs

    evaluate = jax.jit(evaluate_skill, static_argnums=0)
    actions = {action: i for i, action in enumerate(domain.actions)}
    return Game(domain, jax.jit(jax.vmap(advance)), jax.jit(jax.vmap(look)), evaluate, actions)


@functools.cache
def functions_of(env: str, name: str) -> SkillFunctions:
    """Returns the functions of a skill of the game's knowledge base."""
    with tempfile.TemporaryDirectory() as folder:
        return load_skills(load_base(env), [name], Path(folder))[0]


def load_skills(base: KnowledgeBase, names: Sequence[str], folder: Path) -> tuple[SkillFunctions, ...]:
    """Returns the functions of a task module composed of the skills, one task each."""
    distinct = list(dict.fromkeys(names))
    sources = [SkillSource(f"skill_{i}", base.skill(name).code) for i, name in enumerate(distinct)]
    which = [distinct.index(name) for name in names]
    path = folder / "tasks.py"
    path.write_text(compose_module(sources, which, which), encoding="utf-8")
    tasks = bind_tasks(load_module(path))
    assert tasks.skill_of_task == tuple(which)
    return tasks.skills


@functools.cache
def game_of(env: str) -> Game:
    """Returns a game, compiled once a test session."""
    return compile_game(domain_named(env))


@functools.cache
def new_worlds(env: str) -> Any:
    """Returns `WORLDS` worlds as the game makes them."""
    keys = jax.random.split(jax.random.key(5), WORLDS)
    return jax.jit(jax.vmap(game_of(env).domain.reset_fn))(keys)


@functools.cache
def plain(env: str, floor: int = 0) -> Any:
    """Returns one world where the player stands alone in the middle, looking up, on ground where nothing appears.

    All floors of the full game are so, lit and without ladders.
    """
    world = jax.tree.map(lambda leaf: leaf[0], new_worlds(env))
    middle = jnp.full(2, world.map.shape[-1] // 2)
    if env == TINY:
        return replace(world, map=jnp.full_like(world.map, tiny.Block.GRASS), position=middle, direction=3)
    if env == FULL:
        lit = {"item_map": jnp.full_like(world.item_map, ItemType.NONE.value), "player_level": floor}
        world = replace(world, light_map=jnp.ones_like(world.light_map), **lit)
    herds = {herd: getattr(world, herd) for herd in HERDS[env]}
    return replace(
        world,
        map=jnp.full_like(world.map, block(world, "SAND")),
        mob_map=jnp.zeros_like(world.mob_map),
        player_position=middle,
        player_direction=Action.UP.value,
        **{herd: mobs.replace(mask=jnp.zeros_like(mobs.mask)) for herd, mobs in herds.items()},
    )


def replace(world: Any, **parts: Any) -> Any:
    """Returns the world with parts replaced, whatever the game; arrays keep their types."""

    def cast(new: Any, old: Any) -> Any:
        return jnp.asarray(new, old.dtype)

    return dataclasses.replace(
        world, **{name: jax.tree.map(cast, part, getattr(world, name)) for name, part in parts.items()}
    )


def is_full(world: Any) -> bool:
    return hasattr(world, "player_level")


def here(world: Any) -> tuple[int, ...]:
    """Returns what comes before row and column in an index into the world's maps: the floor, if there are floors."""
    return (int(world.player_level),) if is_full(world) else ()


def block(world: Any, name: str) -> int:
    """Returns the number of a block; of the full game's ladders and torches, their number as an item."""
    if isinstance(world, tiny.TinyState):
        return tiny.Block[name]
    if is_full(world):
        return FullBlock[name].value if name in FullBlock.__members__ else ItemType[name].value
    return BlockType[name].value


def put(world: Any, name: str, *offsets: tuple[int, int]) -> Any:
    """Returns the world with blocks at (rows, columns) from the middle of the present floor.

    Ladders and torches of the full game go on top of what is there.
    """
    field = "item_map" if is_full(world) and name not in FullBlock.__members__ else "map"
    cells = getattr(world, field)
    middle = cells.shape[-1] // 2
    spots = (*here(world), *(jnp.array(offsets).T + middle))
    return replace(world, **{field: cells.at[spots].set(block(world, name))})


def put_creature(world: Any, herd: str, offset: tuple[int, int], health: int = 1, kind: int = 0) -> Any:
    """Returns the world with the herd's first creature at (rows, columns) from the middle of the present floor.

    Args:
        herd: a field of the world, see `HERDS`.
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


def hold(world: Any, **amounts: Any) -> Any:
    """Returns the world with amounts in hand; a number for armour or potions is spread over their kinds."""
    held = {item: _spread(amount, getattr(world.inventory, item)) for item, amount in amounts.items()}
    return replace(world, inventory=dataclasses.replace(world.inventory, **held))


def _spread(amount: Any, present: Any) -> Any:
    if np.shape(amount) == np.shape(present):
        return amount
    kinds = present.shape[-1]
    return (amount + jnp.arange(kinds)[::-1]) // kinds


def lived_in(world: Any) -> Any:
    """Returns the full game's world with the flags of how it came to be: of what is in hand and of the floors passed.

    Upstream sets them at any step for as long as they are so, whatever is done in it.
    """
    passed = world.achievements.at[LEVEL_ACHIEVEMENT_MAP[1 : int(world.player_level) + 1]].set(True)
    return game_logic.calculate_inventory_achievements(replace(world, achievements=passed))


def copies(world: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (WORLDS, *leaf.shape)), world)
