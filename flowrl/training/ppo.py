"""The PPO update of the trained experts from one rollout."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from flowrl.config import PPOConfig
from flowrl.env.domain import Domain, Observation
from flowrl.env.observation import features
from flowrl.models.actor_critic import ActorCriticMoE, add_gradients
from flowrl.models.experts import Params
from flowrl.rollout.devices import AXIS, Groups, TreeT
from flowrl.rollout.rollout import apply_network, log_probability
from flowrl.training.minibatches import DeviceShare, Schedule, may_be_apart, plan_schedule, share_of
from flowrl.training.optimizer import Experts, step_expert


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
    """Means over the samples of a minibatch, or over the minibatches of an update.

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
    """Returns the clipped PPO loss of a minibatch, each sample weighted, and its parts.

    Args:
        grad_accumulator: a gradient that this one's is to be added to: see `apply_network`.

    Source: Schulman et al. 2017, "Proximal policy optimization algorithms", with the value clipped likewise.
    """
    logits, value = apply_network(network, params, features(domain, batch.observation), batch.expert, grad_accumulator)
    log_ratio = log_probability(logits, batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1 - config.clip_eps, 1 + config.clip_eps)
    policy = -(weight * jnp.minimum(ratio * batch.advantage, clipped * batch.advantage)).sum()
    near = batch.value + jnp.clip(value - batch.value, -config.value_clip_eps, config.value_clip_eps)
    errors = jnp.maximum(jnp.square(value - batch.target), jnp.square(near - batch.target))
    value_loss = 0.5 * (weight * errors).sum()
    log_probs = jax.nn.log_softmax(logits)
    entropy = -(weight * (jnp.exp(log_probs) * log_probs).sum(axis=1)).sum()
    kl = (weight * (ratio - 1 - log_ratio)).sum()
    total = policy + config.value_coef * value_loss - config.entropy_coef * entropy
    return total, Losses(policy, value_loss, entropy, kl, jnp.float32(0))


class Sums(NamedTuple):
    """What minibatches add up to.

    Attributes:
        losses: leaves [groups here]; without the norms of gradients.
        norms: [E] of the experts that this device steps.
    """

    losses: Losses
    norms: Float[Array, "E"]


@dataclass(frozen=True)
class _Steps:
    """The gradient steps of an update: what stays the same over all of them.

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
        """Goes over all samples once."""
        share = share_of(self.expert, self.trained, key, self.schedule, self.groups)

        def expert(i: Array, carry: tuple[Experts, Sums]) -> tuple[Experts, Sums]:
            return self._expert(share.numbers[i], share, *carry)

        everyone, sums = jax.lax.fori_loop(0, share.steps, expert, (everyone, sums))
        moments = everyone.moments._replace(count=everyone.moments.count + self.schedule.batches)
        return everyone._replace(moments=moments), sums

    def _expert(self, number: Array, share: DeviceShare, everyone: Experts, sums: Sums) -> tuple[Experts, Sums]:
        """Makes an expert's steps of all minibatches, one after another: none needs what other experts learn."""
        count = everyone.moments.count

        def step(i: Array, carry: tuple[Experts, Sums]) -> tuple[Experts, Sums]:
            batch = share.batches[number, i]
            own, sums = carry
            own = own._replace(moments=own.moments._replace(count=count + batch))
            own, losses, norm = self._step(own, number, share, batch)
            return own, Sums(jax.tree.map(jnp.add, sums.losses, losses), sums.norms.at[number].add(norm))

        own, sums = jax.lax.fori_loop(0, share.turns[number], step, (_one_of(everyone, number), sums))
        return _with_one(everyone, own, number), sums

    def _step(self, own: Experts, number: Array, share: DeviceShare, batch: Array) -> tuple[Experts, Losses, Array]:
        """Returns an expert, leaves [1, ...], after a step, with its losses and the norm of its gradient."""

        def gradient_of(group: tuple[Array, Array]) -> tuple[Params, Losses]:
            return self._gradient(own.params, share.picked, *group)

        parts = (share.first[number, batch], share.amount[number, batch])
        gradient, losses = self.groups.sum_here(gradient_of, parts)
        gradient = self._of_all_devices(gradient)
        own, norm = step_expert(own, gradient, self.config, self.lr, self.groups.on_cpu)
        return own, losses, norm

    def _of_all_devices(self, gradient: Params) -> Params:
        """Returns the gradient as it is, or, where experts are stepped together, the sum of all devices' ones."""
        if len(self.groups.devices) == 1:
            return gradient
        # The loop also keeps the norm from being summed along with the gradients, in another order than on one device.
        return _where(~self.schedule.apart, self.groups.over_devices, gradient)

    def _gradient(self, params: Params, picked: Array, first: Array, amount: Array) -> tuple[Params, Losses]:
        """Returns one expert's gradient, leaves [1, ...], from some of the samples picked, and the loss's parts."""
        size = self.schedule.block

        def block(i: Array, total: tuple[Params, Losses]) -> tuple[Params, Losses]:
            before = i * size
            index = jax.lax.dynamic_slice_in_dim(picked, first + before, size)
            weight = (before + jnp.arange(size) < amount) / self.schedule.divisor
            batch: Samples = jax.tree.map(lambda leaf: leaf[index], self.samples)
            batch = batch._replace(expert=jnp.zeros_like(batch.expert))
            loss = jax.grad(ppo_loss, has_aux=True)
            gradient, losses = loss(params, self.network, self.domain, self.config, batch, weight, total[0])
            return add_gradients(total[0], gradient), jax.tree.map(jnp.add, total[1], losses)

        nothing = jax.tree.map(jnp.zeros_like, params), Losses(*[jnp.float32(0)] * len(Losses._fields))
        total: tuple[Params, Losses] = jax.lax.fori_loop(0, -(-amount // size), block, nothing)
        return total

    def exchange(self, everyone: Experts) -> Experts:
        """Returns experts as their owners have them, on all devices."""
        schedule, groups = self.schedule, self.groups
        devices = len(groups.devices)
        if devices == 1 or not may_be_apart(groups, schedule.owner.shape[0]):
            return everyone
        owned = (schedule.owner // groups.here == jnp.arange(devices)[:, None]) & (schedule.amounts > 0)
        numbers, counts = jnp.argsort(~owned, axis=1, stable=True), owned.sum(axis=1)
        here = jax.lax.axis_index(AXIS)

        def turn(i: Array, everyone: Experts) -> Experts:
            """Sends one expert of each device, as long as it has one left, round all devices."""
            own, rebuild = ravel_pytree(_one_of(everyone, numbers[here, i]))

            def ring_shift(steps: Array, carry: tuple[Experts, Array]) -> tuple[Experts, Array]:
                everyone, passed = carry
                passed = groups.ring_shift(passed)
                giver = (here - steps - 1) % devices
                one, number = rebuild(passed), numbers[giver, i]
                return _where(i < counts[giver], lambda all_of: _with_one(all_of, one, number), everyone), passed

            taken, _ = jax.lax.fori_loop(0, devices - 1, ring_shift, (everyone, own))
            return taken

        after: Experts = jax.lax.fori_loop(0, jnp.where(schedule.apart, counts.max(), 0), turn, everyone)
        return after


def _where(wanted: Array, function: Callable[[TreeT], TreeT], tree: TreeT) -> TreeT:
    """Returns what ``function`` makes of a tree, or the tree: a loop of one turn or none, as a branch would copy it."""
    made: TreeT = jax.lax.fori_loop(0, wanted.astype(int), lambda _, own: function(own), tree)
    return made


def _one_of(everyone: TreeT, number: Array) -> TreeT:
    """Returns one of all experts; what has no expert's axis stays."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, number, 1) if leaf.ndim else leaf, everyone)


def _with_one(everyone: TreeT, one: TreeT, number: Array) -> TreeT:
    """Returns all experts with one of them replaced; what has no expert's axis stays."""
    return jax.tree.map(
        lambda all_of, new: jax.lax.dynamic_update_slice_in_dim(all_of, new, number, 0) if new.ndim else all_of,
        everyone,
        one,
    )


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

    To be called on each device, with the samples of its groups; which device steps which expert: `sharing.py`. No
    expert's step needs what others learn, so an epoch is gone through expert by expert, and by minibatch only within
    one: its weights and moments stay in the cache over all its steps. An expert without samples in a minibatch stays as
    it is: momentum must not carry it along.

    Args:
        params: the trained experts' parameters, leaves [E, ...].
        network: a network with a single expert.
        samples: leaves [groups here, N, ...].
    """
    experts = jax.tree.leaves(params)[0].shape[0]
    if may_be_apart(groups, experts):
        samples = groups.gather(samples)
    schedule = plan_schedule(config, samples.expert, samples.trained, groups, experts, samples.advantage)
    flat = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]), samples)
    steps = _Steps(network, domain, config, flat, samples.expert, samples.trained, lr, groups, schedule)

    def epoch(number: Array, carry: tuple[Experts, Sums]) -> tuple[Experts, Sums]:
        return steps.epoch(jax.random.fold_in(key, number), *carry)

    nothing = Sums(Losses(*[jnp.zeros(groups.here)] * len(Losses._fields)), jnp.zeros(experts))
    everyone, sums = jax.lax.fori_loop(0, schedule.epochs, epoch, (Experts(params, optimiser), nothing))
    everyone = steps.exchange(everyone)
    losses, norms = groups.gather((sums.losses, sums.norms[None]), after=everyone)
    total = jax.tree.map(lambda loss: loss.sum(axis=0), losses)._replace(grad_norm=norms.max())
    mean = jax.tree.map(lambda total: total / jnp.maximum(schedule.batches * schedule.epochs, 1), total)
    return everyone.params, everyone.moments, mean
