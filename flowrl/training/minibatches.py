"""Minibatches of an update: how many, and which samples of which expert. Samples are drawn by group and not by device,
so that the result does not depend on the number of devices. Which device steps which expert: `expert_parallel.py`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flowrl.config import PPOConfig
from flowrl.rollout.devices import Groups
from flowrl.training.expert_parallel import Placement, may_be_apart, place_experts, slices_here, step_cost

LONGEST_BLOCK = 512
"""Samples of one expert that go through the network at a time, at most."""


class Schedule(NamedTuple):
    """How an update goes over its samples.

    Attributes:
        counts: [S, E] samples that each expert learns from, of each group whose samples are on this device.
        batches: minibatches an epoch; each takes an even share of every expert's samples of every group.
        max_batches: the most that these can be, M.
        block: samples of one expert that go through the network at a time.
        epochs: passes over the samples.
        divisor: [E] the mean number of an expert's samples in a minibatch of all groups, at least 1.
        amounts: [E] each expert's samples in all groups.
        placement: where experts are stepped.
    """

    counts: Int[Array, "S E"]
    batches: Int[Array, ""]
    max_batches: int
    block: int
    epochs: Int[Array, ""]
    divisor: Float[Array, "E"]
    amounts: Int[Array, "E"]
    placement: Placement


# Example, G = 2 groups of N = 6 samples, E = 2 experts, minibatches of 6; "." is a sample of a frozen expert:
#     expert  = [[0 0 1 0 1 0], [0 0 0 1 . .]]   counts = [[4 2], [3 1]]   amounts = [7 3]
#     rows    = 6 / 2 = 3 samples a group        batches = ceil(6 / 3) = 2, of the group with the most samples
#     divisor = [7 / 2, 3 / 2]: a step's gradient is a mean over the expert's own samples, however rare it is
def plan_schedule(
    config: PPOConfig,
    expert: Int[Array, "S N"],
    trained: Bool[Array, "S N"],
    groups: Groups,
    experts: int,
    after: Array,
) -> Schedule:
    """Plan how an update goes over its samples.

    To be called on each device, with all groups' samples or its own groups'.

    Args:
        after: the result of the exchange between devices before this one.
    """
    # A frozen expert's samples count as expert E, which bincount drops.
    counts = jax.vmap(lambda own: jnp.bincount(own, length=experts))(jnp.where(trained, expert, experts))  # [S, E]
    everywhere = counts if trained.shape[0] == groups.count else groups.gather(counts, after)  # [G, E]
    amounts, largest = everywhere.sum(axis=0), everywhere.sum(axis=1).max()  # [E], []
    rows = min(config.minibatch_size // groups.count, trained.shape[1])
    batches = -(-largest // rows)
    # A skill at the end of a long plan gets few samples a rollout: it goes over them more often, so that it is not
    # left with a step or two an update.
    wanted = -(-config.min_gradient_steps // jnp.maximum(batches, 1))
    epochs = jnp.clip(wanted, config.epochs, max(config.max_epochs, config.epochs))
    divisor = jnp.maximum(amounts / jnp.maximum(batches, 1), 1.0)
    # An expert's even share and a sixteenth, in multiples of 16: an average expert's samples then take one block, and
    # a skill with few samples does not wait for a long one.
    pool = rows * (groups.count if may_be_apart(groups, experts) else 1)
    block = min(pool, LONGEST_BLOCK, -(-pool * 17 // (experts * 16 * 16)) * 16)
    placement = place_experts(amounts, step_cost(batches, amounts), groups.count)
    return Schedule(counts, batches, -(-trained.shape[1] // rows), block, epochs, divisor, amounts, placement)


class DeviceShare(NamedTuple):
    """What one device learns from in an epoch. Samples are sorted by expert, then by minibatch, then by group.

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


# Example, the samples above, 2 minibatches. Offsets are [0, 1]: a group's share is rounded down, the next one's up.
#     begin   expert 0: group 0 at 0 2 4, group 1 at 0 2 3;   expert 1: group 0 at 0 1 2, group 1 at 0 1 1
#     counts  [E, M, S] = [[[2 2] [2 1]] [[1 1] [1 0]]]
#     first   [E, M, S] = [[[0 2] [4 6]] [[7 8] [9 10]]]
#     picked  = two of expert 0 from group 0, two from group 1 | two, one | then expert 1: one, one | one
# On one device, together: batches = [[0 1] [0 1]], turns = [2 2], numbers = [0 1], steps = 2.
def share_of(
    expert: Int[Array, "S N"], trained: Bool[Array, "S N"], key: jax.Array, schedule: Schedule, groups: Groups
) -> DeviceShare:
    """Draw this device's share of an epoch, each group's order apart.

    To be called on each device. Where devices see their own groups alone, they exchange what they have.
    """
    seen, size = expert.shape
    experts = schedule.amounts.shape[0]
    shape = (experts, schedule.max_batches, seen)
    numbers = jnp.arange(seen) if seen == groups.count else groups.numbers()  # [S]
    batches = jnp.maximum(schedule.batches, 1)
    # Of an expert's samples in a group, minibatch i takes those from begin[i] to begin[i + 1]. Groups begin apart, so
    # that a few samples in each of them don't all fall into the same minibatches.
    offset = numbers * batches // groups.count  # [S]
    begin = (jnp.arange(schedule.max_batches + 1)[:, None] * schedule.counts.T[:, None] + offset) // batches
    begin = jnp.minimum(begin, schedule.counts.T[:, None])  # [E, M + 1, S]
    counts = jnp.diff(begin, axis=1)  # [E, M, S]
    first = (jnp.cumsum(counts) - counts.ravel()).reshape(shape)  # [E, M, S]

    def of_group(group: Array, expert: Array, trained: Array) -> tuple[Array, Array]:
        """Sort a group's samples by expert, then at random. Give their places."""
        bits = experts.bit_length()
        drawn = jax.random.bits(jax.random.fold_in(key, numbers[group]), (size,), jnp.uint32)  # [N]
        expert = jnp.where(trained, expert, experts)
        # One sort does both: the expert in the upper bits, the drawn number in the lower ones.
        order = jnp.argsort(expert.astype(jnp.uint32) << (32 - bits) | drawn >> bits)  # [N]
        expert, count = expert[order], schedule.counts[group]  # [N], [E]
        rank = jnp.arange(size) - (jnp.cumsum(count) - count)[expert]  # [N], among the samples of its expert
        # The inverse of begin: the last minibatch that begins at or before this rank.
        batch = ((rank + 1) * batches - offset[group] - 1) // jnp.maximum(count, 1)[expert]  # [N]
        place = first[expert, batch, group] + rank - begin[expert, batch, group]  # [N]
        return group * size + order, jnp.where(expert < experts, place, nothing.size)

    # A whole block is read at the last place too, so there is room for one.
    nothing = jnp.zeros(seen * size + schedule.block, jnp.int32)
    slices = slices_here(first, counts, schedule.placement, groups)
    turns = slices.stepped.sum(axis=1)  # [E]
    index, place = jax.vmap(of_group)(jnp.arange(seen), expert, trained)  # [S, N] each
    return DeviceShare(
        picked=nothing.at[place.ravel()].set(index.ravel().astype(jnp.int32), mode="drop"),
        first=slices.first,
        amount=slices.amount,
        batches=jnp.argsort(~slices.stepped, axis=1, stable=True),
        turns=turns,
        numbers=jnp.argsort(turns == 0, stable=True),
        steps=(turns > 0).sum(),
    )
