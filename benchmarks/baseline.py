"""What flowrl is held against: PPO with a mixture of experts on Craftax-Classic, as published JAX code does it.

    .venv/bin/python benchmarks/baseline.py --skill 'Collect Wood' --frames 400000

trains one skill and prints its success over the frames. The environment is stock upstream (`auto_reset=False`) below
flowrl's task layer: the same skill code, the same inputs to it, the same additions to the observation. Worlds are reset
optimistically at ratio 16, flat float observations are stored in the rollout, every expert is evaluated for every
observation and the task's own selected, minibatches come from one permutation of all samples, and the whole update is
one compiled program. Sizes, epochs, minibatches and rates are those of a flowrl run's configuration.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from craftax.craftax_env import make_craftax_env_from_name
from jaxtyping import Array, Bool, Float, Int

from benchmarks.tables.setup import plan_env
from flowrl.config import RunConfig, build_config
from flowrl.env.domain import Domain, Transition
from flowrl.env.flow_env import FlowEnv, FlowState, StepResult
from flowrl.env.observation import expand
from flowrl.env.player import PlayerState
from flowrl.training.episode_stats import Progress

NAME = "Craftax-Classic-Symbolic-v1"
RESET_RATIO = 16
"""Worlds that share one new world a step, as published."""


class Batch(NamedTuple):
    """What is kept of each step, [T, B], or of each sample, [N]."""

    observation: Float[Array, "*B D"]
    expert: Int[Array, "*B"]
    action: Int[Array, "*B"]
    log_prob: Float[Array, "*B"]
    value: Float[Array, "*B"]
    reward: Float[Array, "*B"]
    done: Bool[Array, "*B"]


class Samples(NamedTuple):
    """What the loss is made of, [N]."""

    batch: Batch
    advantage: Float[Array, "N"]
    target: Float[Array, "N"]


class State(NamedTuple):
    """A training under way."""

    params: Any
    optimizer: optax.OptState
    flow: FlowState
    key: jax.Array
    update: Int[Array, ""]


def stock(env: FlowEnv) -> FlowEnv:
    """Returns the same tasks over upstream's own step and world generation.

    Flags are sticky upstream, and skill code is told what happened in each step: upstream steps on a cleared mask.
    """
    upstream = make_craftax_env_from_name(NAME, auto_reset=False)
    params = upstream.default_params

    def reset(key: jax.Array) -> Any:
        return jax.tree.map(jnp.asarray, upstream.reset_env(key, params)[1])

    def step(key: jax.Array, world: Any, action: Array) -> Transition:
        before = world.achievements
        cleared = world.replace(achievements=jnp.zeros_like(before))
        _, world, reward, over, _ = upstream.step_env(key, cleared, action, params)
        events = world.achievements
        again = (events & before).sum()
        return Transition(world.replace(achievements=before | events), reward - again, over, jnp.bool_(False), events)

    domain: Domain = replace(env.domain, reset_fn=reset, step_fn=step)
    return replace(env, domain=domain)


def look(env: FlowEnv, state: FlowState) -> Float[Array, "B D"]:
    """Returns upstream's own flat observation and, after it, flowrl's additions."""
    upstream = make_craftax_env_from_name(NAME, auto_reset=False)
    own = jax.vmap(upstream.get_obs)(state.player.world)
    return jnp.concatenate([own, expand(env.domain, env.observe(state))[:, env.domain.upstream_size :]], axis=1)


def reset_source(ended: Bool[Array, "B"], available: int) -> Int[Array, "B"]:
    """Returns which of the new worlds each ended one goes on in: distinct ones as long as there are enough."""
    return (jnp.cumsum(ended) - 1) % available


def optimistic_reset(
    env: FlowEnv, key: jax.Array, state: FlowState, ended: Bool[Array, "B"], update: Int[Array, ""]
) -> FlowState:
    """Returns the batch with ended episodes begun anew; a sixteenth of its worlds is generated, needed or not."""
    world_key, amount_key = jax.random.split(key)
    batch = ended.shape[0]
    available = max(1, batch // RESET_RATIO)
    fresh = env.new_players(jax.random.split(world_key, available))
    source = reset_source(ended, available)
    players: PlayerState = jax.tree.map(lambda leaf: leaf[source], fresh)
    begun = env.start(players, env.draw_amounts(amount_key, batch), update)

    def select(new: Array, old: Array) -> Array:
        return jnp.where(ended.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)

    chosen: FlowState = jax.tree.map(select, begun, state)
    return chosen


class Tower(nn.Module):
    """A multilayer perceptron."""

    width: int
    layers: int
    outputs: int
    scale: float

    @nn.compact
    def __call__(self, x: Float[Array, "N D"]) -> Float[Array, "N O"]:
        """Returns the last layer's values."""

        def kernel(scale: float) -> Any:
            return nn.initializers.variance_scaling(scale**2, "fan_in", "truncated_normal")

        for _ in range(self.layers - 1):
            x = nn.tanh(nn.Dense(self.width, kernel_init=kernel(2**0.5))(x))
        return nn.Dense(self.outputs, kernel_init=kernel(self.scale))(x)


class Expert(nn.Module):
    """One expert: an actor and a critic."""

    actions: int
    width: int
    layers: int

    @nn.compact
    def __call__(self, x: Float[Array, "N D"]) -> tuple[Float[Array, "N A"], Float[Array, "N"]]:
        """Returns (logits, value)."""
        logits = Tower(self.width, self.layers, self.actions, 0.01)(x)
        return logits, Tower(self.width, self.layers, 1, 1.0)(x)[:, 0]


def masked_experts(
    network: Expert, params: Any, observation: Float[Array, "N D"], expert: Int[Array, "N"]
) -> tuple[Float[Array, "N A"], Float[Array, "N"]]:
    """Returns (logits, value) of each observation by its own expert, after asking all of them; params are [E, ...]."""
    logits, value = jax.vmap(network.apply, in_axes=(0, None))({"params": params}, observation)
    mine = (expert[None] == jnp.arange(value.shape[0])[:, None]).astype(value.dtype)
    return jnp.einsum("en,ena->na", mine, logits), (mine * value).sum(axis=0)


def advantages(kept: Batch, last_value: Float[Array, "B"], config: RunConfig) -> tuple[Array, Array]:
    """Returns (advantages, value targets), [T, B]; a finished task ends the return."""
    ppo = config.ppo

    def back(carry: tuple[Array, Array], now: Batch) -> tuple[tuple[Array, Array], Array]:
        following, next_value = carry
        goes_on = 1.0 - now.done
        delta = now.reward + ppo.gamma * goes_on * next_value - now.value
        advantage = delta + ppo.gamma * ppo.gae_lambda * goes_on * following
        return (advantage, now.value), advantage

    _, found = jax.lax.scan(back, (jnp.zeros_like(last_value), last_value), kept, reverse=True)
    return found, found + kept.value


def ppo_loss(params: Any, network: Expert, config: RunConfig, samples: Samples) -> Float[Array, ""]:
    """Returns the clipped loss of a minibatch, its advantages normalised."""
    ppo, batch = config.ppo, samples.batch
    logits, value = masked_experts(network, params, batch.observation, batch.expert)
    log_probs = jax.nn.log_softmax(logits)
    log_prob = jnp.take_along_axis(log_probs, batch.action[:, None], axis=1)[:, 0]
    ratio = jnp.exp(log_prob - batch.log_prob)
    advantage = (samples.advantage - samples.advantage.mean()) / (samples.advantage.std() + 1e-8)
    clipped = jnp.clip(ratio, 1 - ppo.clip_eps, 1 + ppo.clip_eps) * advantage
    policy = -jnp.minimum(ratio * advantage, clipped).mean()
    near = batch.value + jnp.clip(value - batch.value, -ppo.value_clip_eps, ppo.value_clip_eps)
    errors = jnp.maximum(jnp.square(value - samples.target), jnp.square(near - samples.target))
    entropy = -(jnp.exp(log_probs) * log_probs).sum(axis=1).mean()
    return policy + ppo.value_coef * 0.5 * errors.mean() - ppo.entropy_coef * entropy


def optimizer_for(config: RunConfig) -> optax.GradientTransformation:
    """Returns Adam behind one clip of the whole gradient's norm, its rate annealed as the configuration says."""
    ppo = config.ppo
    updates = max(1, ppo.frames // (config.env.worlds * ppo.steps))
    steps = updates * ppo.epochs * (config.env.worlds * ppo.steps // ppo.minibatch_size)
    rate = optax.linear_schedule(ppo.lr, 0.0, steps) if ppo.anneal else ppo.lr
    return optax.chain(optax.clip_by_global_norm(ppo.max_grad_norm), optax.adam(rate, eps=1e-5))


def collect(env: FlowEnv, network: Expert, config: RunConfig, state: State) -> tuple[FlowState, Batch, Array, Any]:
    """Returns the episodes after one rollout, what is kept of it, the last states' value, and all results [T, B]."""

    def body(flow: FlowState, key: jax.Array) -> tuple[FlowState, tuple[Batch, StepResult]]:
        act_key, step_key, reset_key = jax.random.split(key, 3)
        observation, expert = look(env, flow), env.expert(flow)
        logits, value = masked_experts(network, state.params, observation, expert)
        action = jax.random.categorical(act_key, logits)
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], axis=1)[:, 0]
        after, result = env.step(step_key, flow, action)
        following = optimistic_reset(env, reset_key, after, result.ended, state.update + 1)
        reward = result.reward - config.ppo.death_penalty * result.died
        kept = Batch(observation, expert, action, log_prob, value, reward, result.task_done | result.ended)
        return following, (kept, result)

    keys = jax.random.split(jax.random.fold_in(state.key, 0), config.ppo.steps)
    flow, (kept, results) = jax.lax.scan(body, state.flow, keys)
    _, last_value = masked_experts(network, state.params, look(env, flow), env.expert(flow))
    return flow, kept, last_value, results


def learn(network: Expert, config: RunConfig, state: State, samples: Samples) -> tuple[Any, optax.OptState]:
    """Returns parameters and optimizer after the epochs over one rollout's samples."""
    total, size = samples.target.shape[0], min(config.ppo.minibatch_size, samples.target.shape[0])
    tx = optimizer_for(config)

    def minibatch(carry: tuple[Any, Any], part: Samples) -> tuple[tuple[Any, Any], None]:
        params, optimizer = carry
        gradient = jax.grad(ppo_loss)(params, network, config, part)
        changes, optimizer = tx.update(gradient, optimizer, params)
        return (optax.apply_updates(params, changes), optimizer), None

    def epoch(carry: tuple[Any, Any], key: jax.Array) -> tuple[tuple[Any, Any], None]:
        order = jax.random.permutation(key, total)[: total // size * size]
        parts = jax.tree.map(lambda leaf: leaf[order].reshape(-1, size, *leaf.shape[1:]), samples)
        return jax.lax.scan(minibatch, carry, parts)

    keys = jax.random.split(jax.random.fold_in(state.key, 1), config.ppo.epochs)
    return jax.lax.scan(epoch, (state.params, state.optimizer), keys)[0]


def make(
    env: FlowEnv, config: RunConfig, experts: int, seed: int = 0
) -> tuple[State, Callable[[State], tuple[State, StepResult]], int]:
    """Returns the state before training, the compiled update (what it is given is used up), and the frames of one.

    Args:
        env: whose tasks are learned; its game is replaced by stock upstream.
        experts: how many there are; all of them learn.
    """
    env = stock(env)
    network = Expert(len(env.domain.actions), config.model.width, config.model.layers)
    net_key, world_key, amount_key, key = jax.random.split(jax.random.PRNGKey(seed), 4)
    blank = jnp.zeros((1, env.domain.observation_size))
    params = jax.vmap(lambda k: network.init(k, blank)["params"])(jax.random.split(net_key, experts))
    worlds = config.env.worlds
    flow = env.start(
        jax.jit(env.new_players)(jax.random.split(world_key, worlds)), env.draw_amounts(amount_key, worlds)
    )
    first = State(params, optimizer_for(config).init(params), flow, key, jnp.int32(0))

    def update(state: State) -> tuple[State, StepResult]:
        flow, kept, last_value, results = collect(env, network, config, state)
        found, target = advantages(kept, last_value, config)
        samples = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), Samples(kept, found, target))
        params, optimizer = learn(network, config, state, samples)
        return State(params, optimizer, flow, jax.random.fold_in(state.key, 2), state.update + 1), results

    return first, jax.jit(update, donate_argnums=0), worlds * config.ppo.steps


def main() -> None:
    """Trains one skill and prints its success over the frames, as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skill", default="Collect Wood", help="of Classic's knowledge base")
    parser.add_argument("--frames", type=int, default=400_000)
    parser.add_argument("--most", type=int, default=5, help="the amount wanted is drawn from 1 to this")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    env = plan_env(NAME, arguments.skill)
    tasks = len(env.tasks.skill_of_task)
    amounts = replace(env.amounts, low=(*env.amounts.low[:-1], 1), high=(*env.amounts.high[:-1], arguments.most))
    config = build_config()
    state, update, frames = make(
        replace(env, amounts=amounts), config, max(env.tasks.expert_of_task) + 1, arguments.seed
    )
    progress, start = Progress(), time.monotonic()
    progress.begin(config.env.worlds)
    print("| frames | success of the newest episodes | seconds, compiling included |\n|---|---|---|")
    for number in range(1, -(-arguments.frames // frames) + 1):
        state, results = update(state)
        progress.count(jax.tree.map(np.asarray, results), number, env.domain.causes, tasks - 1)
        recent = progress.recent(config.gate.episodes).success
        print(f"| {number * frames:,} | {recent} | {time.monotonic() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
