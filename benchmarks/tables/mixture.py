"""The update step of the mixture of experts, against one expert and against evaluating all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.tables.bounds import tree_bytes, update_bound
from benchmarks.tables.measure import Bound, Row, ratios, row, tell, time_in_turn
from benchmarks.tables.setup import GROUPS, chain_env
from flowrl.config import PPOConfig
from flowrl.env.domain import Domain, Observation
from flowrl.env.flow_env import FlowEnv
from flowrl.jax_runtime import configure_jax
from flowrl.models.actor_critic import ActorCriticMoE, init_network
from flowrl.parallel.training_setup import build_remapping
from flowrl.rollout.devices import SAME, WORLDS, Groups, groups_of, split
from flowrl.training.optimizer import Experts, init_optimizer, step_expert
from flowrl.training.ppo import Losses, Samples, ppo_loss, update_experts


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        minibatches: of an update; what an update does once is shared out among its steps.
    """

    name: str = "Craftax-Classic-Symbolic-v1"
    experts: int = 32
    batch: int = 8192
    minibatches: int = 8
    width: int = 256
    layers: int = 3
    worlds: int = 256
    turns: int = 5


def masked_step(
    params: Any,
    moments: Any,
    network: ActorCriticMoE,
    domain: Domain,
    config: PPOConfig,
    samples: Samples,
    lr: Any,
    key: jax.Array,
    groups: Groups,
) -> tuple[Any, Any, Losses]:
    """Returns what `update_experts` does with one minibatch, every expert evaluated on all of it and masked.

    The gradient of a mixture's masked loss for one expert is that of its own loss with the others' samples weighing
    nothing, so the experts can be gone through one after another: for the masked form the cheapest way there is.
    """
    del key
    batch = samples._replace(expert=jnp.zeros_like(samples.expert))
    count = jax.tree.leaves(params)[0].shape[0]
    amounts = groups.over_devices(jnp.bincount(samples.expert.reshape(-1), length=count))  # [E]

    def one(sums: Losses, expert: tuple[Any, Any]) -> tuple[Losses, tuple[Any, Any]]:
        (params, mine), number = expert

        def of_group(group: tuple[Samples, Any]) -> tuple[Any, Losses]:
            part, own = group
            weight = (own == number) / jnp.maximum(amounts[number], 1)
            found: tuple[Any, Losses] = jax.grad(ppo_loss, has_aux=True)(params, network, domain, config, part, weight)
            return found

        gradient, parts = groups.sum_here(of_group, (batch, samples.expert))
        gradient = groups.over_devices(gradient)
        before = Experts(params, moments._replace(count=moments.count[:1], mu=mine[0], nu=mine[1]))
        after, norm = step_expert(before, gradient, config, lr, groups.on_cpu)
        share = amounts[number] / amounts.sum()
        summed: Losses = jax.tree.map(lambda total, part: total + share * part, sums, parts)
        summed = summed._replace(grad_norm=sums.grad_norm + norm)
        return summed, (after.params, (after.moments.mu, after.moments.nu))

    def apart(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[:, None], tree)

    experts = jax.tree.leaves(params)[0].shape[0]
    mine = ((apart(params), (apart(moments.mu), apart(moments.nu))), jnp.arange(experts))
    sums, stepped = jax.lax.scan(one, Losses(*[jnp.zeros(groups.here)] * len(Losses._fields)), mine)
    params, (mu, nu) = jax.tree.map(lambda leaf: leaf[:, 0], stepped)
    losses = groups.total(sums, after=params)._replace(grad_norm=sums.grad_norm[0])
    return params, moments._replace(count=moments.count + 1, mu=mu, nu=nu), losses


class Stepper:
    """Makes one update after another: loss, backward pass, clip, Adam of each step; what it gives up is used by it.

    The samples are spread over the local devices, as in training.

    Attributes:
        steps: gradient steps of an update.
    """

    def __init__(
        self,
        domain: Domain,
        network: ActorCriticMoE,
        params: Any,
        samples: Samples,
        minibatches: int,
        step_fn: Any = update_experts,
    ):
        batch = samples.value.shape[0] // minibatches
        self.steps = minibatches
        config = PPOConfig(minibatch_size=batch, epochs=1, min_gradient_steps=1, max_epochs=1)
        if step_fn is not update_experts:
            self.steps, samples = 1, jax.tree.map(lambda leaf: leaf[:batch], samples)
        groups = groups_of(GROUPS)
        alone = network.clone(num_tasks=1)

        def step(params: Any, optimizer: Any, samples: Samples, key: jax.Array) -> Any:
            return step_fn(params, optimizer, alone, domain, config, samples, jnp.float32(1e-3), key, groups)

        spread = groups.spread(step, (SAME, SAME, WORLDS, SAME), SAME)
        self._step = jax.jit(spread, donate_argnums=(0, 1))
        self._samples = groups.place(split(samples, GROUPS), WORLDS)
        self._params, self._optimizer = groups.place((params, init_optimizer(params)), SAME)

    def __call__(self, turn: int) -> Any:
        """Makes one update, or one masked step, and returns its losses."""
        made = self._step(self._params, self._optimizer, self._samples, jax.random.PRNGKey(turn))
        self._params, self._optimizer, losses = made
        return losses


def step_seconds(steppers: Mapping[str, Stepper], turns: int) -> dict[str, list[float]]:
    """Returns the seconds that one gradient step of each took in each turn."""
    seconds = time_in_turn(steppers, turns)
    return {name: [s / stepper.steps for s in seconds[name]] for name, stepper in steppers.items()}


def some_observations(env: FlowEnv, worlds: int, rows: int) -> Observation:
    """Returns what players see first in so many new worlds, over and over, up to so many rows."""

    def look(key: jax.Array) -> Observation:
        return env.observe(env.start(env.new_players(jax.random.split(key, worlds)), env.draw_amounts(key, worlds)))

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
    network = ActorCriticMoE(len(env.domain.actions), width, layers, experts, env.domain.observation_size)
    return network, init_network(network, jax.random.PRNGKey(0))["params"]


def stepper(
    env: FlowEnv,
    observation: Observation,
    width: int,
    layers: int,
    experts: int,
    minibatches: int,
    step_fn: Any = update_experts,
) -> Stepper:
    """Returns what makes updates of so many experts."""
    network, params = network_of(env, width, layers, experts)
    samples = made_up_samples(env, observation, experts)
    return Stepper(env.domain, network, params, samples, minibatches, step_fn)


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
    configure_jax(0.9, GROUPS)
    env = chain_env(sizes.name, 1)
    observation = some_observations(env, sizes.worlds, sizes.batch * sizes.minibatches)
    shape = (env, observation, sizes.width, sizes.layers)
    calls = {
        "one": stepper(*shape, 1, sizes.minibatches),
        "grouped": stepper(*shape, sizes.experts, sizes.minibatches),
        "masked": stepper(*shape, sizes.experts, sizes.minibatches, masked_step),
    }
    samples = made_up_samples(env, observation, sizes.experts)
    tell(f"  update steps of {sizes.experts} experts: {sizes.turns} turns")
    seconds = step_seconds(calls, sizes.turns)

    def bound(experts: int) -> Bound:
        layout = (sizes.width, sizes.layers, experts, sizes.batch)
        return update_bound(env.domain, *layout, sample_bytes(samples), sizes.minibatches)

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
