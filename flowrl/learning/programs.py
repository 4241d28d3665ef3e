"""The compiled programs of a run: three, each compiled once, the costly one shared by training and measuring."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from flowrl.env.flow_env import FlowState, Player, StepResult
from flowrl.learning.rollout import Rollout
from flowrl.learning.starts import Starts
from flowrl.learning.trainer import Learner, Trainer, TrainState, UpdateStats
from flowrl.models.experts import Params

Tree = TypeVar("Tree")


class Programs:
    """A trainer's functions, compiled on first use.

    What they are given is put on the device first: jax tells arrays that are bound to a device from others, a program
    that holds an exported skill gives only bound ones, and whatever is given both kinds is compiled twice.

    Attributes:
        trainer: whose functions these are.
    """

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self._new_worlds = jax.jit(trainer.new_worlds)
        self._play = jax.jit(trainer.play, donate_argnums=1)
        self._learn = jax.jit(trainer.learn, donate_argnums=0)
        self._init = jax.jit(trainer.init)
        self._device = jax.local_devices()[0]
        self._starts: Starts | None = None
        self._no_starts: Starts | None = None

    def start_from(self, starts: Starts) -> None:
        """Lets training begin a share of its episodes at kept states; what is measured begins in new worlds still."""
        self._starts = self._bound(starts)
        self._no_starts = self._bound(starts.at_share(0.0))

    def _bound(self, tree: Tree) -> Tree:
        bound: Tree = jax.device_put(tree, self._device)
        return bound

    def players(self, key: jax.Array) -> Player:
        """Returns as many new worlds as the trainer steps side by side."""
        worlds = self.trainer.config.env.worlds
        calls = -(-worlds // self.trainer.config.env.fresh_worlds)
        parts = [self.fresh(k) for k in jax.random.split(key, calls)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:worlds], *parts)

    def fresh(self, key: jax.Array) -> Player:
        """Returns new worlds for the episodes that end in one rollout."""
        worlds: Player = self._new_worlds(self._bound(key))
        return worlds

    def init(self, key: jax.Array, initial: dict[str, Any]) -> TrainState:
        """Returns the state before the first update."""
        worlds_key, rest_key = jax.random.split(key)
        state: TrainState = self._init(rest_key, initial, self.players(worlds_key))
        return self._bound(state)

    def play(
        self, params: Params, flow: FlowState, key: jax.Array, fresh: Player, update: int
    ) -> tuple[FlowState, Rollout, StepResult]:
        """Returns what one rollout made of the episodes, which begin in new worlds; ``flow`` is used up."""
        return self._rollout(params, flow, key, fresh, update, self._no_starts)

    def _rollout(
        self, params: Params, flow: FlowState, key: jax.Array, fresh: Player, update: int, starts: Starts | None
    ) -> tuple[FlowState, Rollout, StepResult]:
        params, flow, key, fresh = self._bound((params, flow, key, fresh))
        played: tuple[FlowState, Rollout, StepResult] = self._play(params, flow, key, fresh, jnp.int32(update), starts)
        return played

    def update(self, state: TrainState) -> tuple[TrainState, UpdateStats]:
        """Returns the state after one rollout and its PPO epochs; ``state`` is used up, but for its best parameters."""
        state = self._bound(state)
        key, worlds_key, play_key = jax.random.split(state.key, 3)
        fresh = self.fresh(worlds_key)
        number = int(state.update) + 1
        flow, rollout, results = self._rollout(state.params, state.flow, play_key, fresh, number, self._starts)
        learner = Learner(state.params, state.optimiser, key, state.update)
        learner, stats = self._learn(learner, rollout, results)
        return TrainState(learner.params, learner.optimiser, flow, learner.key, learner.update, state.best), stats
