"""The PPO update of the trained experts from one rollout."""

from dataclasses import dataclass
from typing import NamedTuple

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


LONGEST_BLOCK = 512
"""Samples of one expert that go through the network at a time, at most."""
_ADAM = optax.scale_by_adam(eps=1e-5)


class Expert(NamedTuple):
    """One expert's parameters, leaves [1, ...], with its moments."""

    params: Params
    moments: optax.OptState


def init_optimiser(trained: Params) -> optax.OptState:
    """Returns the optimiser's state for the trained experts' parameters."""
    return _ADAM.init(trained)


def gradient_norm(gradient: Params) -> Float[Array, ""]:
    """Returns the norm of one expert's gradient over all its leaves."""
    return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradient)))


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


def step_expert(expert: Expert, gradient: Params, config: PPOConfig, lr: Array) -> tuple[Expert, Float[Array, ""]]:
    """Returns one expert after a step of Adam, its gradient's norm clipped on its own, and the norm before."""
    norm = gradient_norm(gradient)
    scale = jnp.minimum(1.0, config.grad_norm / jnp.maximum(norm, 1e-8))
    clipped = jax.tree.map(lambda leaf: leaf * scale, gradient)
    direction, moments = _ADAM.update(clipped, expert.moments, expert.params)
    return Expert(jax.tree.map(lambda p, d: p - lr * d, expert.params, direction), moments), norm


class Schedule(NamedTuple):
    """How an update goes over its samples.

    Attributes:
        counts: [groups here] samples that experts learn from.
        batches: minibatches an epoch; each takes an even share of every group's samples.
        rows: room for one group's share of a minibatch.
        block: samples of one expert that go through the network at a time.
        epochs: times that the samples are gone over.
        divisor: the mean number of samples in a minibatch of all groups.
    """

    counts: Int[Array, "G"]
    batches: Int[Array, ""]
    rows: int
    block: int
    epochs: Int[Array, ""]
    divisor: Float[Array, ""]


def _schedule(config: PPOConfig, trained: Bool[Array, "G N"], groups: Groups, experts: int) -> Schedule:
    rows = min(config.minibatch // groups.count, trained.shape[1])
    counts = trained.sum(axis=1)
    everywhere = jax.lax.all_gather(counts, AXIS, tiled=True)
    batches = -(-everywhere.max() // rows)
    # A skill at the end of a long plan gets few samples a rollout: it goes over them more often, so that it is not
    # left with a step or two an update.
    wanted = -(-config.least_steps // jnp.maximum(batches, 1))
    epochs = jnp.clip(wanted, config.epochs, max(config.most_epochs, config.epochs))
    divisor = jnp.maximum(everywhere.sum() / jnp.maximum(batches, 1), 1.0)
    # An expert's even share and an eighth: most experts' samples then take one block. A skill that gets few samples is
    # not to wait for a long one.
    block = min(rows, LONGEST_BLOCK, -(-rows * 9 // (experts * 8 * 32)) * 32)
    return Schedule(counts, batches, rows, block, epochs, divisor)


class Share(NamedTuple):
    """One group's share of a minibatch, its samples sorted by expert.

    Attributes:
        picked: [room] which samples, a block of anything after them.
        first: [E] where each expert's samples begin.
        amount: [E] how many each has.
    """

    picked: Int[Array, "padded"]
    first: Int[Array, "E"]
    amount: Int[Array, "E"]


def _share(
    expert: Int[Array, "N"], order: Int[Array, "padded"], count: Array, i: Array, schedule: Schedule, experts: int
) -> Share:
    """Returns a group's share of minibatch ``i``."""
    first, end = i * count // schedule.batches, (i + 1) * count // schedule.batches
    index = jax.lax.dynamic_slice_in_dim(order, first, schedule.rows)
    own = jnp.where(jnp.arange(schedule.rows) < end - first, expert[index], experts)
    counts = jnp.bincount(own, length=experts)
    return Share(jnp.pad(index[jnp.argsort(own)], (0, schedule.block)), jnp.cumsum(counts) - counts, counts)


def _gradient(
    params: Params,
    network: ActorCriticMoE,
    domain: Domain,
    config: PPOConfig,
    samples: Samples,
    share: Share,
    number: Array,
    schedule: Schedule,
) -> tuple[Params, Losses]:
    """Returns one expert's gradient, leaves [1, ...], from its samples of a group's share, and the loss's parts."""

    def block(i: Array, total: tuple[Params, Losses]) -> tuple[Params, Losses]:
        before = i * schedule.block
        index = jax.lax.dynamic_slice_in_dim(share.picked, share.first[number] + before, schedule.block)
        used = before + jnp.arange(schedule.block) < share.amount[number]
        batch: Samples = jax.tree.map(lambda leaf: leaf[index], samples)
        batch = batch._replace(expert=jnp.zeros_like(batch.expert))
        weight = used / schedule.divisor
        part = jax.grad(ppo_loss, has_aux=True)(params, network, domain, config, batch, weight)
        added: tuple[Params, Losses] = jax.tree.map(jnp.add, total, part)
        return added

    nothing = jax.tree.map(jnp.zeros_like, params), _no_losses()
    total: tuple[Params, Losses] = jax.lax.fori_loop(0, -(-share.amount[number] // schedule.block), block, nothing)
    return total


def _no_losses() -> Losses:
    return Losses(*[jnp.float32(0)] * len(Losses._fields))


@dataclass(frozen=True)
class _Steps:
    """The gradient steps of an update: what stays the same over all of them."""

    network: ActorCriticMoE
    domain: Domain
    config: PPOConfig
    samples: Samples
    lr: Array
    groups: Groups
    experts: int
    schedule: Schedule

    def epoch(self, key: jax.Array, everyone: Expert, sums: Losses) -> tuple[Expert, Losses]:
        """Goes over all samples once, in an order drawn for each group."""

        def shuffled(trained: Array, group: Array) -> Array:
            rank = jnp.where(trained, jax.random.uniform(jax.random.fold_in(key, group), trained.shape), 2.0)
            return jnp.pad(jnp.argsort(rank), (0, self.schedule.rows))

        orders = jax.vmap(shuffled)(self.samples.trained, self.groups.numbers())

        def step(i: Array, carry: tuple[Expert, Losses]) -> tuple[Expert, Losses]:
            return self._minibatch(i, orders, *carry)

        after: tuple[Expert, Losses] = jax.lax.fori_loop(0, self.schedule.batches, step, (everyone, sums))
        return after

    def _minibatch(self, i: Array, orders: Array, everyone: Expert, sums: Losses) -> tuple[Expert, Losses]:
        def share(expert: Array, order: Array, count: Array) -> Share:
            return _share(expert, order, count, i, self.schedule, self.experts)

        shares = jax.vmap(share)(self.samples.expert, orders, self.schedule.counts)

        def step(number: Array, carry: tuple[Expert, Losses]) -> tuple[Expert, Losses]:
            return self._expert(number, shares, *carry)

        everyone, here = jax.lax.fori_loop(0, self.experts, step, (everyone, _no_losses()))
        moments = everyone.moments._replace(count=everyone.moments.count + 1)
        return everyone._replace(moments=moments), jax.tree.map(jnp.add, sums, here)

    def _expert(self, number: Array, shares: Share, everyone: Expert, sums: Losses) -> tuple[Expert, Losses]:
        expert: Expert = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, number, 1) if leaf.ndim else leaf, everyone
        )

        def gradient_of(group: tuple[Samples, Share]) -> tuple[Params, Losses]:
            config, schedule = self.config, self.schedule
            return _gradient(expert.params, self.network, self.domain, config, *group, number, schedule)

        gradient, losses = self.groups.sum_of(gradient_of, (self.samples, shares))
        active = jax.lax.psum(shares.amount[:, number].sum(), AXIS) > 0
        # An expert without samples stays as it is: momentum must not carry it along. The branch also keeps what is
        # written back from being computed in the place that it is read from, for which XLA would copy all experts.
        stepped, norm = jax.lax.cond(
            active,
            lambda expert, gradient: step_expert(expert, gradient, self.config, self.lr),
            lambda expert, _: (expert, jnp.float32(0)),
            expert,
            gradient,
        )
        everyone = jax.tree.map(
            lambda all_of, new: jax.lax.dynamic_update_slice_in_dim(all_of, new, number, 0) if new.ndim else all_of,
            everyone,
            stepped,
        )
        sums = jax.tree.map(jnp.add, sums, losses._replace(grad_norm=jnp.float32(0)))
        return everyone, sums._replace(grad_norm=jnp.maximum(sums.grad_norm, norm))


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
    alike. A minibatch is gone through expert by expert: the samples of one make its gradient and its step while its
    weights are in the cache, so that only they and their moments cross the memory, and they once.

    Args:
        params: the trained experts' parameters, leaves [E, ...].
        network: a network with a single expert.
        samples: leaves [groups here, N, ...].
    """
    experts = jax.tree.leaves(params)[0].shape[0]
    schedule = _schedule(config, samples.trained, groups, experts)
    steps = _Steps(network, domain, config, samples, lr, groups, experts, schedule)

    def epoch(number: Array, carry: tuple[Expert, Losses]) -> tuple[Expert, Losses]:
        return steps.epoch(jax.random.fold_in(key, number), *carry)

    everyone, sums = jax.lax.fori_loop(0, schedule.epochs, epoch, (Expert(params, optimiser), _no_losses()))
    mean = jax.tree.map(lambda total: total / jnp.maximum(schedule.batches * schedule.epochs, 1), sums)
    return everyone.params, everyone.moments, mean
