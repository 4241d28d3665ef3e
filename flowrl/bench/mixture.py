"""Forward and backward of the mixture of experts, against one plain expert and against evaluating all of them."""

from typing import Any

import jax
import jax.numpy as jnp

from flowrl.bench.measure import Row, ratios, row, time_in_turn
from flowrl.learning.rollout import apply_network
from flowrl.models.actor_critic import ActorCriticMoE
from flowrl.parallel.training_setup import build_remapping

EXPERTS, BATCH, WIDTH, LAYERS, ACTIONS, INPUTS = 12, 4096, 256, 3, 17, 1410


def _loss(network: ActorCriticMoE, params: Any, x: jax.Array, expert: jax.Array) -> jax.Array:
    logits, value = apply_network(network, params, x, expert)
    return jnp.square(logits).sum() + jnp.square(value).sum()


def _masked_loss(network: ActorCriticMoE, params: Any, x: jax.Array, expert: jax.Array) -> jax.Array:
    logits, value = jax.vmap(lambda one: apply_network(network, jax.tree.map(lambda p: p[None], one), x, expert))(
        params
    )
    mine = expert[None] == jnp.arange(EXPERTS)[:, None]
    logits = jnp.where(mine[..., None], logits, 0.0).sum(axis=0)
    return jnp.square(logits).sum() + jnp.square(jnp.where(mine, value, 0.0).sum(axis=0)).sum()


def _init(experts: int) -> tuple[ActorCriticMoE, Any]:
    network = ActorCriticMoE(ACTIONS, WIDTH, LAYERS, experts)
    blank = network.init(jax.random.PRNGKey(0), jnp.zeros((2, INPUTS)), jnp.zeros(2, dtype=jnp.int32))
    return network, blank["params"]


def _size(experts: int) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(_init(experts)[1]))


def measure() -> list[Row]:
    """Returns the times of 12 grouped experts, one plain one, and 12 masked ones, and what three experts allocate."""
    one, twelve = _init(1), _init(EXPERTS)
    x = jax.random.bernoulli(jax.random.PRNGKey(1), 0.06, (BATCH, INPUTS)).astype(jnp.float32)
    expert = jax.random.randint(jax.random.PRNGKey(2), (BATCH,), 0, EXPERTS)
    losses = {
        "plain": (lambda p, x, e: _loss(one[0], p, x, e), one[1]),
        "grouped": (lambda p, x, e: _loss(twelve[0], p, x, e), twelve[1]),
        "masked": (lambda p, x, e: _masked_loss(one[0], p, x, e), twelve[1]),
    }
    calls = {}
    for name, (loss, params) in losses.items():
        gradient = jax.jit(jax.grad(loss))
        calls[name] = lambda turn, gradient=gradient, params=params: gradient(params, x, expert)
    seconds = time_in_turn(calls)
    to_local, _ = build_remapping(["a", "b"], 7, {"a": {"expert_idx": 0}, "b": {"expert_idx": 2}})
    table = "mixture of experts, batch 4,096, width 256"
    milliseconds = {name: [1000 * s for s in values] for name, values in seconds.items()}
    return [
        row(table, "one plain expert, forward and backward", milliseconds["plain"], "ms"),
        row(table, "12 experts, grouped", milliseconds["grouped"], "ms"),
        row(table, "12 experts, all evaluated and masked", milliseconds["masked"], "ms"),
        row(table, "grouped over plain", ratios(seconds["grouped"], seconds["plain"]), "x", at_most=2.5),
        row(table, "masked over grouped", ratios(seconds["masked"], seconds["grouped"]), "x", at_least=4.0),
        row(table, "experts allocated for {0, 2, 7}", [_size(len(to_local)) / _size(1)], "experts", 3.0, 3.0),
    ]
