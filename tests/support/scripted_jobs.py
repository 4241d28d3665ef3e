"""A controller whose workers do what a script says."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.tables.library import ENV, small_config
from flowrl.files import write_text
from flowrl.growing.controller import Controller, GrowLimits
from flowrl.growing.proposers import KnowledgeProposer
from flowrl.growing.run_setup import SkillSetUp
from flowrl.jobs.job import Job, JobEnd
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from tests.support.runs import Watcher

Deed = Callable[[Job], int | None]


class Scripted:
    """An executor whose workers do what a script says at once; one without a deed left stays under way."""

    def __init__(self, deeds: dict[str, list[Deed]]):
        self.deeds = deeds
        self.under_way: dict[str, Job] = {}
        self.submitted: list[str] = []
        self.killed: list[str] = []
        self.ended: list[JobEnd] = []

    def submit(self, job: Job) -> None:
        self.submitted.append(job.name)
        self.under_way[job.name] = job
        write_text(job.heartbeat, f"1 {len(self.submitted)}")
        deeds = self.deeds.get(job.name, [])
        if deeds:
            self.end(job, deeds.pop(0)(job))

    def end(self, job: Job, code: int | None) -> None:
        del self.under_way[job.name]
        self.ended.append(JobEnd(job, code))

    def wait(self, seconds: float) -> Sequence[JobEnd]:
        if not self.ended:
            time.sleep(min(seconds, 0.02))
        ends, self.ended = self.ended, []
        return ends

    def cancel(self, job: Job, kill: bool = False) -> None:
        if kill:
            self.killed.append(job.name)
        if job.name in self.under_way:
            self.end(job, -9 if kill else 3)

    def is_under_way(self, job: Job) -> bool:
        return job.name in self.under_way

    def is_waiting(self, job: Job) -> bool:
        return False

    def close(self) -> None:
        pass


def controller_of(
    library: SkillLibrary, executor: Scripted, watcher: Watcher | None = None, goal: str | None = None, **limits: Any
) -> Controller:
    base = load_base(ENV)
    set_up = SkillSetUp(base, library, small_config())
    proposer = KnowledgeProposer(base, library, goal)
    return Controller(library, proposer, set_up, executor, watcher or Watcher(), GrowLimits(**limits))
