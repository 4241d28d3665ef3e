"""The PPO update of the trained experts from one rollout."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from flowrl.config import PPOConfig
from flowrl.env.domain import Domain, Observation
from flowrl.env.observation import expand
from flowrl.learning.rollout import apply_network, log_probability
from flowrl.models.actor_critic import ActorCriticMoE
from flowrl.models.experts import Params


class Samples(NamedTuple):
    """N = T x B samples; ``expert`` counts among the trained experts and is meaningless where ``trained`` is false."""

    observation: Observation
    expert: Int[Array, "N"]
    trained: Bool[Array, "N"]
    action: Int[Array, "N"]
    log_prob: Float[Array, "N"]
    value: Float[Array, "N"]
    advantage: Float[Array, "N"]
    target: Float[Array, "N"]


class Losses(NamedTuple):
    """Means over the samples of a minibatch, or over the minibatches of an update."""

    policy: Float[Array, ""]
    value: Float[Array, ""]
    entropy: Float[Array, ""]
    kl: Float[Array, ""]
    grad_norm: Float[Array, ""]


_ADAM = optax.scale_by_adam(eps=1e-5)


def init_optimiser(trained: Params) -> optax.OptState:
    """Returns the optimiser's state for the trained experts' parameters."""
    return _ADAM.init(trained)


def expert_norms(gradient: Params) -> Float[Array, "E"]:
    """Returns each expert's gradient norm over all its leaves."""
    squares = [jnp.square(leaf).reshape(leaf.shape[0], -1).sum(axis=1) for leaf in jax.tree.leaves(gradient)]
    return jnp.sqrt(sum(squares))


def clip_per_expert(gradient: Params, largest: float) -> tuple[Params, Float[Array, "E"]]:
    """Returns the gradient with each expert's norm at most ``largest``, and the norms before."""
    norms = expert_norms(gradient)
    scale = jnp.minimum(1.0, largest / jnp.maximum(norms, 1e-8))
    clipped = jax.tree.map(lambda leaf: leaf * scale.reshape((-1,) + (1,) * (leaf.ndim - 1)), gradient)
    return clipped, norms


def ppo_loss(
    params: Params,
    network: ActorCriticMoE,
    domain: Domain,
    config: PPOConfig,
    batch: Samples,
    weight: Float[Array, "M"],
) -> tuple[Float[Array, ""], Losses]:
    """Returns the clipped PPO loss of a minibatch, each sample weighted, and its parts.

    Source: Schulman et al. 2017, "Proximal policy optimization algorithms", with the value clipped likewise.
    """
    flat = expand(domain, batch.observation)
    logits, value = apply_network(network, params, flat, batch.expert)
    log_ratio = log_probability(logits, batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
    policy = -(weight * jnp.minimum(ratio * batch.advantage, clipped * batch.advantage)).sum()
    near = batch.value + jnp.clip(value - batch.value, -config.value_clip, config.value_clip)
    errors = jnp.maximum(jnp.square(value - batch.target), jnp.square(near - batch.target))
    value_loss = 0.5 * (weight * errors).sum()
    log_probs = jax.nn.log_softmax(logits)
    entropy = -(weight * (jnp.exp(log_probs) * log_probs).sum(axis=1)).sum()
    kl = (weight * (ratio - 1 - log_ratio)).sum()
    total = policy + config.value_weight * value_loss - config.entropy * entropy
    return total, Losses(policy, value_loss, entropy, kl, jnp.float32(0))


def _apply(
    params: Params, optimiser: optax.OptState, gradient: Params, active: Bool[Array, "E"], lr: Array
) -> tuple[Params, optax.OptState]:
    """Steps the experts that had samples; momentum must not carry the others along."""
    direction, after = _ADAM.update(gradient, optimiser, params)

    def keep(new: Array, old: Array) -> Array:
        if new.ndim == 0:
            return new
        return jnp.where(active.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

    stepped = jax.tree.map(lambda p, d: p - lr * d, params, direction)
    return jax.tree.map(keep, stepped, params), jax.tree.map(keep, after, optimiser)


def update_experts(
    params: Params,
    optimiser: optax.OptState,
    network: ActorCriticMoE,
    domain: Domain,
    config: PPOConfig,
    samples: Samples,
    lr: Array,
    key: jax.Array,
) -> tuple[Params, optax.OptState, Losses]:
    """Returns the trained experts after some epochs over their own samples; samples of frozen experts cost nothing.

    Args:
        params: the trained experts' parameters, leaves [E, ...]; ``network`` has as many experts.
    """
    total = samples.trained.shape[0]
    size = min(config.minibatch, total)
    count = samples.trained.sum()
    batches = -(-count // size)
    # A skill at the end of a long plan gets few samples a rollout: it goes over them more often, so that it is not
    # left with a step or two an update.
    wanted = -(-config.least_steps // jnp.maximum(batches, 1))
    epochs = jnp.clip(wanted, config.epochs, max(config.most_epochs, config.epochs))
    # Every minibatch is divided by the same number, so a short last one weighs less instead of more.
    divisor = jnp.maximum(jnp.minimum(count, size), 1).astype(jnp.float32)
    experts = network.num_tasks

    def epoch(number: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        rank = jnp.where(samples.trained, jax.random.uniform(jax.random.fold_in(key, number), (total,)), 2.0)
        order = jnp.pad(jnp.argsort(rank), (0, size))

        def minibatch(i: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
            params, optimiser, sums = carry
            index = jax.lax.dynamic_slice_in_dim(order, i * size, size)
            batch: Samples = jax.tree.map(lambda leaf: leaf[index], samples)
            used = i * size + jnp.arange(size) < count
            batch = batch._replace(expert=jnp.where(used, batch.expert, 0))
            gradient, losses = jax.grad(ppo_loss, has_aux=True)(params, network, domain, config, batch, used / divisor)
            gradient, norms = clip_per_expert(gradient, config.grad_norm)
            active = ((batch.expert[None] == jnp.arange(experts)[:, None]) & used).any(axis=1)
            params, optimiser = _apply(params, optimiser, gradient, active, lr)
            losses = losses._replace(grad_norm=norms.max())
            return params, optimiser, jax.tree.map(jnp.add, sums, losses)

        after: tuple[Any, ...] = jax.lax.fori_loop(0, batches, minibatch, carry)
        return after

    zeros = Losses(*[jnp.float32(0)] * len(Losses._fields))
    params, optimiser, sums = jax.lax.fori_loop(0, epochs, epoch, (params, optimiser, zeros))
    mean = jax.tree.map(lambda total: total / jnp.maximum(batches * epochs, 1), sums)
    return params, optimiser, mean
