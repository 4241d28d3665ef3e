"""Collection of start states: where episodes from new worlds finish a task. The step of the worlds is a program of its
own that knows neither the tasks nor the policy: of all that is compiled here it is by far the costliest, and the same
for every skill of a game, so that the compilation cache has it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from flowrl.env.flow_env import FlowState
from flowrl.env.player import Moved, move
from flowrl.env.snapshots import Snapshots, join, pack, snapshots_of
from flowrl.files import pack_arrays
from flowrl.models.experts import Params
from flowrl.rollout.programs import PlayPrograms
from flowrl.rollout.rollout import Policy, sample_action

MAX_BYTES = 4 << 20
"""What the snapshots of one skill may take on disk."""
_LOOK_EVERY = 16


class StateCollector:
    """Plays a run's tasks from new worlds until some are done.

    Args:
        programs: of the run.
        tasks: how many of the tasks; all of them: states in which episodes end in success.
    """

    def __init__(self, programs: PlayPrograms, tasks: int):
        self.programs, self.tasks, self.env = programs, tasks, programs.runner.env
        self.is_whole = tasks == self.env.plan_tasks
        self._act = jax.jit(self._choose)
        self._move = jax.jit(functools.partial(move, self.env.domain))
        self._judge = jax.jit(self._settle)

    def states(self, params: Params, key: jax.Array, wanted: int, worlds: int) -> Snapshots | None:
        """Collect up to ``wanted`` states that fit in `MAX_BYTES`. None without any.

        Args:
            worlds: no more are played than these, rounded up to whole batches of those that training steps.
        """
        parts: list[Snapshots] = []
        for batch in range(-(-worlds // self.programs.runner.config.env.worlds)):
            parts += self._batch(params, jax.random.fold_in(key, batch))
            if sum(part.size for part in parts) >= wanted:
                break
        return self._fitting(join(parts).rows(slice(wanted))) if parts else None

    def _batch(self, params: Params, key: jax.Array) -> list[Snapshots]:
        worlds_key, amounts_key, play_key = jax.random.split(key, 3)
        players = self.programs.players(worlds_key)
        worlds = players.memory.shape[0]
        settled = there = jnp.zeros(worlds, dtype=bool)
        state = self.env.start(players, self.env.draw_amounts(amounts_key, worlds))
        params, state, settled, there = jax.device_put((params, state, settled, there), jax.local_devices()[0])
        for step in range(self.env.episode_steps):
            self.programs.frames_played += worlds
            act_key, step_key = jax.random.split(jax.random.fold_in(play_key, step))
            action, n = self._act(params, state, act_key)
            moved = self._move(step_key, state.player, state.achieved, action, n)
            state, settled, there = self._judge(state, moved, settled, there)
            if step % _LOOK_EVERY == 0 and bool(settled.all()):
                break
        reached = np.asarray(there)
        return [snapshots_of(state.player).rows(reached)] if reached.any() else []

    def _choose(self, params: Params, state: FlowState, key: jax.Array) -> tuple[Int[Array, "B"], Int[Array, "B"]]:
        """Sample actions; with the amount wanted of each current task."""
        runner = self.programs.runner
        policy = Policy(runner.network(runner.experts), params)
        logits, _ = policy(self.env, self.env.observe(state), self.env.expert(state))
        action = self.env.game_actions(state, sample_action(key, logits))
        return action, jnp.take_along_axis(state.amounts, state.task[:, None], axis=1)[:, 0]

    def _settle(
        self, state: FlowState, moved: Moved, settled: Bool[Array, "B"], there: Bool[Array, "B"]
    ) -> tuple[FlowState, Bool[Array, "B"], Bool[Array, "B"]]:
        """Judge a step. Episodes that have ended or arrived stay as they are for good."""
        after, result = self.env.judge(state, moved)
        arrived = result.success if self.is_whole else (after.task >= self.tasks) & ~result.ended

        def pick(old: Array, new: Array) -> Array:
            return jnp.where(settled.reshape((-1,) + (1,) * (old.ndim - 1)), old, new)

        merged: FlowState = jax.tree.map(pick, state, after)
        return merged, settled | arrived | result.ended, there | (arrived & ~settled)

    def _fitting(self, found: Snapshots) -> Snapshots:
        while found.size > 1 and (size := len(pack_arrays(pack(self.env.domain, found)))) > MAX_BYTES:
            found = found.rows(slice(max(1, min(found.size - 1, found.size * MAX_BYTES // size))))
        return found
