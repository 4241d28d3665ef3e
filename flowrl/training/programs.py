"""The compiled programs of a training run: playing and learning."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from flowrl.env.flow_env import FlowState, StepResult
from flowrl.rollout.devices import SAME, STEPS, WORLDS
from flowrl.rollout.programs import ROLLOUT, PlayPrograms
from flowrl.rollout.rollout import Rollout
from flowrl.rollout.start_ring import Practice, StartRing
from flowrl.training.state import Learner, TrainState, UpdateStats
from flowrl.training.trainer import Trainer

_STATE: Any = TrainState._make(WORLDS if name in ("flow", "ring") else SAME for name in TrainState._fields)


class Programs(PlayPrograms):
    """A trainer's functions, compiled on first use and spread over devices.

    Attributes:
        trainer: whose functions these are.
    """

    def __init__(self, trainer: Trainer, devices: Sequence[Any] | None = None):
        super().__init__(trainer, devices)
        self.trainer, groups = trainer, self.groups

        def learn(learner: Learner, rollout: Rollout, results: StepResult) -> Any:
            return trainer.learn(groups, learner, rollout, results)

        self._learn = jax.jit(groups.spread(learn, (SAME, ROLLOUT, STEPS), SAME), donate_argnums=0)
        self._init = jax.jit(trainer.init)
        self._weights = jnp.ones(trainer.env.plan_tasks)
        self._share = jnp.float32(trainer.config.start.share)

        def note(ring: StartRing, flow: FlowState) -> StartRing:
            return trainer.note(groups, ring, flow)

        # The ring is not given away: measuring plays with it, at a share of 0.
        self._note = jax.jit(groups.spread(note, (WORLDS, WORLDS), WORLDS))

    def init(self, key: jax.Array, initial: dict[str, Any]) -> TrainState:
        """Build the state before the first update."""
        worlds_key, rest_key = jax.random.split(key)
        players = jax.device_put(self.players(worlds_key), self.groups.devices[0])
        state: TrainState = self._init(rest_key, initial, players)
        return self._placed(state)

    def _placed(self, state: TrainState) -> TrainState:
        return TrainState(*(self.groups.place(part, where) for part, where in zip(state, _STATE, strict=True)))

    def draw_starts(self, weights: Sequence[float], share: float) -> None:
        """Say how practice is drawn from now on.

        Args:
            weights: of each task.
            share: of the episodes that practise.
        """
        self._weights, self._share = jnp.asarray(weights, jnp.float32), jnp.float32(share)

    def update(self, state: TrainState) -> tuple[TrainState, UpdateStats]:
        """Play one rollout and learn from it. ``state`` is used up, except for its best parameters."""
        state = self._placed(state)
        key, worlds_key, play_key = jax.random.split(state.key, 3)
        fresh = self.fresh(worlds_key)
        number = int(state.update) + 1
        if state.ring is not None:
            self.practise(Practice(state.ring, self._weights, self._share))
        flow, rollout, results = self._rollout(state.params, state.flow, play_key, fresh, number, self._starts)
        learner = Learner(state.params, state.optimizer, self.groups.place(key, SAME), state.update)
        learner, metrics = self._learn(learner, rollout, results)
        ring = None if state.ring is None else self._note(state.ring, flow)
        after = TrainState(learner.params, learner.optimizer, flow, learner.key, learner.update, state.best, ring)
        return after, UpdateStats(results, metrics)
