"""`Trainer`: one update of a run as three pure functions: new worlds, a rollout, learning from it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from flowrl.config import RunConfig
from flowrl.env.flow_env import FlowEnv, FlowState, Player, StepResult
from flowrl.learning.adam import init_optimiser
from flowrl.learning.advantages import generalised_advantages, normalise_per_expert
from flowrl.learning.groups import Groups, join, split
from flowrl.learning.rollout import Policy, Rollout, collect
from flowrl.learning.starts import Starts
from flowrl.learning.update import Losses, Samples, update_experts
from flowrl.models.actor_critic import ActorCriticMoE, init_network
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


class Learnt(NamedTuple):
    """What the learning of one update did.

    Attributes:
        losses: means over the update's minibatches.
        reward: mean reward a step of each task.
        trained_samples: samples that the trained experts learned from.
        lr: the learning rate used.
        finite: of each leaf of the trained experts' parameters, whether all of it is finite.
    """

    losses: Losses
    reward: Float[Array, "N"]
    trained_samples: Int[Array, ""]
    lr: Float[Array, ""]
    finite: Bool[Array, "leaves"]


class UpdateStats(NamedTuple):
    """What one update did: every step's result, [T, B], and the learning."""

    results: StepResult
    learnt: Learnt


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
        shape = (len(self.env.domain.actions), model.width, model.layers, experts, self.env.domain.observation_size)
        dtype = jnp.bfloat16 if self.config.ppo.bfloat16 else jnp.float32
        return ActorCriticMoE(*shape, shared=model.shared, dtype=dtype)

    def init(self, key: jax.Array, initial: dict[str, Any], players: Player) -> TrainState:
        """Returns the state before the first update; experts that ``initial`` (a named state) lacks start random.

        Args:
            players: as many new worlds as the configuration says.
        """
        net_key, amounts_key, run_key = jax.random.split(key, 3)
        blank = init_network(self.network(self.experts), net_key)
        params = param_updater(blank, initial)["params"]
        flow = self.env.start(players, self.env.draw_amounts(amounts_key, self.config.env.worlds))
        learning = take(params, self.trained)
        return TrainState(params, init_optimiser(learning), flow, run_key, jnp.int32(0), learning)

    def state_shape(self, initial: dict[str, Any]) -> TrainState:
        """Returns the shapes and types of a state, nothing computed."""
        key = jax.random.PRNGKey(0)
        players = jax.eval_shape(self.env.new_players, jax.random.split(key, self.config.env.worlds))
        shape: TrainState = jax.eval_shape(self.init, key, initial, players)
        return shape

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

    def play_groups(
        self,
        groups: Groups,
        params: Params,
        flow: FlowState,
        key: jax.Array,
        fresh: Player,
        update: Array,
        starts: Starts | None = None,
    ) -> tuple[FlowState, Rollout, StepResult]:
        """Returns what `play` does for each of a device's groups, with new worlds and a key of its own."""

        def one(group: tuple[FlowState, Player, Array]) -> tuple[FlowState, Rollout, StepResult]:
            flow, fresh, number = group
            return self.play(params, flow, jax.random.fold_in(key, number), fresh, update, starts)

        if groups.here == 1:
            return one((flow, fresh, groups.numbers()[0]))
        parts = split((flow, fresh), groups.here)
        flows, rollouts, results = jax.lax.map(one, (*parts, groups.numbers()))
        last_value = join(rollouts.last_value)
        rollout = join(rollouts._replace(last_value=rollouts.reward), 1)._replace(last_value=last_value)
        return join(flows), rollout, join(results, 1)

    def learn(self, groups: Groups, learner: Learner, rollout: Rollout, results: StepResult) -> tuple[Learner, Learnt]:
        """Returns parameters and optimiser after the PPO epochs over one rollout; to be called on each device."""
        samples = self._samples(rollout, groups)
        lr = self.learning_rate(learner.update)
        key, learn_key = jax.random.split(learner.key)
        learning, optimiser, losses = update_experts(
            take(learner.params, self.trained),
            learner.optimiser,
            self.network(1),
            self.env.domain,
            self.config.ppo,
            samples,
            lr,
            learn_key,
            groups,
        )
        params = put(learner.params, self.trained, learning)
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(learning)])
        parts = (samples.trained.sum(axis=1), *self._reward_per_task(results, groups))
        trained, reward, steps = groups.total(parts, after=losses)
        stats = Learnt(losses, reward / jnp.maximum(steps, 1), trained, lr, finite)
        return Learner(params, optimiser, key, learner.update + 1), stats

    def _reward_per_task(self, results: StepResult, groups: Groups) -> tuple[Float[Array, "G N"], Int[Array, "G N"]]:
        """Returns each group's sum of rewards on each task, and of steps."""
        tasks = jnp.arange(len(self.env.tasks.skill_of_task))
        task, reward = split((results.task, results.reward), groups.here, 1)
        member = task[:, None] == tasks[:, None, None]
        return jnp.where(member, reward[:, None], 0.0).sum(axis=(2, 3)), member.sum(axis=(2, 3))

    def _samples(self, rollout: Rollout, groups: Groups) -> Samples:
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

        def flat_groups(tree: Any) -> Any:
            parts = split(tree, groups.here, 1)
            return jax.tree.map(lambda x: x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:]), parts)

        flat = flat_groups(rollout._replace(last_value=rollout.reward))
        normalised = normalise_per_expert(
            flat_groups(advantage), flat.expert, self.experts, ppo.advantage_floor, groups.total
        )
        index = jnp.asarray(among_trained)[flat.expert]
        return Samples(
            observation=flat.observation,
            expert=jnp.maximum(index, 0),
            trained=index >= 0,
            action=flat.action,
            log_prob=flat.log_prob,
            value=flat.value,
            advantage=normalised,
            target=flat_groups(target),
        )
