"""`Trainer`: one update as three pure functions: new worlds, rollout, learning."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from flowrl.env.flow_env import StepResult
from flowrl.env.player import PlayerState
from flowrl.models.actor_critic import init_network
from flowrl.models.experts import param_updater, put, take
from flowrl.rollout.devices import Groups, split
from flowrl.rollout.policy_runner import PolicyRunner
from flowrl.rollout.rollout import Rollout
from flowrl.training.gae import generalised_advantages, normalise_per_expert
from flowrl.training.optimizer import init_optimizer
from flowrl.training.ppo import Samples, update_experts
from flowrl.training.state import Learner, TrainState, UpdateMetrics
from flowrl.training.warm_start import WarmStart


@dataclass(frozen=True)
class Trainer(PolicyRunner):
    """What a run plays with, and how it learns.

    Attributes:
        trained: the local experts that learn, ascending; the others are frozen: no gradient, no cost in the update.
    """

    trained: tuple[int, ...]

    def warm_start(self, random: Collection[int]) -> WarmStart:
        """Which experts may begin as copies.

        Args:
            random: local experts that began random.
        """
        amounts, experts = self.env.amounts, self.env.tasks.expert_of_task
        gathers, beside = [item >= 0 for item in amounts.item], [each.seeks for each in self.env.interrupts]
        return WarmStart(amounts.seeks, gathers, experts, self.trained, random, self.config.start.copy_at, beside)

    def init(self, key: jax.Array, initial: dict[str, Any], players: PlayerState) -> TrainState:
        """Build the state before the first update. Experts that ``initial`` (a named state) lacks start random.

        Args:
            players: as many new worlds as the configuration says.
        """
        net_key, amounts_key, run_key = jax.random.split(key, 3)
        blank = init_network(self.network(self.experts), net_key)
        params = param_updater(blank, initial)["params"]
        flow = self.env.start(players, self.env.draw_amounts(amounts_key, self.config.env.worlds))
        learning = take(params, self.trained)
        ring = self.new_ring(flow)
        return TrainState(params, init_optimizer(learning), flow, run_key, jnp.int32(0), learning, ring)

    def state_shape(self, initial: dict[str, Any]) -> TrainState:
        """Shapes and types of a state, without computing it."""
        key = jax.random.PRNGKey(0)
        players = jax.eval_shape(self.env.new_players, jax.random.split(key, self.config.env.worlds))
        shape: TrainState = jax.eval_shape(self.init, key, initial, players)
        return shape

    def learning_rate(self, update: Array) -> Array:
        """Learning rate of an update. Annealed linearly over the budget of frames."""
        ppo = self.config.ppo
        if not ppo.anneal:
            return jnp.float32(ppo.lr)
        gone = update * self.frames_per_update / max(ppo.frames, 1)
        return jnp.float32(ppo.lr) * jnp.maximum(1.0 - gone, 0.0)

    def learn(
        self, groups: Groups, learner: Learner, rollout: Rollout, results: StepResult
    ) -> tuple[Learner, UpdateMetrics]:
        """Run the PPO epochs over one rollout. To be called on each device."""
        samples = self._samples(rollout, groups)
        lr = self.learning_rate(learner.update)
        key, learn_key = jax.random.split(learner.key)
        learning, optimizer, losses = update_experts(
            take(learner.params, self.trained),
            learner.optimizer,
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
        stats = UpdateMetrics(losses, reward / jnp.maximum(steps, 1), trained, lr, finite)
        return Learner(params, optimizer, key, learner.update + 1), stats

    def _reward_per_task(self, results: StepResult, groups: Groups) -> tuple[Float[Array, "G N"], Int[Array, "G N"]]:
        """Sum of rewards on each task, and of steps, for each group."""
        tasks = jnp.arange(self.env.plan_tasks)
        task, reward = split((results.task, results.reward), groups.here, 1)
        member = task[:, None] == tasks[:, None, None]  # [G, N, T, B / G]
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
        # The place of each expert among the trained ones, -1 for a frozen one.
        among_trained = np.full(self.experts, -1, dtype=np.int32)
        among_trained[list(self.trained)] = np.arange(len(self.trained))

        def flat_groups(tree: Any) -> Any:
            """Reshape [T, B, ...] to [G, T * B / G, ...]."""
            parts = split(tree, groups.here, 1)
            return jax.tree.map(lambda x: x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:]), parts)

        # The last value has no axis of steps and is done with: any leaf of the right shape takes its place.
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
