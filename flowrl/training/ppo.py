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
from flowrl.models.actor_critic import ActorCriticMoE, add_gradients
from flowrl.models.experts import Params
from flowrl.rollout.devices import Groups
from flowrl.rollout.rollout import apply_network, log_probability
from flowrl.training.expert_parallel import exchange, may_be_apart, sum_if_together
from flowrl.training.minibatches import DeviceShare, Schedule, plan_schedule, share_of
from flowrl.training.optimizer import Experts, one_of, step_expert, with_one


class Samples(NamedTuple):
    """Samples; ``expert`` counts among the trained experts, and only where ``trained``."""

    observation: Observation
    expert: Int[Array, "*G N"]
    trained: Bool[Array, "*G N"]
    action: Int[Array, "*G N"]
    log_prob: Float[Array, "*G N"]
    value: Float[Array, "*G N"]
    advantage: Float[Array, "*G N"]
    target: Float[Array, "*G N"]


class Losses(NamedTuple):
    """Means over a minibatch's samples, or over an update's minibatches.

    Attributes:
        grad_norm: before clipping; of an update, each expert's mean over all minibatches, and the largest of these.
    """

    policy: Float[Array, ""]
    value: Float[Array, ""]
    entropy: Float[Array, ""]
    kl: Float[Array, ""]
    grad_norm: Float[Array, ""]


def ppo_loss(
    params: Params,
    network: ActorCriticMoE,
    domain: Domain,
    config: PPOConfig,
    batch: Samples,
    weight: Float[Array, "M"],
    grad_accumulator: Params | None = None,
) -> tuple[Float[Array, ""], Losses]:
    """Clipped PPO loss of a minibatch, each sample weighted, and its parts.

    Schulman et al. 2017, "Proximal policy optimization algorithms", with the value clipped likewise.

    Args:
        grad_accumulator: a gradient that this one's is to be added to: see `apply_network`.
    """
    logits, value = apply_network(network, params, features(domain, batch.observation), batch.expert, grad_accumulator)
    log_ratio = log_probability(logits, batch.action) - batch.log_prob  # [M]
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1 - config.clip_eps, 1 + config.clip_eps)
    # Weights sum to about one a minibatch, so sums of weighted samples are means.
    policy = -(weight * jnp.minimum(ratio * batch.advantage, clipped * batch.advantage)).sum()
    near = batch.value + jnp.clip(value - batch.value, -config.value_clip_eps, config.value_clip_eps)
    errors = jnp.maximum(jnp.square(value - batch.target), jnp.square(near - batch.target))
    value_loss = 0.5 * (weight * errors).sum()
    log_probs = jax.nn.log_softmax(logits)  # [M, A]
    entropy = -(weight * (jnp.exp(log_probs) * log_probs).sum(axis=1)).sum()
    # An unbiased estimate of the divergence that is never negative (Schulman 2020, "Approximating KL divergence").
    kl = (weight * (ratio - 1 - log_ratio)).sum()
    total = policy + config.value_coef * value_loss - config.entropy_coef * entropy
    return total, Losses(policy, value_loss, entropy, kl, jnp.float32(0))


class Sums(NamedTuple):
    """Sums over minibatches.

    Attributes:
        losses: leaves [groups here]; without the norms of gradients.
        norms: [E] of the experts that this device steps.
    """

    losses: Losses
    norms: Float[Array, "E"]


@dataclass(frozen=True)
class _Steps:
    """What all gradient steps of an update share.

    Attributes:
        samples: of all groups that this device sees, leaves [S * N, ...].
        expert, trained: [S, N] of them, by group.
    """

    network: ActorCriticMoE
    domain: Domain
    config: PPOConfig
    samples: Samples
    expert: Int[Array, "S N"]
    trained: Bool[Array, "S N"]
    lr: Array
    groups: Groups
    schedule: Schedule

    def epoch(self, key: jax.Array, everyone: Experts, sums: Sums) -> tuple[Experts, Sums]:
        """Go over all samples once."""
        share = share_of(self.expert, self.trained, key, self.schedule, self.groups)

        def expert(i: Array, carry: tuple[Experts, Sums]) -> tuple[Experts, Sums]:
            return self._expert(share.numbers[i], share, *carry)

        return jax.lax.fori_loop(0, share.steps, expert, (everyone, sums))

    def _expert(self, number: Array, share: DeviceShare, everyone: Experts, sums: Sums) -> tuple[Experts, Sums]:
        """Make one expert's steps of all minibatches. None needs what other experts learn."""
        amounts = self.schedule.amounts
        part = amounts[number] / jnp.maximum(amounts.sum(), 1)

        def step(i: Array, carry: tuple[Experts, Sums]) -> tuple[Experts, Sums]:
            batch = share.batches[number, i]
            own, sums = carry
            own, losses, norm = self._step(own, number, share, batch)
            # What is reported is a mean over all samples: an expert's own means count by its part of them.
            total = jax.tree.map(lambda total, loss: total + part * loss, sums.losses, losses)
            return own, Sums(total, sums.norms.at[number].add(norm))

        own, sums = jax.lax.fori_loop(0, share.turns[number], step, (one_of(everyone, number), sums))
        return with_one(everyone, own, number), sums

    def _step(self, own: Experts, number: Array, share: DeviceShare, batch: Array) -> tuple[Experts, Losses, Array]:
        """Step one expert, leaves [1, ...]; with its losses and gradient norm."""

        def gradient_of(group: tuple[Array, Array]) -> tuple[Params, Losses]:
            return self._gradient(own.params, share.picked, self.schedule.divisor[number], *group)

        parts = (share.first[number, batch], share.amount[number, batch])  # [groups here] each
        gradient, losses = self.groups.sum_here(gradient_of, parts)
        gradient = sum_if_together(gradient, self.schedule.placement, self.groups)
        own, norm = step_expert(own, gradient, self.config, self.lr, self.groups.on_cpu)
        return own, losses, norm

    def _gradient(
        self, params: Params, picked: Array, divisor: Array, first: Array, amount: Array
    ) -> tuple[Params, Losses]:
        """Gradient and losses of one expert, leaves [1, ...], from some samples."""
        size = self.schedule.block

        def block(i: Array, total: tuple[Params, Losses]) -> tuple[Params, Losses]:
            before = i * size
            index = jax.lax.dynamic_slice_in_dim(picked, first + before, size)  # [size]
            # Past the expert's samples the block holds others', which weigh nothing.
            weight = (before + jnp.arange(size) < amount) / divisor  # [size]
            batch: Samples = jax.tree.map(lambda leaf: leaf[index], self.samples)
            # The network has this one expert only.
            batch = batch._replace(expert=jnp.zeros_like(batch.expert))
            loss = jax.grad(ppo_loss, has_aux=True)
            gradient, losses = loss(params, self.network, self.domain, self.config, batch, weight, total[0])
            return add_gradients(total[0], gradient), jax.tree.map(jnp.add, total[1], losses)

        nothing = jax.tree.map(jnp.zeros_like, params), Losses(*[jnp.float32(0)] * len(Losses._fields))
        total: tuple[Params, Losses] = jax.lax.fori_loop(0, -(-amount // size), block, nothing)
        return total


def update_experts(
    params: Params,
    optimizer: optax.OptState,
    network: ActorCriticMoE,
    domain: Domain,
    config: PPOConfig,
    samples: Samples,
    lr: Array,
    key: jax.Array,
    groups: Groups,
) -> tuple[Params, optax.OptState, Losses]:
    """Train the experts for some epochs, each on its own samples.

    To be called on each device, with the samples of its groups. No expert's step needs what others learn, so an epoch
    goes expert by expert, and by minibatch only within one: weights and moments stay in the cache over all of an
    expert's steps. An expert without samples in a minibatch stays as it is, as momentum must not carry it along;
    samples of frozen experts cost nothing.

    Args:
        params: the trained experts' parameters, leaves [E, ...].
        network: a network with a single expert.
        samples: leaves [groups here, N, ...].
    """
    experts = jax.tree.leaves(params)[0].shape[0]
    if may_be_apart(groups, experts):
        samples = groups.gather(samples)
    schedule = plan_schedule(config, samples.expert, samples.trained, groups, experts, samples.advantage)
    # [S, N, ...] to [S * N, ...]
    flat = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]), samples)
    steps = _Steps(network, domain, config, flat, samples.expert, samples.trained, lr, groups, schedule)

    def epoch(number: Array, carry: tuple[Experts, Sums]) -> tuple[Experts, Sums]:
        return steps.epoch(jax.random.fold_in(key, number), *carry)

    nothing = Sums(Losses(*[jnp.zeros(groups.here)] * len(Losses._fields)), jnp.zeros(experts))
    everyone, sums = jax.lax.fori_loop(0, schedule.epochs, epoch, (Experts(params, optimizer), nothing))
    # Where experts were stepped apart, devices hold theirs only.
    everyone = exchange(everyone, schedule.amounts, schedule.placement, groups)
    losses, norms = groups.gather((sums.losses, sums.norms[None]), after=everyone)
    total = jax.tree.map(lambda loss: loss.sum(axis=0), losses)._replace(grad_norm=norms.max())
    mean = jax.tree.map(lambda total: total / jnp.maximum(schedule.batches * schedule.epochs, 1), total)
    return everyone.params, everyone.moments, mean
