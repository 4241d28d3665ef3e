"""Scripted actions in staged worlds. One compiled program per game serves every skill."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from flowrl.env.block_memory import empty_memory
from flowrl.env.domain import World
from flowrl.env.flow_env import evaluate_skill
from flowrl.env.player import PlayerState, player_in, step_world
from flowrl.env.skill_inputs import SkillInputs
from flowrl.env.staging.scenes import AHEAD, Scene, Stage
from flowrl.env.staging.worlds import position
from flowrl.env.symbolic_state import fluents_of
from flowrl.skillcode.functions import ExportedSkill, SkillFunctions

AnySkill = SkillFunctions | ExportedSkill
BATCH = 128
"""Worlds stepped at once; more are played one batch after another."""
MAX_STEPS = 16
"""How often an action is repeated before it counts as leading nowhere."""


class Bases(NamedTuple):
    """K worlds that scenes are set up in.

    Attributes:
        worlds: [K].
        memory: [K, ...] what the players remember.
        achieved: [K, achievements] what has happened since the task began.
    """

    worlds: World
    memory: Any
    achieved: Any

    @property
    def size(self) -> int:
        """How many worlds there are."""
        return int(self.achieved.shape[0])


class Script(NamedTuple):
    """What W players do: each the same action over and over.

    Attributes:
        action: [W] index into the domain's actions.
        renewed: [W] the kind of block that is put ahead of where the player began before each step; -1: none.
    """

    action: Int[np.ndarray, "W"]
    renewed: Int[np.ndarray, "W"]


class ScriptedOutcome(NamedTuple):
    """When a skill was done in W worlds for A amounts.

    Attributes:
        step: [A, W] the first step after which it was done, counted from 1; 0 where it never was.
        start: [W, F] fluents before the first step.
        before: [A, W, F] fluents before that step; zeros where it never was done.
        end: [A, W, F] fluents after it.
    """

    step: Int[np.ndarray, "A W"]
    start: Int[np.ndarray, "W F"]
    before: Int[np.ndarray, "A W F"]
    end: Int[np.ndarray, "A W F"]

    @property
    def done(self) -> Bool[np.ndarray, "A W"]:
        """Where the skill was done at all."""
        return self.step > 0


class Stepper:
    """Plays scenes of one game."""

    def __init__(self, stage: Stage):
        self.stage = stage
        names = jax.eval_shape(lambda key: fluents_of(stage.domain, stage.domain.reset_fn(key)), jax.random.key(0))
        self.fluents = tuple(sorted(names))
        self._begin = jax.jit(jax.vmap(self._begin_one))
        self._step = jax.jit(jax.vmap(self._step_one))
        self._read = jax.jit(jax.vmap(self._fluents))

    def plain_bases(self, key: jax.Array, count: int) -> Bases:
        """Worlds with a lone player who remembers nothing."""
        memory = empty_memory(self.stage.domain)
        achieved = np.zeros((count, len(self.stage.domain.achievements)), bool)
        return Bases(self.stage.plain_worlds(key, count), np.broadcast_to(memory, (count, *memory.shape)), achieved)

    def play(
        self,
        functions: AnySkill,
        bases: Bases,
        which: Int[np.ndarray, "W"],
        scenes: Scene,
        script: Script,
        ns: Sequence[int],
        max_steps: int = MAX_STEPS,
    ) -> ScriptedOutcome:
        """When the skill is done in scenes set up in base worlds. Steps after the end of a game do not count.

        Args:
            which: the base world of each scene.
            ns: the amounts that are asked for, all at once.
        """
        parts = []
        for first in range(0, len(which), BATCH):
            rows = np.arange(first, min(first + BATCH, len(which)))
            padded = np.resize(rows, BATCH)
            now = Scene(*(leaf[padded] for leaf in scenes))
            doing = Script(script.action[padded], script.renewed[padded])
            played = self._play(functions, bases, which[padded], now, doing, ns, max_steps)
            parts.append(_first_rows(played, len(rows)))
        step, start, before, end = zip(*parts, strict=True)
        return ScriptedOutcome(
            *(np.concatenate(each, axis=1 if each is not start else 0) for each in (step, start, before, end))
        )

    def _play(
        self,
        functions: AnySkill,
        bases: Bases,
        which: Int[np.ndarray, "W"],
        scenes: Scene,
        script: Script,
        ns: Sequence[int],
        max_steps: int,
    ) -> ScriptedOutcome:
        worlds = self.stage.set_up(bases.worlds, which, scenes)
        player, cell = self._begin(worlds, jnp.asarray(bases.memory)[which])
        achieved = jnp.asarray(bases.achieved)[which]
        now = np.asarray(self._read(player.world))
        shape = (len(ns), *now.shape)
        played = ScriptedOutcome(
            np.zeros(shape[:2], np.int32), now, np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        )
        alive = np.ones(len(which), bool)
        for step in range(1, max_steps + 1):
            keys = jax.random.split(jax.random.key(step), len(which))
            player, inputs, over, achieved, after = self._step(
                keys, player, achieved, script.action, cell, script.renewed
            )
            before, now, alive = now, np.asarray(after), alive & ~np.asarray(over)
            for i, n in enumerate(ns):
                new = is_done(functions, inputs, n) & alive & ~played.done[i]
                played.step[i, new], played.before[i, new], played.end[i, new] = step, before[new], now[new]
            if (played.done.all(axis=0) | ~alive).all():
                break
        return played

    def _begin_one(self, world: World, memory: Any) -> tuple[PlayerState, Int[Array, "2"]]:
        return player_in(self.stage.domain, world, memory), position(world) + jnp.array(AHEAD)

    def _step_one(
        self, key: jax.Array, player: PlayerState, achieved: Array, action: Array, cell: Array, renewed: Array
    ) -> tuple[PlayerState, SkillInputs, Array, Array, Array]:
        player = player._replace(world=self.stage.renewed(player.world, cell, renewed))
        moved = step_world(self.stage.domain, key, player, achieved, action, jnp.int32(1))
        ended = moved.over | moved.expired
        return moved.player, moved.inputs, ended, moved.achieved, self._fluents(moved.player.world)

    def _fluents(self, world: World) -> Int[Array, "F"]:
        found = fluents_of(self.stage.domain, world)
        return jnp.stack([found[fluent] for fluent in self.fluents])


def _first_rows(played: ScriptedOutcome, count: int) -> ScriptedOutcome:
    return ScriptedOutcome(
        played.step[:, :count], played.start[:count], played.before[:, :count], played.end[:, :count]
    )


def is_done(functions: AnySkill, inputs: SkillInputs, n: int) -> Bool[np.ndarray, "W"]:
    """Where a skill is done with ``n``."""
    wanted = inputs._replace(n=jnp.full_like(inputs.n, n))
    done, _ = _evaluate(functions, wanted)
    return np.asarray(done)


_evaluate = jax.jit(evaluate_skill, static_argnums=0)
