"""Worlds staged and played by hand, with everything that a step hands to skill code."""

import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.env.block_memory import closest_blocks, empty_memory, nearest_cells, remember
from flowrl.env.code_parser import bind_tasks, load_module
from flowrl.env.domain import Domain
from flowrl.env.flow_env import evaluate_skill
from flowrl.env.registry import domain_named
from flowrl.env.skill_inputs import SkillInputs, skill_inputs
from flowrl.env.staging import worlds as staging
from flowrl.knowledge.base import KnowledgeBase, load_base
from flowrl.skillcode.functions import SkillFunctions
from flowrl.skillcode.source import SkillSource, compose_module

CLASSIC, TINY, FULL = "Craftax-Classic-Symbolic-v1", "Tiny-Grid-v1", "Craftax-Symbolic-v1"
BASES = {name: load_base(name) for name in (CLASSIC, TINY)}
WORLDS = 8


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
    return staging.plain(jax.tree.map(lambda leaf: leaf[0], new_worlds(env)), floor)


def copies(world: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (WORLDS, *leaf.shape)), world)
