"""Who learns what in an update: its minibatches, and which device steps which expert with which samples.

Experts are stepped *together*, each device adding its groups' part of every expert's gradient, or *apart*, each expert
wholly on the device of one group. Together, all devices move all experts' parameters and moments through their memory
and wait for each other at every step of every expert; apart, they exchange the experts once, at the end of the update,
but experts of unlike numbers of samples leave a device idle. Which takes less is worked out anew for each update.

Groups, not devices, decide everything here, so that what comes out does not depend on how many devices there are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from flowrl.config import PPOConfig
from flowrl.rollout.devices import Groups

LONGEST_BLOCK = 512
"""Samples of one expert that go through the network at a time, at most."""
STEP_COST = 100
"""What an expert's step takes besides its samples, as a number of samples: 60 on two cores, and waiting."""


class Schedule(NamedTuple):
    """How an update goes over its samples.

    Attributes:
        counts: [S, E] samples that each expert learns from, of each group whose samples are on this device.
        batches: minibatches an epoch; each takes an even share of every expert's samples of every group.
        most: how many these can be.
        block: samples of one expert that go through the network at a time.
        epochs: times that the samples are gone over.
        divisor: the mean number of samples in a minibatch of all groups.
        amounts: [E] each expert's samples in all groups.
        owner: [E] the group that an expert belongs to.
        apart: whether only the owner's device steps an expert.
    """

    counts: Int[Array, "S E"]
    batches: Int[Array, ""]
    most: int
    block: int
    epochs: Int[Array, ""]
    divisor: Array
    amounts: Int[Array, "E"]
    owner: Int[Array, "E"]
    apart: Bool[Array, ""]


def may_be_apart(groups: Groups, experts: int) -> bool:
    """Returns whether experts can be stepped apart, for which every device needs all groups' samples."""
    return groups.count > 1 and experts > 1


def plan_schedule(
    config: PPOConfig,
    expert: Int[Array, "S N"],
    trained: Bool[Array, "S N"],
    groups: Groups,
    experts: int,
    after: Array,
) -> Schedule:
    """Returns how an update goes over samples: those of all groups, or of this device's.

    Args:
        after: what the devices' exchange before gave.
    """
    counts = jax.vmap(lambda own: jnp.bincount(own, length=experts))(jnp.where(trained, expert, experts))
    everywhere = counts if trained.shape[0] == groups.count else groups.gather(counts, after)
    amounts, most, total = everywhere.sum(axis=0), everywhere.sum(axis=1).max(), everywhere.sum()
    rows = min(config.minibatch_size // groups.count, trained.shape[1])
    batches = -(-most // rows)
    # A skill at the end of a long plan gets few samples a rollout: it goes over them more often, so that it is not
    # left with a step or two an update.
    wanted = -(-config.min_gradient_steps // jnp.maximum(batches, 1))
    epochs = jnp.clip(wanted, config.epochs, max(config.max_epochs, config.epochs))
    divisor = jnp.maximum(total / jnp.maximum(batches, 1), 1.0)
    # An expert's even share and a sixteenth: an average expert's samples then take one block. A skill that gets few
    # samples is not to wait for a long one.
    pool = rows * (groups.count if may_be_apart(groups, experts) else 1)
    block = min(pool, LONGEST_BLOCK, -(-pool * 17 // (experts * 16 * 16)) * 16)
    # One with few samples takes no more steps than it has samples.
    cost = STEP_COST * jnp.minimum(batches, amounts)
    owner, apart = owners(amounts, cost, groups.count)
    return Schedule(counts, batches, -(-trained.shape[1] // rows), block, epochs, divisor, amounts, owner, apart)


def owners(amounts: Int[Array, "E"], cost: Int[Array, "E"], groups: int) -> tuple[Int[Array, "E"], Bool[Array, ""]]:
    """Returns the group that each expert belongs to, and whether stepping experts apart takes less than together.

    The largest first, each to the group with the least to do (Graham 1969, "Bounds on multiprocessing timing
    anomalies").

    Args:
        cost: what each expert's steps take besides its samples, as a number of samples.
    """
    work = jnp.where(amounts > 0, amounts + cost, 0)
    largest_first = jnp.argsort(-work)

    def give(i: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        owner, load = found
        number, least = largest_first[i], jnp.argmin(load)
        return owner.at[number].set(least), load.at[least].add(work[number])

    nothing = jnp.zeros(amounts.shape, jnp.int32), jnp.zeros(groups, work.dtype)
    owner, load = jax.lax.fori_loop(0, amounts.shape[0], give, nothing)
    together = amounts.sum() + groups * jnp.where(amounts > 0, cost, 0).sum()
    return owner, load.max() * groups < together


class DeviceShare(NamedTuple):
    """What one device learns from in an epoch: samples sorted by expert, then by minibatch, then by group.

    Attributes:
        picked: [room] which samples, a block of anything after them.
        first: [E, M, groups here] where the samples of an expert and a minibatch begin that a group learns from.
        amount: [E, M, groups here] how many they are.
        batches: [E, M] the minibatches that an expert is stepped in on this device, and after them the others.
        turns: [E] how many these are.
        numbers: [E] the experts that this device steps, and after them the others.
        steps: how many it steps.
    """

    picked: Int[Array, "padded"]
    first: Int[Array, "E M G"]
    amount: Int[Array, "E M G"]
    batches: Int[Array, "E M"]
    turns: Int[Array, "E"]
    numbers: Int[Array, "E"]
    steps: Int[Array, ""]


def share_of(
    expert: Int[Array, "S N"], trained: Bool[Array, "S N"], key: jax.Array, schedule: Schedule, groups: Groups
) -> DeviceShare:
    """Returns this device's share of an epoch, in an order drawn for each group.

    To be called on each device. Where devices see their own groups alone, they exchange what they have.
    """
    seen, size = expert.shape
    experts = schedule.owner.shape[0]
    shape = (experts, schedule.most, seen)
    numbers = jnp.arange(seen) if seen == groups.count else groups.numbers()
    batches = jnp.maximum(schedule.batches, 1)
    # Of an expert's samples in a group, minibatch i takes those from begin[i] to begin[i + 1]. Groups begin apart, so
    # that a few samples in each of them don't all fall into the same minibatches.
    offset = numbers * batches // groups.count
    begin = (jnp.arange(schedule.most + 1)[:, None] * schedule.counts.T[:, None] + offset) // batches
    begin = jnp.minimum(begin, schedule.counts.T[:, None])
    counts = jnp.diff(begin, axis=1)
    first = (jnp.cumsum(counts) - counts.ravel()).reshape(shape)

    def of_group(group: Array, expert: Array, trained: Array) -> tuple[Array, Array]:
        """Returns a group's samples in the order of their experts, drawn within an expert's, and where each goes."""
        bits = experts.bit_length()
        drawn = jax.random.bits(jax.random.fold_in(key, numbers[group]), (size,), jnp.uint32)
        expert = jnp.where(trained, expert, experts)
        order = jnp.argsort(expert.astype(jnp.uint32) << (32 - bits) | drawn >> bits)
        expert, count = expert[order], schedule.counts[group]
        rank = jnp.arange(size) - (jnp.cumsum(count) - count)[expert]
        batch = ((rank + 1) * batches - offset[group] - 1) // jnp.maximum(count, 1)[expert]
        place = first[expert, batch, group] + rank - begin[expert, batch, group]
        return group * size + order, jnp.where(expert < experts, place, nothing.size)

    nothing = jnp.zeros(seen * size + schedule.block, jnp.int32)
    here = groups.numbers() if seen == groups.count else jnp.arange(seen)
    owned = (schedule.owner[:, None] == groups.numbers())[:, None]
    whole = counts.sum(axis=2)
    amount = jnp.where(schedule.apart, jnp.where(owned, whole[..., None], 0), counts[..., here])
    anywhere = whole if seen == groups.count else groups.over_devices(whole)
    stepped = jnp.where(schedule.apart, amount.sum(axis=2), anywhere) > 0
    turns = stepped.sum(axis=1)
    index, place = jax.vmap(of_group)(jnp.arange(seen), expert, trained)
    return DeviceShare(
        picked=nothing.at[place.ravel()].set(index.ravel().astype(jnp.int32), mode="drop"),
        first=jnp.where(schedule.apart, first[..., :1], first[..., here]),
        amount=amount,
        batches=jnp.argsort(~stepped, axis=1, stable=True),
        turns=turns,
        numbers=jnp.argsort(turns == 0, stable=True),
        steps=(turns > 0).sum(),
    )
