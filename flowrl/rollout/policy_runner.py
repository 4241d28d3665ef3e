"""Playing a run's tasks with its network, as pure functions."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array

from flowrl.config import RunConfig
from flowrl.env.flow_env import FlowEnv, FlowState, PlayerState, StepResult
from flowrl.models.actor_critic import ActorCriticMoE
from flowrl.models.experts import Params
from flowrl.rollout.devices import Groups, join, split
from flowrl.rollout.rollout import Policy, Rollout, collect
from flowrl.rollout.start_states import Starts


@dataclass(frozen=True)
class PolicyRunner:
    """A run's environment, network and configuration: all that playing needs.

    Attributes:
        experts: how many the run's network has.
    """

    env: FlowEnv
    config: RunConfig
    experts: int

    def network(self, experts: int) -> ActorCriticMoE:
        """Build a network of this run's shape for a number of experts."""
        model = self.config.model
        shape = (len(self.env.domain.actions), model.width, model.layers, experts, self.env.domain.observation_size)
        dtype = jnp.bfloat16 if self.config.ppo.bfloat16 else jnp.float32
        return ActorCriticMoE(*shape, shared=model.shared, dtype=dtype)

    @property
    def frames_per_update(self) -> int:
        """Frames that one update plays."""
        return self.config.env.worlds * self.config.ppo.steps

    def play(
        self,
        params: Params,
        flow: FlowState,
        key: jax.Array,
        fresh: PlayerState,
        update: Array,
        starts: Starts | None = None,
    ) -> tuple[FlowState, Rollout, StepResult]:
        """Play one rollout: episodes after it, rollout, every step's result [T, B]."""
        policy = Policy(self.network(self.experts), params)
        ppo = self.config.ppo
        return collect(self.env, policy, key, flow, fresh, ppo.steps, update, ppo.death_penalty, starts)

    def play_groups(
        self,
        groups: Groups,
        params: Params,
        flow: FlowState,
        key: jax.Array,
        fresh: PlayerState,
        update: Array,
        starts: Starts | None = None,
    ) -> tuple[FlowState, Rollout, StepResult]:
        """`play` each of a device's groups on its own worlds and key."""

        def one(group: tuple[FlowState, PlayerState, Array]) -> tuple[FlowState, Rollout, StepResult]:
            flow, fresh, number = group
            return self.play(params, flow, jax.random.fold_in(key, number), fresh, update, starts)

        if groups.here == 1:
            return one((flow, fresh, groups.numbers()[0]))
        parts = split((flow, fresh), groups.here)
        flows, rollouts, results = jax.lax.map(one, (*parts, groups.numbers()))
        last_value = join(rollouts.last_value)
        rollout = join(rollouts._replace(last_value=rollouts.reward), 1)._replace(last_value=last_value)
        return join(flows), rollout, join(results, 1)
