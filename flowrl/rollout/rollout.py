"""Rollouts: a policy plays a batch of episodes. PPO's data of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flowrl.config import PPOConfig
from flowrl.env.domain import Observation
from flowrl.env.flow_env import FlowEnv, FlowState, StepResult
from flowrl.env.observation import features
from flowrl.env.player import PlayerState
from flowrl.models.actor_critic import GRAD_ACCUMULATOR, ActorCriticMoE
from flowrl.models.experts import Params
from flowrl.models.sparse_layer import Features
from flowrl.rollout.start_ring import Practice
from flowrl.rollout.start_states import Starts


class Rollout(NamedTuple):
    """T steps of B worlds.

    Attributes:
        observation: what the policy saw, compact, [T, B, ...].
        expert: the local expert that acted.
        action: what it did.
        log_prob: the log-probability of the action.
        value: its critic's estimate before the step.
        reward: the task's reward, the price of dying taken off.
        cut: nothing after this step counts: the episode died, or the task or the whole plan was done, as configured.
        timeout: the time limit ended the episode; where the task is not cut, the value of the state reached counts.
        timeout_value: that value, 0 elsewhere.
        last_value: [B] value of the states after the last step.
    """

    observation: Observation
    expert: Int[Array, "T B"]
    action: Int[Array, "T B"]
    log_prob: Float[Array, "T B"]
    value: Float[Array, "T B"]
    reward: Float[Array, "T B"]
    cut: Bool[Array, "T B"]
    timeout: Bool[Array, "T B"]
    timeout_value: Float[Array, "T B"]
    last_value: Float[Array, "B"]


def apply_network(
    network: ActorCriticMoE,
    params: Params,
    seen: Features,
    expert: Int[Array, "N"],
    grad_accumulator: Params | None = None,
) -> tuple[Float[Array, "N A"], Float[Array, "N"]]:
    """Logits and value of observations.

    Args:
        grad_accumulator: accumulated gradient. The first layer's kernel gradient comes back already added to it, the
            rest do not: `add_gradients` puts them together.
    """
    variables = (
        {"params": params} if grad_accumulator is None else {"params": params, GRAD_ACCUMULATOR: grad_accumulator}
    )
    answer: Any = network.apply(variables, seen, expert)
    return answer[0], answer[1]


class Policy(NamedTuple):
    """A network with its parameters, applied to compact observations."""

    network: ActorCriticMoE
    params: Params

    def __call__(self, env: FlowEnv, observation: Observation, expert: Array) -> tuple[Array, Array]:
        """Logits [B, A] and value [B] of a batch."""
        return apply_network(self.network, self.params, features(env.domain, observation), expert)


def log_probability(logits: Float[Array, "N A"], action: Int[Array, "N"]) -> Float[Array, "N"]:
    """Log-probability of each action."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], axis=1)[:, 0]


def sample_action(key: jax.Array, logits: Float[Array, "N A"]) -> Int[Array, "N"]:
    """Sample an action from each row."""
    return jax.random.categorical(key, logits)


def collect(
    env: FlowEnv,
    policy: Policy,
    key: jax.Array,
    state: FlowState,
    fresh: PlayerState,
    update: Array,
    ppo: PPOConfig,
    starts: Starts | Practice | None = None,
) -> tuple[FlowState, Rollout, StepResult]:
    """Play the steps of one rollout. The batch after them, the rollout, and every step's result [T, B].

    Args:
        starts: states that a share of the episodes begins at instead of in ``fresh`` worlds.
    """
    batch = state.task.shape[0]

    def body(carry: tuple[FlowState, Array], key: jax.Array) -> tuple[tuple[FlowState, Array], Any]:
        state, first = carry
        act_key, step_key, amount_key = jax.random.split(key, 3)
        expert = env.expert(state)  # [B]
        observation = env.observe(state)
        logits, value = policy(env, observation, expert)  # [B, A], [B]
        action = sample_action(act_key, logits)
        after, result = env.step(step_key, state, env.game_actions(state, action))
        timeout_value = _value_at_timeouts(env, policy, after, result.timeout)
        into_new = result.ended  # [B], those that begin anew in a new world
        if starts is not None:
            amount_key, start_key = jax.random.split(amount_key)
            into_new, after = starts.begin(env, start_key, after, result.ended, update)
        following = env.restart(after, into_new, fresh, first, env.draw_amounts(amount_key, batch), update)
        reward = result.reward - ppo.death_penalty * result.died
        cut = (result.task_done if ppo.credit == "task" else result.success) | result.died
        log_prob = log_probability(logits, action)
        samples = (observation, expert, action, log_prob, value, reward, cut, result.timeout, timeout_value)
        # ``first`` counts the new worlds used so far.
        return (following, first + into_new.sum()), (samples, result)

    (state, _), (samples, results) = jax.lax.scan(body, (state, jnp.int32(0)), jax.random.split(key, ppo.steps))
    _, last_value = policy(env, env.observe(state), env.expert(state))
    return state, Rollout._make((*samples, last_value)), results


def _value_at_timeouts(env: FlowEnv, policy: Policy, after: FlowState, timeout: Bool[Array, "B"]) -> Float[Array, "B"]:
    """Value of the states at a time-out, asked only where one is."""

    def ask() -> Array:
        _, value = policy(env, env.observe(after), env.expert(after))
        return jnp.where(timeout, value, 0.0)

    return jax.lax.cond(timeout.any(), ask, lambda: jnp.zeros(timeout.shape))
