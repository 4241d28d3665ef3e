"""Warm starts: an expert begins as a copy of another.

What a task that looks for coal learns of walking, digging and fighting serves one that looks for diamonds, which
few episodes reach. In a layout with the offset to what a task seeks, even the way there is known.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
from jaxtyping import Array

from flowrl.stats import Share
from flowrl.training.state import TrainState

EPISODES = 100
"""Episodes that must have reached a task before its success says anything."""


class Copy(NamedTuple):
    """A copy to be made.

    Attributes:
        task: the task whose expert begins anew, those of interrupts after the plan's.
        to, of: local experts.
    """

    task: int
    to: int
    of: int


@dataclass(frozen=True)
class WarmStart:
    """Which experts of a run may begin as copies, and of which.

    Attributes:
        seeks: what each task looks for; negative for nothing.
        gathers: whether it takes what it finds; to come near is less, and no ground to begin from.
        experts: the local expert of each task.
        trained: local experts that learn.
        random: those of them that began random.
        copy_at: success of an expert that is copied; 0: none ever is.
        interrupts: what each skill that pre-empts the plan looks for; their tasks follow the plan's.
    """

    seeks: Sequence[int]
    gathers: Sequence[bool]
    experts: Sequence[int]
    trained: Sequence[int]
    random: Collection[int]
    copy_at: float
    interrupts: Sequence[int] = ()

    def copies(self, shares: Sequence[Share], settled: Collection[int]) -> list[Copy]:
        """Experts that are to begin as copies now.

        One that seeks is copied from that of the last task before it that gathers something else, once that one
        succeeds often enough, unless its own succeeds half as often.

        Args:
            shares: of the episodes that reached each task, those that finished it.
            settled: tasks whose experts began as copies or learned without.
        """
        found: list[Copy] = []
        for task, target in enumerate(self.seeks if self.copy_at else ()):
            to, of = self.experts[task], self._source(task)
            done = {self.experts[i] for i in (*settled, *(copy.task for copy in found))}
            if target < 0 or of is None or to not in self.random or to in done:
                continue
            source, own = shares[of], shares[task].value or 0.0
            if source.total >= EPISODES and (source.value or 0.0) >= self.copy_at and own < self.copy_at / 2:
                found.append(Copy(task, to, self.experts[of]))
        return found + self._interrupting(shares, settled)

    def _interrupting(self, shares: Sequence[Share], settled: Collection[int]) -> list[Copy]:
        """Copies for what pre-empts the plan. Once, of the expert that looks for the same."""
        found = []
        for i, target in enumerate(self.interrupts if self.copy_at else ()):
            number = len(self.seeks) + i
            to, of = self.experts[number], self.seeks.index(target) if target in self.seeks else None
            if number in settled or target < 0 or of is None or to not in self.random or to not in self.trained:
                continue
            source = shares[of]
            copied = self.experts[of] in self.trained and source.total >= EPISODES
            if copied and (source.value or 0.0) >= self.copy_at:
                found.append(Copy(number, to, self.experts[of]))
        return found

    def _source(self, task: int) -> int | None:
        """The task whose expert this one's begins from."""
        for i in reversed(range(task)):
            gathers = self.gathers[i] and self.seeks[i] >= 0 and self.seeks[i] != self.seeks[task]
            if gathers and self.experts[i] in self.trained and self.experts[i] != self.experts[task]:
                return i
        return None

    def settled(self, shares: Sequence[Share]) -> set[int]:
        """Tasks whose experts have learned enough. A few bad episodes later change nothing."""
        half = self.copy_at / 2
        return {i for i, own in enumerate(shares) if own.total >= EPISODES and (own.value or 0.0) >= half}

    def begin(self, state: TrainState, shares: Sequence[Share], settled: set[int]) -> tuple[TrainState, list[Copy]]:
        """Make the copies that are due. They, and what has learned by itself, are added to ``settled``."""
        settled |= self.settled(shares)
        due = self.copies(shares, settled)
        for copy in due:
            state = with_copy(state, self.trained, copy)
        settled |= {copy.task for copy in due}
        return state, due


def with_copy(state: TrainState, trained: Sequence[int], copy: Copy) -> TrainState:
    """Copy an expert, its moments and its count of steps included."""

    def put(leaves: object, to: int, of: int) -> object:
        def one(leaf: Array) -> Array:
            return leaf.at[to].set(leaf[of])

        return jax.tree.map(one, leaves)

    learner = trained.index(copy.to), trained.index(copy.of)
    return state._replace(params=put(state.params, copy.to, copy.of), optimizer=put(state.optimizer, *learner))
