"""The update step of the mixture of experts, against one expert and against evaluating all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flowrl.bench.bounds import tree_bytes, update_bound
from flowrl.bench.measure import Bound, Row, ratios, row, tell, time_in_turn
from flowrl.bench.setup import chain_env
from flowrl.config import PPOConfig
from flowrl.env.domain import Domain, Observation
from flowrl.env.flow_env import FlowEnv
from flowrl.learning.update import Samples, init_optimiser, update_experts
from flowrl.models.actor_critic import ActorCriticMoE
from flowrl.parallel.training_setup import build_remapping


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    name: str = "Craftax-Classic-Symbolic-v1"
    experts: int = 32
    batch: int = 8192
    width: int = 256
    layers: int = 3
    worlds: int = 256
    turns: int = 5


class MaskedMoE(ActorCriticMoE):
    """A mixture of the same shape that asks every expert about every observation and keeps the own one's answer."""

    @nn.nowrap
    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> tuple[jax.Array, jax.Array]:
        """Returns (logits, value); the parameters' leaves are [E, ...], the last of ``args`` is the expert."""
        *inputs, expert = args
        one = ActorCriticMoE(self.action_dim, self.layer_width, self.num_layers, 1)

        def ask(params: Any) -> Any:
            single = {"params": jax.tree.map(lambda leaf: leaf[None], params)}
            return one.apply(single, *inputs, jnp.zeros_like(expert), **kwargs)

        logits, value = jax.vmap(ask)(variables["params"])
        mine = expert[None] == jnp.arange(self.num_tasks)[:, None]
        return jnp.where(mine[..., None], logits, 0.0).sum(axis=0), jnp.where(mine, value, 0.0).sum(axis=0)


def masked(network: ActorCriticMoE) -> MaskedMoE:
    """Returns what evaluates all experts of a network of that shape."""
    return MaskedMoE(network.action_dim, network.layer_width, network.num_layers, network.num_tasks)


class Stepper:
    """Makes one gradient step after another: loss, backward pass, clip, Adam; what a step gives up is used by it."""

    def __init__(self, network: Any, domain: Domain, params: Any, samples: Samples):
        config = PPOConfig(minibatch=samples.value.shape[0], epochs=1, least_steps=1, most_epochs=1)

        def step(params: Any, optimiser: Any, samples: Samples, key: jax.Array) -> Any:
            return update_experts(params, optimiser, network, domain, config, samples, jnp.float32(1e-3), key)

        self._step = jax.jit(step, donate_argnums=(0, 1))
        self._samples = samples
        self._params, self._optimiser = params, init_optimiser(params)

    def __call__(self, turn: int) -> Any:
        """Makes one step and returns its losses."""
        made = self._step(self._params, self._optimiser, self._samples, jax.random.PRNGKey(turn))
        self._params, self._optimiser, losses = made
        return losses


def some_observations(env: FlowEnv, worlds: int, rows: int) -> Observation:
    """Returns what players see first in so many new worlds, over and over, up to so many rows."""

    def look(key: jax.Array) -> Observation:
        return env.observe(env.start(env.new_players(key, worlds), env.draw_amounts(key, worlds)))

    seen = jax.jit(look)(jax.random.PRNGKey(1))
    index = np.random.default_rng(0).integers(0, worlds, rows)
    chosen: Observation = jax.tree.map(lambda leaf: leaf[index], seen)
    return chosen


def made_up_samples(env: FlowEnv, observation: Observation, experts: int) -> Samples:
    """Returns samples that experts learn from, evenly spread over them."""
    rows = jax.tree.leaves(observation)[0].shape[0]
    draw = np.random.default_rng(1)
    normal = draw.normal(size=(3, rows)).astype(np.float32)
    return Samples(
        observation=observation,
        expert=jnp.asarray(draw.integers(0, experts, rows), dtype=jnp.int32),
        trained=jnp.ones(rows, dtype=bool),
        action=jnp.asarray(draw.integers(0, len(env.domain.actions), rows), dtype=jnp.int32),
        log_prob=jnp.full(rows, -np.log(len(env.domain.actions)), dtype=jnp.float32),
        value=jnp.asarray(normal[0]),
        advantage=jnp.asarray(normal[1]),
        target=jnp.asarray(normal[2]),
    )


def network_of(env: FlowEnv, width: int, layers: int, experts: int) -> tuple[ActorCriticMoE, Any]:
    """Returns a network and its first parameters."""
    network = ActorCriticMoE(len(env.domain.actions), width, layers, experts)
    blank = (jnp.zeros((2, env.domain.observation_size)), jnp.zeros(2, dtype=jnp.int32))
    return network, network.init(jax.random.PRNGKey(0), *blank)["params"]


def steppers(
    env: FlowEnv, observation: Observation, width: int, layers: int, experts: Sequence[int]
) -> dict[int, Stepper]:
    """Returns a stepper for each number of experts, over the same observations."""
    found = {}
    for number in experts:
        network, params = network_of(env, width, layers, number)
        found[number] = Stepper(network, env.domain, params, made_up_samples(env, observation, number))
    return found


def sample_bytes(samples: Samples) -> int:
    """Returns the bytes of one sample."""
    return tree_bytes(samples) // samples.value.shape[0]


def _allocated(sizes: Sizes, env: FlowEnv) -> float:
    """Returns how many experts a run with the global experts 0, 2 and 7 allocates."""
    to_local, _ = build_remapping(["a", "b"], 7, {"a": {"expert_idx": 0}, "b": {"expert_idx": 2}})
    counts = [
        sum(leaf.size for leaf in jax.tree.leaves(network_of(env, sizes.width, sizes.layers, number)[1]))
        for number in (len(to_local), 1)
    ]
    return counts[0] / counts[1]


def measure(sizes: Sizes = Sizes()) -> list[Row]:
    """Returns the times of the update step of many experts grouped, of one, and of many masked, and their ratios."""
    env = chain_env(sizes.name, 1)
    observation = some_observations(env, sizes.worlds, sizes.batch)
    calls: dict[str, Callable[[int], Any]] = {}
    grouped = steppers(env, observation, sizes.width, sizes.layers, (1, sizes.experts))
    calls["one"], calls["grouped"] = grouped[1], grouped[sizes.experts]
    samples = made_up_samples(env, observation, sizes.experts)
    network, params = network_of(env, sizes.width, sizes.layers, sizes.experts)
    calls["masked"] = Stepper(masked(network), env.domain, params, samples)
    tell(f"  update step of {sizes.experts} experts: {sizes.turns} turns")
    seconds = time_in_turn(calls, sizes.turns)

    def bound(experts: int) -> Bound:
        return update_bound(env.domain, sizes.width, sizes.layers, experts, sizes.batch, sample_bytes(samples))

    table = f"mixture of experts, update step, batch {sizes.batch:,}, width {sizes.width}"
    milliseconds = {name: [1000 * s for s in values] for name, values in seconds.items()}
    many = f"{sizes.experts} experts"
    over_one, over_grouped = ratios(seconds["grouped"], seconds["one"]), ratios(seconds["masked"], seconds["grouped"])
    return [
        row(table, "one expert", milliseconds["one"], "ms", bound=bound(1), per="step"),
        row(table, f"{many}, grouped", milliseconds["grouped"], "ms", bound=bound(sizes.experts), per="step"),
        row(table, f"{many}, all computed and masked", milliseconds["masked"], "ms"),
        row(table, f"{many} grouped over one", over_one, "x", at_most=1.5),
        row(table, "all computed and masked over grouped", over_grouped, "x", at_least=15.0),
        row(table, "experts allocated for {0, 2, 7}", [_allocated(sizes, env)], "experts", 3.0, 3.0),
    ]
