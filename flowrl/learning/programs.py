"""The compiled programs of a run: three, each compiled once, the costly one shared by training and measuring."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from flowrl.env.flow_env import FlowState, Player, StepResult
from flowrl.learning.groups import SAME, STEPS, WORLDS, groups_of, join, split
from flowrl.learning.rollout import Rollout
from flowrl.learning.starts import Starts
from flowrl.learning.trainer import Learner, Trainer, TrainState, UpdateStats
from flowrl.models.experts import Params

_ROLLOUT: Any = Rollout._make(WORLDS if name == "last_value" else STEPS for name in Rollout._fields)
_STATE: Any = TrainState._make(WORLDS if name == "flow" else SAME for name in TrainState._fields)


class Programs:
    """A trainer's functions, compiled on first use and spread over the local devices.

    What they are given is put on the devices first: jax tells arrays that are bound to a device from others, a program
    that holds an exported skill gives only bound ones, and whatever is given both kinds is compiled twice.

    Args:
        devices: local ones to choose from; all if left out.

    Attributes:
        trainer: whose functions these are.
        groups: the worlds' groups, and the devices that they are on.
    """

    def __init__(self, trainer: Trainer, devices: Sequence[Any] | None = None):
        self.trainer = trainer
        self.groups = groups = groups_of(trainer.config.groups, devices)
        self._starts: Starts | None = None
        self._no_starts: Starts | None = None

        def play(params: Params, flow: FlowState, key: jax.Array, fresh: Player, update: Any, starts: Any) -> Any:
            return trainer.play_groups(groups, params, flow, key, fresh, update, starts)

        def learn(learner: Learner, rollout: Rollout, results: StepResult) -> Any:
            return trainer.learn(groups, learner, rollout, results)

        self._new_worlds = jax.jit(groups.spread(trainer.env.new_players, WORLDS, WORLDS))
        self._play = jax.jit(
            groups.spread(play, (SAME, WORLDS, SAME, WORLDS, SAME, SAME), (WORLDS, _ROLLOUT, STEPS)),
            donate_argnums=1,
        )
        self._learn = jax.jit(groups.spread(learn, (SAME, _ROLLOUT, STEPS), SAME), donate_argnums=0)
        self._init = jax.jit(trainer.init)
        # No program but `learn` makes one device wait for another. Two programs that do, under way at once, can each
        # hold one of two threads for ever: this is why arrays are put together and moved as they are below.
        self._together = jax.jit(groups.spread(self._first_worlds, WORLDS, WORLDS))

    def start_from(self, starts: Starts) -> None:
        """Lets training begin a share of its episodes at kept states; what is measured begins in new worlds still."""
        self._starts = self.groups.place(starts, SAME)
        self._no_starts = self.groups.place(starts.at_share(0.0), SAME)

    def players(self, key: jax.Array) -> Player:
        """Returns as many new worlds as the trainer steps side by side."""
        calls = -(-self.trainer.config.env.worlds // self.trainer.config.env.fresh_worlds)
        players: Player = self._together([self.fresh(k) for k in jax.random.split(key, calls)])
        return players

    def _first_worlds(self, parts: list[Player]) -> Player:
        """Returns as many worlds of each group as it steps, its share of every part put together."""
        each = self.trainer.config.env.worlds // self.groups.count
        shares = [split(part, self.groups.here) for part in parts]
        return join(jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1)[:, :each], *shares))

    def fresh(self, key: jax.Array) -> Player:
        """Returns new worlds for the episodes that end in one rollout."""
        keys = jax.random.split(key, self.trainer.config.env.fresh_worlds)
        worlds: Player = self._new_worlds(self.groups.place(keys, WORLDS))
        return worlds

    def init(self, key: jax.Array, initial: dict[str, Any]) -> TrainState:
        """Returns the state before the first update."""
        worlds_key, rest_key = jax.random.split(key)
        players = jax.device_put(self.players(worlds_key), self.groups.devices[0])
        state: TrainState = self._init(rest_key, initial, players)
        return self._placed(state)

    def _placed(self, state: TrainState) -> TrainState:
        return TrainState(*(self.groups.place(part, where) for part, where in zip(state, _STATE, strict=True)))

    def play(
        self, params: Params, flow: FlowState, key: jax.Array, fresh: Player, update: int
    ) -> tuple[FlowState, Rollout, StepResult]:
        """Returns what one rollout made of the episodes, which begin in new worlds; ``flow`` is used up."""
        return self._rollout(params, flow, key, fresh, update, self._no_starts)

    def _rollout(
        self, params: Params, flow: FlowState, key: jax.Array, fresh: Player, update: int, starts: Starts | None
    ) -> tuple[FlowState, Rollout, StepResult]:
        params, key = self.groups.place((params, key), SAME)
        flow, fresh = self.groups.place((flow, fresh), WORLDS)
        played: tuple[FlowState, Rollout, StepResult] = self._play(params, flow, key, fresh, jnp.int32(update), starts)
        return played

    def update(self, state: TrainState) -> tuple[TrainState, UpdateStats]:
        """Returns the state after one rollout and its PPO epochs; ``state`` is used up, but for its best parameters."""
        state = self._placed(state)
        key, worlds_key, play_key = jax.random.split(state.key, 3)
        fresh = self.fresh(worlds_key)
        number = int(state.update) + 1
        flow, rollout, results = self._rollout(state.params, state.flow, play_key, fresh, number, self._starts)
        learner = Learner(state.params, state.optimiser, self.groups.place(key, SAME), state.update)
        learner, learnt = self._learn(learner, rollout, results)
        after = TrainState(learner.params, learner.optimiser, flow, learner.key, learner.update, state.best)
        return after, UpdateStats(results, learnt)
