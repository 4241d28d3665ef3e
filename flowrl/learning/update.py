"""The PPO update of the trained experts from one rollout."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from flowrl.config import PPOConfig
from flowrl.env.domain import Domain, Observation
from flowrl.env.observation import features
from flowrl.learning.groups import AXIS, Groups
from flowrl.learning.rollout import apply_network, log_probability
from flowrl.models.actor_critic import ActorCriticMoE
from flowrl.models.experts import Params


class Samples(NamedTuple):
    """Samples; ``expert`` counts among the trained experts and is meaningless where ``trained`` is false."""

    observation: Observation
    expert: Int[Array, "*G N"]
    trained: Bool[Array, "*G N"]
    action: Int[Array, "*G N"]
    log_prob: Float[Array, "*G N"]
    value: Float[Array, "*G N"]
    advantage: Float[Array, "*G N"]
    target: Float[Array, "*G N"]


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
    logits, value = apply_network(network, params, features(domain, batch.observation), batch.expert)
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


class Schedule(NamedTuple):
    """How an update goes over its samples.

    Attributes:
        counts: [groups here] samples that experts learn from.
        batches: minibatches an epoch; each takes an even share of every group's samples.
        rows: room for one group's share of a minibatch.
        epochs: times that the samples are gone over.
        divisor: the mean number of samples in a minibatch of all groups.
    """

    counts: Int[Array, "G"]
    batches: Int[Array, ""]
    rows: int
    epochs: Int[Array, ""]
    divisor: Float[Array, ""]


def _schedule(config: PPOConfig, trained: Bool[Array, "G N"], groups: Groups) -> Schedule:
    rows = min(config.minibatch // groups.count, trained.shape[1])
    counts = trained.sum(axis=1)
    everywhere = jax.lax.all_gather(counts, AXIS, tiled=True)
    batches = -(-everywhere.max() // rows)
    # A skill at the end of a long plan gets few samples a rollout: it goes over them more often, so that it is not
    # left with a step or two an update.
    wanted = -(-config.least_steps // jnp.maximum(batches, 1))
    epochs = jnp.clip(wanted, config.epochs, max(config.most_epochs, config.epochs))
    divisor = jnp.maximum(everywhere.sum() / jnp.maximum(batches, 1), 1.0)
    return Schedule(counts, batches, rows, epochs, divisor)


def _share(
    samples: Samples, order: Int[Array, "padded"], count: Array, i: Array, schedule: Schedule
) -> tuple[Samples, Bool[Array, "room"]]:
    """Returns one group's share of minibatch ``i``, sorted by expert, and which of its rows are samples."""
    first, end = i * count // schedule.batches, (i + 1) * count // schedule.batches
    index = jax.lax.dynamic_slice_in_dim(order, first, schedule.rows)
    used = jnp.arange(schedule.rows) < end - first
    # Rows of one expert that lie together read the same part of its kernel, which stays in the cache.
    sort = jnp.argsort(jnp.where(used, samples.expert[index], jnp.iinfo(jnp.int32).max))
    index, used = index[sort], used[sort]
    batch: Samples = jax.tree.map(lambda leaf: leaf[index], samples)
    return batch._replace(expert=jnp.where(used, batch.expert, 0)), used


def update_experts(
    params: Params,
    optimiser: optax.OptState,
    network: ActorCriticMoE,
    domain: Domain,
    config: PPOConfig,
    samples: Samples,
    lr: Array,
    key: jax.Array,
    groups: Groups,
) -> tuple[Params, optax.OptState, Losses]:
    """Returns the trained experts after some epochs over their own samples; samples of frozen experts cost nothing.

    To be called on a device, with the samples of its groups; the others' gradients are added, and all devices step
    alike.

    Args:
        params: the trained experts' parameters, leaves [E, ...]; ``network`` has as many experts.
        samples: leaves [groups here, N, ...].
    """
    schedule = _schedule(config, samples.trained, groups)
    experts = network.num_tasks
    numbers = groups.numbers()

    def gradient_of(group: tuple[Samples, Array, Array], i: Array, params: Params) -> tuple[Any, ...]:
        batch, used = _share(*group, i, schedule)
        weight = used / schedule.divisor
        gradient, losses = jax.grad(ppo_loss, has_aux=True)(params, network, domain, config, batch, weight)
        active = ((batch.expert[None] == jnp.arange(experts)[:, None]) & used).any(axis=1)
        return gradient, losses, active.astype(jnp.float32)

    def minibatch(i: Array, carry: tuple[Any, ...], orders: Array) -> tuple[Any, ...]:
        params, optimiser, sums = carry
        parts = (samples, orders, schedule.counts)

        def add(total: Any, group: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, gradient_of(group, i, params)), None

        one = jax.tree.map(lambda leaf: leaf[0], parts)
        if groups.here == 1:
            here = gradient_of(one, i, params)
        else:
            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradient_of, one, i, params))
            here, _ = jax.lax.scan(add, nothing, parts)
        gradient, losses, active = jax.lax.psum(here, AXIS)
        gradient, norms = clip_per_expert(gradient, config.grad_norm)
        params, optimiser = _apply(params, optimiser, gradient, active > 0, lr)
        losses = losses._replace(grad_norm=norms.max())
        return params, optimiser, jax.tree.map(jnp.add, sums, losses)

    def epoch(number: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        def shuffled(trained: Array, group: Array) -> Array:
            key_of_group = jax.random.fold_in(jax.random.fold_in(key, number), group)
            rank = jnp.where(trained, jax.random.uniform(key_of_group, trained.shape), 2.0)
            return jnp.pad(jnp.argsort(rank), (0, schedule.rows))

        orders = jax.vmap(shuffled)(samples.trained, numbers)
        after: tuple[Any, ...] = jax.lax.fori_loop(
            0, schedule.batches, lambda i, carry: minibatch(i, carry, orders), carry
        )
        return after

    zeros = Losses(*[jnp.float32(0)] * len(Losses._fields))
    params, optimiser, sums = jax.lax.fori_loop(0, schedule.epochs, epoch, (params, optimiser, zeros))
    mean = jax.tree.map(lambda total: total / jnp.maximum(schedule.batches * schedule.epochs, 1), sums)
    return params, optimiser, mean
