"""Record successful segments of a skill's plan."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from flowrl.analysis.scripted_play import Bases
from flowrl.analysis.segments import Frame, Segment, Trajectory
from flowrl.env.block_memory import UNKNOWN, closest_blocks
from flowrl.env.flow_env import FlowEnv, FlowState, StepResult
from flowrl.env.player import PlayerState
from flowrl.env.symbolic_state import fluents_of
from flowrl.rollout.rollout import Policy, sample_action

WORLDS = 64
_NEAR, _SHOWN = 3, 4


class Moment(NamedTuple):
    """One remembered step of the batch.

    Attributes:
        task: [B] the task that the step was made in.
        action: [B].
        fluents: [B, F] before the step.
        nearest: [B, types, 2] columns and rows to the nearest known thing of each type, before the step.
    """

    task: Int[np.ndarray, "B"]
    action: Int[np.ndarray, "B"]
    fluents: Int[np.ndarray, "B F"]
    nearest: Int[np.ndarray, "B types 2"]


class Recorded(NamedTuple):
    """Segments and what is known of each.

    Attributes:
        bases: the world just before the last step of each; None where there is no segment.
    """

    segments: list[Segment]
    bases: Bases | None
    trajectories: list[Trajectory]
    frames: int


class SegmentRecorder:
    """Plays episodes and keeps the last task's part of those that succeed.

    Args:
        amounts: the amounts of the last task, played in turn.
    """

    def __init__(self, env: FlowEnv, policy: Policy, amounts: Sequence[int]):
        self.env, self.policy, self.amounts = env, policy, tuple(amounts)
        names = jax.eval_shape(lambda key: fluents_of(env.domain, env.domain.reset_fn(key)), jax.random.key(0))
        self.fluents = tuple(sorted(names))
        self._start = jax.jit(lambda key, amounts: env.start(env.new_players(jax.random.split(key, WORLDS)), amounts))
        self._step = jax.jit(self._play_step)
        self._look = jax.jit(jax.vmap(self._seen))

    def record(self, key: jax.Array, wanted: int, max_frames: int, on_row: Callable[[int, int], None]) -> Recorded:
        """Successful segments from new worlds. Every episode is played to its end.

        Args:
            wanted: no more worlds are begun after this many segments.
            on_row: called with (segments, frames) now and then.
        """
        batches: list[Recorded] = []
        segments, frames = 0, 0
        while segments < wanted and frames < max_frames:
            tell = functools.partial(_tell, on_row, segments, frames)
            batches.append(self._record_batch(jax.random.fold_in(key, len(batches)), tell))
            segments += len(batches[-1].segments)
            frames += batches[-1].frames
            on_row(segments, frames)
        bases = [batch.bases for batch in batches if batch.bases is not None]
        return Recorded(
            [segment for batch in batches for segment in batch.segments],
            jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *bases) if bases else None,
            [trajectory for batch in batches for trajectory in batch.trajectories],
            frames,
        )

    def _record_batch(self, key: jax.Array, on_steps: Callable[[int], None]) -> Recorded:
        worlds_key, play_key = jax.random.split(key)
        state = self._start(worlds_key, jnp.asarray(self._wanted()))
        history: list[Moment] = []
        ended, frames = np.zeros(WORLDS, bool), 0
        found: list[tuple[int, int, dict[str, int]]] = []
        before: list[Any] = []
        for step in range(self.env.episode_steps):
            after, action, result = self._step(self.policy.params, state, jax.random.fold_in(play_key, step))
            fluents, nearest = (np.asarray(leaf) for leaf in self._look(state.player))
            history.append(Moment(np.asarray(state.task), np.asarray(action), fluents, nearest))
            frames += int((~ended).sum())
            won = np.flatnonzero(np.asarray(result.success) & ~ended)
            if len(won):
                ends = np.asarray(self._look(after.player)[0])
                found += [(int(world), step, self._named(ends[world])) for world in won]
                before.append(jax.tree.map(lambda leaf, won=won: leaf[won], (state.player, state.achieved)))
            ended |= np.asarray(result.ended)
            if step % 32 == 0:
                on_steps(frames)
            if ended.all():
                break
            state = after
        segments = [self._segment(history, *each) for each in found]
        trajectories = [self._trajectory(history, *each) for each in found]
        return Recorded(segments, _bases_of(before), trajectories, frames)

    def _wanted(self) -> Int[np.ndarray, "B N"]:
        rows = np.tile(np.array(self.env.amounts.high, np.int32), (WORLDS, 1))
        rows[:, -1] = np.resize(self.amounts, WORLDS)
        return rows

    def _play_step(self, params: Any, state: FlowState, key: jax.Array) -> tuple[FlowState, Array, StepResult]:
        act_key, step_key = jax.random.split(key)
        policy = Policy(self.policy.network, params)
        logits, _ = policy(self.env, self.env.observe(state), self.env.expert(state))
        action = self.env.game_actions(state, sample_action(act_key, logits))
        after, result = self.env.step(step_key, state, action)
        return after, action, result

    def _seen(self, player: PlayerState) -> tuple[Int[Array, "F"], Int[Array, "types 2"]]:
        found = fluents_of(self.env.domain, player.world)
        nearest = closest_blocks(self.env.domain, player.memory, player.world)[:, :, 0]
        return jnp.stack([found[fluent] for fluent in self.fluents]), nearest

    def _named(self, amounts: np.ndarray) -> dict[str, int]:
        return {fluent: int(amount) for fluent, amount in zip(self.fluents, amounts, strict=True) if amount}

    def _begin(self, history: Sequence[Moment], world: int) -> int:
        last = self.env.plan_tasks - 1
        return next(step for step, moment in enumerate(history) if moment.task[world] == last)

    def _segment(self, history: Sequence[Moment], world: int, step: int, end: dict[str, int]) -> Segment:
        begin = self._begin(history, world)
        return Segment(
            n=int(self._wanted()[world, -1]),
            steps=step - begin + 1,
            action=self.env.domain.actions[history[step].action[world]],
            start=self._named(history[begin].fluents[world]),
            before=self._named(history[step].fluents[world]),
            end=end,
        )

    def _trajectory(self, history: Sequence[Moment], world: int, step: int, end: dict[str, int]) -> Trajectory:
        begin = self._begin(history, world)
        states = [self._named(moment.fluents[world]) for moment in history[begin : step + 1]]
        moments = history[begin : step + 1]
        underfoot = {int(i) for moment in moments for i in np.flatnonzero((moment.nearest[world] == 0).all(axis=1))}
        frames = [
            Frame(
                action=self.env.domain.actions[moment.action[world]],
                changed=_changes(now, following),
                near=self._near(moment.nearest[world], underfoot),
            )
            for moment, now, following in zip(moments, states, [*states[1:], end], strict=True)
        ]
        return Trajectory(title="", n=int(self._wanted()[world, -1]), start=states[0], frames=tuple(frames))

    def _near(self, nearest: Int[np.ndarray, "types 2"], underfoot: set[int]) -> tuple[tuple[str, int, int], ...]:
        """The nearest things within three steps. Without what the player walks on."""
        steps = np.abs(nearest).sum(axis=1)
        known = (nearest != UNKNOWN).any(axis=1) & (steps <= _NEAR)
        types = sorted((i for i in np.flatnonzero(known) if i not in underfoot), key=lambda i: (steps[i], i))
        names = self.env.domain.sight.names
        return tuple((names[i], int(nearest[i, 0]), int(nearest[i, 1])) for i in types[:_SHOWN])


def _tell(on_row: Callable[[int, int], None], segments: int, frames: int, steps: int) -> None:
    on_row(segments, frames + steps)


def _changes(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    by = {fluent: after.get(fluent, 0) - before.get(fluent, 0) for fluent in sorted({*before, *after})}
    return {fluent: change for fluent, change in by.items() if change}


def _bases_of(parts: Sequence[tuple[PlayerState, Any]]) -> Bases | None:
    if not parts:
        return None
    joined: Any = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    player, achieved = joined
    return Bases(player.world, player.memory, achieved)


def shown(trajectories: Sequence[Trajectory]) -> tuple[Trajectory, ...]:
    """The shortest and a typical trajectory with titles."""
    if not trajectories:
        return ()
    ranked = sorted(trajectories, key=lambda each: len(each.frames))
    chosen = [("the shortest segment", ranked[0]), ("a typical segment", ranked[len(ranked) // 2])]
    return tuple(each.model_copy(update={"title": title}) for title, each in chosen)
