"""Expert parallelism: experts stepped apart, each on one device.

*Together*, each device adds its groups' part of every expert's gradient: all devices move all experts' parameters and
moments through their memory and wait for each other at every step. *Apart*, an expert is stepped on the device of the
group that owns it: devices exchange experts once, on a ring, at the end of the update, but unequal experts leave a
device idle. Which takes less is worked out anew for each update. A run that trains one expert is never stepped apart.

Groups, not devices, decide everything here, so that the result does not depend on the number of devices.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Int

from flowrl.models.experts import Params
from flowrl.rollout.devices import AXIS, Groups, TreeT
from flowrl.training.optimizer import Experts, one_of, with_one

STEP_COST = 100
"""What an expert's step takes besides its samples, as a number of samples: 60 on two cores, and waiting."""


class Placement(NamedTuple):
    """Where experts are stepped.

    Attributes:
        owner: [E] the group that an expert belongs to.
        apart: whether only the owner's device steps an expert.
    """

    owner: Int[Array, "E"]
    apart: Bool[Array, ""]


def may_be_apart(groups: Groups, experts: int) -> bool:
    """Whether experts can be stepped apart. Every device then needs all groups' samples."""
    return groups.count > 1 and experts > 1


def step_cost(batches: Int[Array, ""], amounts: Int[Array, "E"]) -> Int[Array, "E"]:
    """Cost of each expert's steps, at most one a sample."""
    return STEP_COST * jnp.minimum(batches, amounts)


# Example, E = 3 experts with amounts [60, 30, 40] on 2 groups, each expert's steps as costly as 100 samples:
#     work  = [160, 130, 140]   largest first: 0, 2, 1
#     owner = [0, 1, 1]         0 to group 0 (load 160), 2 to group 1 (140), 1 to group 1 (270)
#     apart takes 270 on the busiest device; together (130 + 2 * 300) / 2 = 365: the experts are stepped apart.
def place_experts(amounts: Int[Array, "E"], cost: Int[Array, "E"], groups: int) -> Placement:
    """Assign experts to groups, and decide whether to step them apart.

    The largest first, each to the group with the least to do (Graham 1969, "Bounds on multiprocessing timing
    anomalies").

    Args:
        amounts: samples of each expert in all groups.
        cost: what each expert's steps take besides its samples, as a number of samples.
    """
    work = jnp.where(amounts > 0, amounts + cost, 0)  # [E]
    largest_first = jnp.argsort(-work)  # [E]

    def assign(i: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        owner, load = found  # [E], [groups]
        expert, group = largest_first[i], jnp.argmin(load)
        return owner.at[expert].set(group), load.at[group].add(work[expert])

    nothing = jnp.zeros(amounts.shape, jnp.int32), jnp.zeros(groups, work.dtype)
    owner, load = jax.lax.fori_loop(0, amounts.shape[0], assign, nothing)
    # Together, every group pays for every expert's steps.
    together = amounts.sum() + groups * jnp.where(amounts > 0, cost, 0).sum()
    return Placement(owner, load.max() * groups < together)


class StepSlices(NamedTuple):
    """Samples that each step of an expert takes on this device.

    Attributes:
        first: where a slice begins.
        amount: how many samples it holds.
        stepped: whether this device makes the step.
    """

    first: Int[Array, "E M G"]
    amount: Int[Array, "E M G"]
    stepped: Bool[Array, "E M"]


def slices_here(
    first: Int[Array, "E M S"], counts: Int[Array, "E M S"], placement: Placement, groups: Groups
) -> StepSlices:
    """Choose the slices of this device.

    Together, those of its own groups. Apart, those of its own experts, each over all groups' samples, which lie side by
    side.
    """
    seen_all = counts.shape[2] == groups.count
    here = groups.numbers() if seen_all else jnp.arange(counts.shape[2])  # [G]
    owned = (placement.owner[:, None] == groups.numbers())[:, None]  # [E, 1, G]
    whole = counts.sum(axis=2)  # [E, M]
    amount = jnp.where(placement.apart, jnp.where(owned, whole[..., None], 0), counts[..., here])  # [E, M, G]
    anywhere = whole if seen_all else groups.over_devices(whole)  # [E, M]
    stepped = jnp.where(placement.apart, amount.sum(axis=2), anywhere) > 0  # [E, M]
    return StepSlices(jnp.where(placement.apart, first[..., :1], first[..., here]), amount, stepped)


def sum_if_together(gradient: Params, placement: Placement, groups: Groups) -> Params:
    """Sum the gradient over devices, except where experts are stepped apart."""
    if len(groups.devices) == 1:
        return gradient
    # The loop also keeps the norm from being summed along with the gradients, in another order than on one device.
    return _apply_if(~placement.apart, groups.over_devices, gradient)


# Example, 3 devices that own experts {0, 3}, {1}, {2}: 2 turns of 2 shifts.
#     turn 0: 0, 1, 2 start; after one shift the devices hold 2, 0, 1, after two 1, 2, 0: each has seen all three.
#     turn 1: only device 0 has an expert left, 3; what the others pass on is ignored (i >= counts[giver]).
def exchange(everyone: Experts, amounts: Int[Array, "E"], placement: Placement, groups: Groups) -> Experts:
    """Give every device each expert as its owner has it."""
    devices = len(groups.devices)
    if devices == 1 or not may_be_apart(groups, placement.owner.shape[0]):
        return everyone
    owned = (placement.owner // groups.here == jnp.arange(devices)[:, None]) & (amounts > 0)  # [devices, E]
    numbers, counts = jnp.argsort(~owned, axis=1, stable=True), owned.sum(axis=1)  # [devices, E], [devices]
    here = jax.lax.axis_index(AXIS)

    def turn(i: Array, everyone: Experts) -> Experts:
        """Send the i-th expert of each device round all devices."""
        own, rebuild = ravel_pytree(one_of(everyone, numbers[here, i]))

        def shift(steps: Array, carry: tuple[Experts, Array]) -> tuple[Experts, Array]:
            everyone, passed = carry
            passed = groups.ring_shift(passed)
            giver = (here - steps - 1) % devices
            one, number = rebuild(passed), numbers[giver, i]
            return _apply_if(i < counts[giver], lambda all_of: with_one(all_of, one, number), everyone), passed

        taken, _ = jax.lax.fori_loop(0, devices - 1, shift, (everyone, own))
        return taken

    after: Experts = jax.lax.fori_loop(0, jnp.where(placement.apart, counts.max(), 0), turn, everyone)
    return after


def _apply_if(wanted: Array, function: Callable[[TreeT], TreeT], tree: TreeT) -> TreeT:
    """Apply a function where it is wanted. A loop of one turn or none, because `lax.cond` would copy the tree."""
    made: TreeT = jax.lax.fori_loop(0, wanted.astype(int), lambda _, own: function(own), tree)
    return made
