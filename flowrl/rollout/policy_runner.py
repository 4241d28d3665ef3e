"""Playing a run's tasks with its network, as pure functions."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from flowrl.config import RunConfig
from flowrl.env.flow_env import FlowEnv, FlowState, StepResult
from flowrl.env.player import PlayerState
from flowrl.models.actor_critic import ActorCriticMoE
from flowrl.models.experts import Params
from flowrl.rollout.devices import Groups, join, split
from flowrl.rollout.rollout import Policy, Rollout, collect
from flowrl.rollout.start_ring import Practice, StartRing, empty_ring
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
        starts: Starts | Practice | None = None,
    ) -> tuple[FlowState, Rollout, StepResult]:
        """Play one rollout: episodes after it, rollout, every step's result [T, B]."""
        policy = Policy(self.network(self.experts), params)
        return collect(self.env, policy, key, flow, fresh, update, self.config.ppo, starts)

    def play_groups(
        self,
        groups: Groups,
        params: Params,
        flow: FlowState,
        key: jax.Array,
        fresh: PlayerState,
        update: Array,
        starts: Starts | Practice | None = None,
    ) -> tuple[FlowState, Rollout, StepResult]:
        """`play` each of a device's groups on its own worlds and key."""

        ring = starts.ring if isinstance(starts, Practice) else None

        def one(group: tuple[FlowState, PlayerState, Any, Array]) -> tuple[FlowState, Rollout, StepResult]:
            flow, fresh, ring, number = group
            begin = starts._replace(ring=ring) if isinstance(starts, Practice) else starts
            return self.play(params, flow, jax.random.fold_in(key, number), fresh, update, begin)

        if groups.here == 1:
            return one((flow, fresh, ring, groups.numbers()[0]))
        parts = split((flow, fresh, ring), groups.here)
        flows, rollouts, results = jax.lax.map(one, (*parts, groups.numbers()))
        last_value = join(rollouts.last_value)
        rollout = join(rollouts._replace(last_value=rollouts.reward), 1)._replace(last_value=last_value)
        return join(flows), rollout, join(results, 1)

    def new_ring(self, flow: FlowState) -> StartRing | None:
        """A ring without states, or None where the run does not practise."""
        if self.config.start.source != "ring":
            return None
        return empty_ring(self.env, flow, self.config.start.ring, self.config.groups)

    def note(self, groups: Groups, ring: StartRing, flow: FlowState) -> StartRing:
        """Add to each of a device's groups' rings where its episodes have just begun a task."""
        rings, flows = split((ring, flow), groups.here)
        noted: StartRing = join(jax.vmap(lambda ring, flow: ring.note(flow, self.config.ppo.steps))(rings, flows))
        return noted
