"""The compiled programs that play, shared by training and measuring."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from flowrl.env.flow_env import FlowState, StepResult
from flowrl.env.player import PlayerState
from flowrl.models.experts import Params
from flowrl.rollout.devices import SAME, STEPS, WORLDS, groups_of, join, split
from flowrl.rollout.policy_runner import PolicyRunner
from flowrl.rollout.rollout import Rollout
from flowrl.rollout.start_ring import Practice
from flowrl.rollout.start_states import Starts

ROLLOUT: Any = Rollout._make(WORLDS if name == "last_value" else STEPS for name in Rollout._fields)
"""How a rollout is spread over devices."""
PRACTICE: Any = Practice._make((WORLDS, SAME, SAME))


class PlayPrograms:
    """A runner's functions, compiled on first use and spread over devices.

    Arguments are put on the devices first: jax tells arrays that are bound to a device from others, a program that
    holds an exported skill gives only bound ones, and a program given both kinds is compiled twice.

    Args:
        devices: local ones to choose from; all if left out.

    Attributes:
        runner: whose functions these are.
        groups: the worlds' groups, and the devices that they are on.
        frames_played: for anything but learning.
    """

    def __init__(self, runner: PolicyRunner, devices: Sequence[Any] | None = None):
        self.runner, self.frames_played = runner, 0
        self.groups = groups = groups_of(runner.config.groups, devices)
        self._starts: Starts | Practice | None = None
        self._no_starts: Starts | Practice | None = None

        def play(params: Params, flow: FlowState, key: jax.Array, fresh: PlayerState, update: Any, starts: Any) -> Any:
            return runner.play_groups(groups, params, flow, key, fresh, update, starts)

        self._new_worlds = jax.jit(groups.spread(runner.env.new_players, WORLDS, WORLDS))
        # A program is compiled when it is first called, so that a run has one of the two.
        self._play, self._play_practising = (
            jax.jit(
                groups.spread(play, (SAME, WORLDS, SAME, WORLDS, SAME, starts), (WORLDS, ROLLOUT, STEPS)),
                donate_argnums=1,
            )
            for starts in (SAME, PRACTICE)
        )
        # No program but learning makes one device wait for another. Two programs that do, under way at once, can each
        # hold one of two threads for ever: this is why arrays are put together and moved as they are below.
        self._together = jax.jit(groups.spread(self._first_worlds, WORLDS, WORLDS))

    def start_from(self, starts: Starts) -> None:
        """Let training, not measuring, begin a share of episodes at snapshots."""
        self._starts = self.groups.place(starts, SAME)
        self._no_starts = self.groups.place(starts.at_share(0.0), SAME)

    def practise(self, practice: Practice) -> None:
        """Let training, not measuring, begin a share of episodes at the states of a ring."""

        def placed(practice: Practice) -> Practice:
            return Practice._make(map(self.groups.place, practice, PRACTICE))

        self._starts, self._no_starts = placed(practice), placed(practice.at_share(0.0))

    def players(self, key: jax.Array) -> PlayerState:
        """As many new worlds as the runner steps side by side."""
        calls = -(-self.runner.config.env.worlds // self.runner.config.env.fresh_worlds)
        players: PlayerState = self._together([self.fresh(k) for k in jax.random.split(key, calls)])
        return players

    def _first_worlds(self, parts: list[PlayerState]) -> PlayerState:
        """Concatenate each group's share of every part, up to its worlds."""
        each = self.runner.config.env.worlds // self.groups.count
        shares = [split(part, self.groups.here) for part in parts]
        return join(jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1)[:, :each], *shares))

    def fresh(self, key: jax.Array) -> PlayerState:
        """New worlds for the episodes that end in one rollout."""
        keys = jax.random.split(key, self.runner.config.env.fresh_worlds)
        worlds: PlayerState = self._new_worlds(self.groups.place(keys, WORLDS))
        return worlds

    def play(
        self, params: Params, flow: FlowState, key: jax.Array, fresh: PlayerState, update: int
    ) -> tuple[FlowState, Rollout, StepResult]:
        """Play one rollout from new worlds; ``flow`` is used up."""
        self.frames_played += self.runner.frames_per_update
        return self._rollout(params, flow, key, fresh, update, self._no_starts)

    def _rollout(
        self, params: Params, flow: FlowState, key: jax.Array, fresh: PlayerState, update: int, starts: Any
    ) -> tuple[FlowState, Rollout, StepResult]:
        params, key = self.groups.place((params, key), SAME)
        flow, fresh = self.groups.place((flow, fresh), WORLDS)
        play = self._play_practising if isinstance(starts, Practice) else self._play
        played: tuple[FlowState, Rollout, StepResult] = play(params, flow, key, fresh, jnp.int32(update), starts)
        return played
