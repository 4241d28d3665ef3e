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
from craftax.craftax_classic.constants import Action, BlockType

from flowrl.env import classic, tiny
from flowrl.env.code_parser import SkillFunctions, bind_tasks, load_module
from flowrl.env.domain import Domain
from flowrl.env.flow_env import evaluate_skill
from flowrl.env.memory import closest_blocks, empty_memory, nearest_cells, remember
from flowrl.env.module_source import SkillSource, compose_module
from flowrl.env.skill_inputs import SkillInputs, skill_inputs
from flowrl.knowledge import KnowledgeBase, load_base

CLASSIC, TINY = "Craftax-Classic-Symbolic-v1", "Tiny-Grid-v1"
BASES = {name: load_base(name) for name in (CLASSIC, TINY)}
WORLDS = 8
CENTRE = 32


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
    """A compiled domain, its knowledge base, and the functions of its skills."""

    domain: Domain
    base: KnowledgeBase
    functions: dict[str, SkillFunctions]
    advance: Callable[..., Any]
    look: Callable[[Any], Any]
    evaluate: Callable[..., Any]
    actions: dict[str, int]

    def play(self, name: str, worlds: Any, actions: Sequence[Any], n: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Returns (done, reward) of a skill, each [steps, WORLDS], for actions played from ``worlds``."""
        moment = Moment(self, worlds)
        return self.judge(name, [moment.step(action) for action in actions], n)

    def judge(self, name: str, inputs: Sequence[SkillInputs], n: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (done, reward) of a skill for recorded steps."""
        wanted = jnp.full(WORLDS, n)
        outcomes = [self.evaluate(self.functions[name], each._replace(n=wanted)) for each in inputs]
        return np.stack([np.asarray(done) for done, _ in outcomes]), np.stack([np.asarray(r) for _, r in outcomes])


def strong(world: Any) -> Any:
    """Returns the world with types that no constant can change, so that one compilation serves all worlds."""
    return jax.tree.map(
        lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.astype(leaf, leaf.dtype), world
    )


def compile_game(domain: Domain, folder: Path) -> Game:
    base = BASES[domain.name]
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
    functions = {skill.name: load_skills(base, [skill.name], folder)[0] for skill in base.skills}
    return Game(domain, base, functions, jax.jit(jax.vmap(advance)), jax.jit(jax.vmap(look)), evaluate, actions)


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
    with tempfile.TemporaryDirectory() as folder:
        return compile_game({CLASSIC: classic, TINY: tiny}[env].domain(), Path(folder))


@functools.cache
def new_worlds(env: str) -> Any:
    """Returns `WORLDS` worlds as the game makes them."""
    keys = jax.random.split(jax.random.key(5), WORLDS)
    return jax.jit(jax.vmap(game_of(env).domain.reset_fn))(keys)


@functools.cache
def plain(env: str) -> Any:
    """Returns one world where the player stands alone in the middle, looking up, on ground where nothing appears."""
    world = jax.tree.map(lambda leaf: leaf[0], new_worlds(env))
    if env == TINY:
        return replace(world, map=jnp.full_like(world.map, tiny.Block.GRASS), position=jnp.array([4, 4]), direction=3)
    herds = {kind: getattr(world, kind) for kind in ("zombies", "cows", "skeletons", "arrows")}
    return replace(
        world,
        map=jnp.full_like(world.map, BlockType.SAND.value),
        mob_map=jnp.zeros_like(world.mob_map),
        player_position=jnp.array([CENTRE, CENTRE]),
        player_direction=Action.UP.value,
        **{kind: mobs.replace(mask=jnp.zeros_like(mobs.mask)) for kind, mobs in herds.items()},
    )


def replace(world: Any, **parts: Any) -> Any:
    """Returns the world with parts replaced, whatever the game; arrays keep their types."""

    def cast(new: Any, old: Any) -> Any:
        return jnp.asarray(new, old.dtype)

    return dataclasses.replace(
        world, **{name: jax.tree.map(cast, part, getattr(world, name)) for name, part in parts.items()}
    )


def block(world: Any, name: str) -> int:
    return tiny.Block[name] if isinstance(world, tiny.TinyState) else BlockType[name].value


def put(world: Any, name: str, *offsets: tuple[int, int]) -> Any:
    """Returns the world with blocks at (rows, columns) from the middle."""
    middle = world.map.shape[0] // 2
    spots = jnp.array(offsets).T + middle
    return replace(world, map=world.map.at[tuple(spots)].set(block(world, name)))


def hold(world: Any, **amounts: int) -> Any:
    return replace(world, inventory=dataclasses.replace(world.inventory, **amounts))


def copies(world: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (WORLDS, *leaf.shape)), world)
