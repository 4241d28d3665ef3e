"""Warm starts: an expert begins as a copy of one that has learned to seek.

What a task that looks for coal learns of walking, digging and fighting serves one that looks for diamonds, which
few episodes reach. In a layout with the offset to what a task seeks, even the way there is known.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import jax
from jaxtyping import Array

from flowrl.stats import Share
from flowrl.training.state import TrainState

EPISODES = 100
"""Episodes that must have reached a task before its expert is copied."""


class Copy(NamedTuple):
    """A copy to be made.

    Attributes:
        task: the task whose expert begins anew.
        to, of: local experts.
    """

    task: int
    to: int
    of: int


def next_copy(
    seeks: Sequence[int],
    gathers: Sequence[bool],
    experts: Sequence[int],
    shares: Sequence[Share],
    random: Collection[int],
    done: Collection[int],
    copy_at: float,
) -> Copy | None:
    """The next expert that is to begin as a copy, if any.

    An expert that seeks is copied from that of the last task before it that gathers something else, once that one
    succeeds often enough, unless its own succeeds half as often already.

    Args:
        seeks: what each task looks for; negative for nothing.
        gathers: whether it takes what it finds; to come near is less, and no ground to begin from.
        experts: the local expert of each task.
        shares: of the episodes that reached each task, those that finished it.
        random: local experts that began random.
        done: tasks whose experts were copied, or did without, already.
        copy_at: success of the expert that is copied; 0: none ever is.
    """
    for task, target in enumerate(seeks if copy_at else ()):
        to = experts[task]
        before = [i for i in range(task) if gathers[i] and seeks[i] >= 0 and seeks[i] != target and experts[i] != to]
        if target < 0 or not before or to not in random or to in {experts[i] for i in done}:
            continue
        source, own = shares[before[-1]], shares[task].value or 0.0
        if source.total >= EPISODES and (source.value or 0.0) >= copy_at and own < copy_at / 2:
            return Copy(task, to, experts[before[-1]])
    return None


def with_copy(state: TrainState, trained: Sequence[int], copy: Copy) -> TrainState:
    """Copy an expert, its moments and its count of steps included."""

    def put(leaves: object, to: int, of: int) -> object:
        def one(leaf: Array) -> Array:
            return leaf.at[to].set(leaf[of])

        return jax.tree.map(one, leaves)

    learner = trained.index(copy.to), trained.index(copy.of)
    return state._replace(params=put(state.params, copy.to, copy.of), optimizer=put(state.optimizer, *learner))
