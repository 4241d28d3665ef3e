"""`Trainer`: one update of a run as three pure functions: new worlds, a rollout, learning from it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from flowrl.config import RunConfig
from flowrl.env.flow_env import FlowEnv, FlowState, Player, StepResult
from flowrl.learning.advantages import generalised_advantages, normalise_per_expert
from flowrl.learning.rollout import Policy, Rollout, collect
from flowrl.learning.starts import Starts
from flowrl.learning.update import Losses, Samples, init_optimiser, update_experts
from flowrl.models.actor_critic import ActorCriticMoE
from flowrl.models.experts import Params, param_updater, put, take


class TrainState(NamedTuple):
    """All that a run needs to go on; every leaf is an array.

    Attributes:
        params: all experts of the run, leaves [E, ...].
        optimiser: its state for the trained experts.
        flow: the episodes under way.
        key: the random key of the next update.
        update: updates done.
        best: the trained experts at their best so far.
    """

    params: Params
    optimiser: optax.OptState
    flow: FlowState
    key: jax.Array
    update: Int[Array, ""]
    best: Params


class Learner(NamedTuple):
    """The part of a `TrainState` that learning changes."""

    params: Params
    optimiser: optax.OptState
    key: jax.Array
    update: Int[Array, ""]


class UpdateStats(NamedTuple):
    """What one update did.

    Attributes:
        results: every step's result, [T, B].
        losses: means over the update's minibatches.
        reward: mean reward a step of each task.
        trained_samples: samples that the trained experts learned from.
        lr: the learning rate used.
    """

    results: StepResult
    losses: Losses
    reward: Float[Array, "N"]
    trained_samples: Int[Array, ""]
    lr: Float[Array, ""]


@dataclass(frozen=True)
class Trainer:
    """A run's environment, network and configuration.

    Attributes:
        trained: the local experts that learn, ascending; the others are frozen: no gradient, no cost in the update.
    """

    env: FlowEnv
    config: RunConfig
    experts: int
    trained: tuple[int, ...]

    def network(self, experts: int) -> ActorCriticMoE:
        """Returns a network of this run's shape with so many experts."""
        model = self.config.model
        return ActorCriticMoE(len(self.env.domain.actions), model.width, model.layers, experts)

    def init(self, key: jax.Array, initial: dict[str, Any], players: Player) -> TrainState:
        """Returns the state before the first update; experts that ``initial`` (a named state) lacks start random.

        Args:
            players: as many new worlds as the configuration says.
        """
        net_key, amounts_key, run_key = jax.random.split(key, 3)
        size = self.env.domain.observation_size
        blank = self.network(self.experts).init(net_key, jnp.zeros((2, size)), jnp.zeros(2, dtype=jnp.int32))
        params = param_updater(blank, initial)["params"]
        flow = self.env.start(players, self.env.draw_amounts(amounts_key, self.config.env.worlds))
        learning = take(params, self.trained)
        return TrainState(params, init_optimiser(learning), flow, run_key, jnp.int32(0), learning)

    def new_worlds(self, key: jax.Array) -> Player:
        """Returns the new worlds that the episodes ending in one rollout go on in."""
        return self.env.new_players(key, self.config.env.fresh_worlds)

    @property
    def frames_per_update(self) -> int:
        """Frames that one update plays."""
        return self.config.env.worlds * self.config.ppo.steps

    def learning_rate(self, update: Array) -> Array:
        """Returns the learning rate of an update; annealed linearly over the budget of frames."""
        ppo = self.config.ppo
        if not ppo.anneal:
            return jnp.float32(ppo.lr)
        gone = update * self.frames_per_update / max(ppo.frames, 1)
        return jnp.float32(ppo.lr) * jnp.maximum(1.0 - gone, 0.0)

    def play(
        self,
        params: Params,
        flow: FlowState,
        key: jax.Array,
        fresh: Player,
        update: Array,
        starts: Starts | None = None,
    ) -> tuple[FlowState, Rollout, StepResult]:
        """Returns the episodes after one rollout, the rollout, and every step's result [T, B]."""
        policy = Policy(self.network(self.experts), params)
        ppo = self.config.ppo
        return collect(self.env, policy, key, flow, fresh, ppo.steps, update, ppo.death_price, starts)

    def learn(self, learner: Learner, rollout: Rollout, results: StepResult) -> tuple[Learner, UpdateStats]:
        """Returns parameters and optimiser after the PPO epochs over one rollout."""
        samples = self._samples(rollout)
        lr = self.learning_rate(learner.update)
        key, learn_key = jax.random.split(learner.key)
        learning, optimiser, losses = update_experts(
            take(learner.params, self.trained),
            learner.optimiser,
            self.network(len(self.trained)),
            self.env.domain,
            self.config.ppo,
            samples,
            lr,
            learn_key,
        )
        params = put(learner.params, self.trained, learning)
        stats = UpdateStats(results, losses, self._reward_per_task(results), samples.trained.sum(), lr)
        return Learner(params, optimiser, key, learner.update + 1), stats

    def _reward_per_task(self, results: StepResult) -> Float[Array, "N"]:
        tasks = jnp.arange(len(self.env.tasks.skill_of_task))
        member = results.task[None] == tasks[:, None, None]
        total = jnp.where(member, results.reward[None], 0.0).sum(axis=(1, 2))
        return total / jnp.maximum(member.sum(axis=(1, 2)), 1)

    def _samples(self, rollout: Rollout) -> Samples:
        ppo = self.config.ppo
        advantage, target = generalised_advantages(
            rollout.reward,
            rollout.value,
            rollout.last_value,
            rollout.cut,
            rollout.timeout,
            rollout.timeout_value,
            ppo.gamma,
            ppo.gae_lambda,
        )
        among_trained = np.full(self.experts, -1, dtype=np.int32)
        among_trained[list(self.trained)] = np.arange(len(self.trained))
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rollout._replace(last_value=rollout.reward))
        normalised = normalise_per_expert(advantage.reshape(-1), flat.expert, self.experts, ppo.advantage_floor)
        index = jnp.asarray(among_trained)[flat.expert]
        return Samples(
            observation=flat.observation,
            expert=jnp.maximum(index, 0),
            trained=index >= 0,
            action=flat.action,
            log_prob=flat.log_prob,
            value=flat.value,
            advantage=normalised,
            target=target.reshape(-1),
        )
