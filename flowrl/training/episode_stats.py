"""Success of a run, from its own finished episodes. Counting the episodes that *end* in some window would favour the
quick ones, and the quick ones are the successes. So episodes are counted by the update in which they began, each to its
end, and one still under way counts as a failure. Episodes that began at a snapshot are not counted: success is that
from new worlds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, Field

from flowrl.config import GateConfig
from flowrl.env.flow_env import StepResult
from flowrl.schema.frozen import Frozen
from flowrl.stats import Share

_SETTLED = 0.95
_COUNTED = ("started", "success", "task", "died", "timeout", "cause")


class Cohort(BaseModel):
    """The episodes that began in one update.

    Attributes:
        reached: of those that ended, how many reached the last task.
        failed_in: how many failed, by the task in which they did.
    """

    started: int = 0
    ended: int = 0
    succeeded: int = 0
    reached: int = 0
    failed_in: dict[int, int] = Field(default_factory=dict)
    causes: dict[str, int] = Field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Whether nearly all have ended, so the rest may count as failures."""
        return self.ended >= _SETTLED * self.started


class TrainingSuccess(Frozen):
    """Success of the newest settled cohorts.

    Attributes:
        success: episodes that finished the plan, of all that began.
        step_success: episodes that finished the last task, of those that reached it or are still under way.
        causes: how the failed ones ended, by name.
        failed_in: how many failed in each task.
    """

    success: Share
    step_success: Share
    causes: dict[str, int]
    failed_in: dict[int, int] = Field(default_factory=dict)

    def deciding(self, config: GateConfig) -> Share:
        """The success that decides whether the skill is learned."""
        return self.success if config.on == "plan" else self.step_success

    def per_task(self, tasks: int) -> list[Share]:
        """Of the episodes that began each task and are not under way, how many finished it."""
        shares, reached = [], self.success.successes + sum(self.failed_in.values())
        for task in range(tasks):
            finished = reached - self.failed_in.get(task, 0)
            shares.append(Share(successes=finished, total=reached))
            reached = finished
        return shares


class Progress(BaseModel):
    """The cohorts of a run and its milestones. Saved with every checkpoint.

    Attributes:
        cohorts: by the update in which their episodes began.
        best: the best lower bound so far of the success that decides.
        gates: gates asked for so far.
        seconds: wall time of the sittings before this one.
        frames: frames played so far.
        settled: tasks whose experts began as copies, or learned without (see `warm_start`).
    """

    cohorts: dict[int, Cohort] = Field(default_factory=dict)
    best: float = -1.0
    gates: int = 0
    next_gate_update: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    frames: int = 0
    settled: set[int] = Field(default_factory=set)

    def begin(self, worlds: int) -> None:
        """Count the episodes that start with the run."""
        self.cohorts[0] = Cohort(started=worlds)

    def count(
        self,
        results: StepResult,
        update: int,
        causes: Sequence[str],
        last_task: int,
        from_snapshot: np.ndarray | None = None,
    ) -> None:
        """Add the episodes that ended in ``update``.

        Args:
            from_snapshot: [B] whether the episodes under way after the update began at snapshots; None: none did.
        """
        begun = _begun_in_new_worlds(results, from_snapshot)
        ended = np.asarray(results.ended) & ~np.asarray(results.from_snapshot)
        rows = {name: np.asarray(getattr(results, name))[ended] for name in _COUNTED}
        for began in np.unique(rows["started"]):
            of = rows["started"] == began
            cohort = self.cohorts.setdefault(int(began), Cohort())
            cohort.ended += int(of.sum())
            cohort.succeeded += int(rows["success"][of].sum())
            cohort.reached += int((rows["task"][of] == last_task).sum())
            for task in rows["task"][of & ~rows["success"]].tolist():
                cohort.failed_in[task] = cohort.failed_in.get(task, 0) + 1
            for name, number in _failures(rows, of, causes).items():
                cohort.causes[name] = cohort.causes.get(name, 0) + number
        if begun:
            self.cohorts.setdefault(update, Cohort()).started += begun

    def recent(self, episodes: int) -> TrainingSuccess:
        """Success of the newest settled cohorts. Enough of them to hold ``episodes``, or all."""
        chosen: list[Cohort] = []
        for began in sorted(self.cohorts, reverse=True):
            if self.cohorts[began].settled and sum(c.started for c in chosen) < episodes:
                chosen.append(self.cohorts[began])
        started = sum(c.started for c in chosen)
        under_way = started - sum(c.ended for c in chosen)
        succeeded = sum(c.succeeded for c in chosen)
        causes, failed_in = Counter[str](), Counter[int]()
        for cohort in chosen:
            causes.update(cohort.causes)
            failed_in.update(cohort.failed_in)
        return TrainingSuccess(
            success=Share(successes=succeeded, total=started),
            step_success=Share(successes=succeeded, total=sum(c.reached for c in chosen) + under_way),
            causes=dict(sorted(causes.items(), key=lambda item: -item[1])),
            failed_in=dict(sorted(failed_in.items())),
        )

    def forget(self, before: int) -> None:
        """Drop the settled cohorts that began before an update."""
        self.cohorts = {began: c for began, c in self.cohorts.items() if began >= before or not c.settled}


def _begun_in_new_worlds(results: StepResult, from_snapshot: np.ndarray | None) -> int:
    """Count the episodes in new worlds among those that followed ended ones."""
    ended, during = np.asarray(results.ended), np.asarray(results.from_snapshot)
    last = np.zeros(during.shape[1], bool) if from_snapshot is None else np.asarray(from_snapshot)
    following = np.concatenate([during[1:], last[None]])
    return int((ended & ~following).sum())


def _failures(rows: Mapping[str, np.ndarray], of: np.ndarray, causes: Sequence[str]) -> dict[str, int]:
    died = rows["cause"][of & rows["died"]]
    counts = {causes[i]: int((died == i).sum()) for i in np.unique(died)}
    timeouts = int((of & rows["timeout"]).sum())
    return counts | ({"timeout": timeouts} if timeouts else {})


def deaths_by_cause(results: StepResult, tasks: int, causes: Sequence[str]) -> list[dict[str, int]]:
    """Deaths in each task by cause.

    Args:
        results: of any number of steps, [T, B] each.
    """
    died = np.asarray(results.died)
    counts = np.zeros((tasks, len(causes)), int)
    np.add.at(counts, (np.asarray(results.task)[died], np.asarray(results.cause)[died]), 1)
    return [{causes[i]: n for i, n in enumerate(row) if n} for row in counts.tolist()]
