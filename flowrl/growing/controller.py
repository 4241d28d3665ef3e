"""The process that owns a home. Executes the scheduler's actions and feeds their results back as events."""

import contextlib
import functools
import logging
import os
import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from flowrl.errors import FlowRLError, TrainingError
from flowrl.files import read_json, write_json
from flowrl.growing.background import BackgroundCall
from flowrl.growing.merging import comparison
from flowrl.growing.observer import Observer
from flowrl.growing.proposers import Proposer
from flowrl.growing.reward_trials import collect_trial
from flowrl.jobs.job import Executor, Job, JobEnd
from flowrl.jobs.watched import Watched
from flowrl.library.home import SkillLibrary
from flowrl.library.trust import require_ours
from flowrl.library.versions import mend, respecify
from flowrl.parallel.controller_files import Snapshot, take_requests
from flowrl.parallel.run_folder import FinishedRun
from flowrl.parallel.scheduler import (
    CancelRequested,
    Collect,
    Ended,
    Event,
    Finish,
    GiveUp,
    Launch,
    Lost,
    Proposal,
    Propose,
    Respecify,
    RetryRequested,
    RunOutcome,
    ScheduledRun,
    SchedulerAction,
    State,
    Stop,
    Trained,
    next_actions,
)
from flowrl.parallel.training_processor import process_completed_training
from flowrl.paths import RunPaths
from flowrl.schema.run import RunSpec, TrainResult

logger = logging.getLogger(__name__)
TICK_SECONDS = 0.25
STOP_SECONDS = 40.0
"""How long to wait for stopped workers; one on another machine may not get the signal."""


@dataclass(frozen=True)
class GrowLimits:
    """Limits on parallel runs, skills and worker failures.

    Attributes:
        jobs: maximum number of runs at once.
        count: learned skills wanted; None: as many as are proposed.
        losses: workers lost in a row without progress after which a run is given up.
        hang_seconds: a worker without a heartbeat for this long is killed.
    """

    jobs: int = 1
    count: int | None = None
    losses: int = 3
    hang_seconds: float = 1800.0


class Controller:
    """Grows a library with proposed skills, several runs at once.

    Args:
        library: a home locked by this process.
        set_up_fn: sets up or resumes the run of a proposal, given its expert's number.
        again: skills to be tried again although they ended unlearned.
        adopt: skills whose workers, if left by an earlier process, are watched further; None: all.
        messages: remarks of the proposer from its own thread.
    """

    def __init__(
        self,
        library: SkillLibrary,
        proposer: Proposer,
        set_up_fn: Callable[[Proposal, int], RunPaths],
        executor: Executor,
        observer: Observer,
        limits: GrowLimits,
        again: frozenset[str] = frozenset(),
        adopt: frozenset[str] | None = None,
        messages: "queue.SimpleQueue[str] | None" = None,
    ):
        self.library, self.proposer, self.set_up_fn = library, proposer, set_up_fn
        self.executor, self.observer, self.limits = executor, observer, limits
        self.failures: dict[str, FlowRLError] = {}
        self.events: deque[Event] = deque()
        self.watched: dict[str, Watched] = {}
        self.finish: Finish | None = None
        self.call: BackgroundCall | None = None
        self.state = State(jobs=limits.jobs, count=limits.count, max_losses=limits.losses)
        self.again, self.adopt, self.messages = again, adopt, messages

    def run(self) -> Finish:
        """Grow until the scheduler finishes, then stop runs in progress. A later call resumes them."""
        try:
            self._begin()
            self._advance(None)
            while self.finish is None:
                while self.events and self.finish is None:
                    self._advance(self.events.popleft())
                for end in self.executor.wait(0 if self.events or self.finish else TICK_SECONDS):
                    self._on_end(end)
                self._look_around()
        finally:
            self.proposer.stop()
            self._stop_all()
        return self.finish

    def _begin(self) -> None:
        """Restore the state from the library and earlier runs."""
        for name in mend(self.library):
            self.observer.note(f"{name}: an incomplete update of the library was undone.")
        records = self.library.named()
        learned = {name for name, record in records.items() if record.status == "learned"} - self.again
        ended: dict[str, RunOutcome] = {n: "weak" for n, record in records.items() if record.status == "weak"}
        running: dict[str, ScheduledRun] = {}
        for paths, spec in self.library.runs():
            job = Job(paths.folder, spec.skill)
            if paths.result.exists():
                outcome = read_json(paths.result, TrainResult).outcome
                if outcome == "done" and not paths.processed.exists():
                    running[spec.skill] = ScheduledRun(_proposal_of(spec), spec.expert, "trained")
                    self.watched[spec.skill] = Watched(job, paths)
                elif outcome == "failed" or outcome == "cancelled":
                    ended.setdefault(spec.skill, outcome)
            elif (self.adopt is None or spec.skill in self.adopt) and self._resume_watching(spec, paths, job):
                running[spec.skill] = ScheduledRun(_proposal_of(spec), spec.expert)
            elif spec.skill in self.failures:
                ended.setdefault(spec.skill, "failed")
        self.state = replace(
            self.state,
            learned=frozenset(learned),
            ended={name: outcome for name, outcome in ended.items() if name not in self.again},
            running=running,
            experts=self.library.taken_experts(),
        )

    def _resume_watching(self, spec: RunSpec, paths: RunPaths, job: Job) -> bool:
        """Resume watching a run left by an earlier process. False if it is not running or is not ours."""
        try:
            if not self.executor.is_under_way(job):
                return False
            require_ours(paths, spec)  # a lost worker would be restarted
            self._submit(spec, paths, job)
        except FlowRLError as error:
            self.failures[spec.skill] = error
            self.observer.failed(spec.skill, str(error))
            return False
        return True

    def _advance(self, event: Event | None) -> None:
        self.state, actions = next_actions(self.state, event)
        for action in actions:
            self._do(action)
        self._write_snapshot()

    def _do(self, action: SchedulerAction) -> None:
        match action:
            case Propose():
                self._ask()
            case Respecify(name, spec):
                respecify(self.library, name, spec)
            case Launch(proposal, expert):
                self._launch(proposal, expert)
            case Collect(name):
                self._collect(name)
            case Stop(name):
                self.executor.cancel(self.watched[name].job)
            case GiveUp(name):
                self._give_up(name)
            case Finish():
                self.finish = action

    def _ask(self) -> None:
        """Call the proposer. A slow one runs in the background and does not block training."""
        propose_fn = functools.partial(self.proposer.propose, self.state.learned_or_pending, dict(self.state.ended))
        if self.proposer.in_background:
            self.call = BackgroundCall(propose_fn)
        else:
            self.events.append(propose_fn())

    def _launch(self, proposal: Proposal, expert: int) -> None:
        try:
            paths = self.set_up_fn(proposal, expert)
            self._submit(read_json(paths.config, RunSpec), paths, Job(paths.folder, proposal.name))
        except FlowRLError as error:
            run = self.library.paths.run(expert, proposal.name)
            self._fail(proposal.name, error, trained=run.has_trained)

    def _submit(self, spec: RunSpec, paths: RunPaths, job: Job) -> None:
        before = self.watched.get(spec.skill)
        if before is None:
            self.observer.started(spec, paths)
        self.watched[spec.skill] = Watched(job, paths, before.reader if before else None)
        self.executor.submit(job)

    def _fail(self, name: str, error: FlowRLError, trained: bool) -> None:
        self.failures[name] = error
        self.observer.failed(name, str(error))
        self._end(name, "failed", trained)

    def _end(self, name: str, outcome: RunOutcome, trained: bool = True) -> None:
        self.watched.pop(name, None)
        # A skill of the library keeps its number even if this run failed.
        self.events.append(Ended(name, outcome, trained or name in self.library.named()))

    def _on_end(self, end: JobEnd) -> None:
        """Handle the end of a process: a run's worker or a comparison."""
        watched = self.watched.get(end.job.name)
        if watched is None:
            return
        self._read_rows(end.job.name, watched)
        run = self.state.running[end.job.name]
        if run.phase == "collecting":
            self._collect(end.job.name, end)
        elif watched.job.is_answered:
            self.events.append(Trained(end.job.name))
        elif run.stopping:
            write_json(watched.paths.result, TrainResult(outcome="cancelled", error="cancelled on request"))
            self._end(end.job.name, "cancelled", watched.paths.has_trained)
        else:
            logger.warning("%s", end.why())
            watched.last_end = end
            self.events.append(Lost(end.job.name, watched.progressed))

    def _give_up(self, name: str) -> None:
        watched = self.watched[name]
        error = watched.last_end.why() if watched.last_end else f"The worker of {watched.paths.folder} disappeared."
        with contextlib.suppress(FlowRLError):  # on a full disk the error is at least shown
            write_json(watched.paths.result, TrainResult(outcome="failed", error=error))
        self._fail(name, TrainingError(error), watched.paths.has_trained)

    def _collect(self, name: str, end: JobEnd | None = None) -> None:
        """Install a run's result, after a comparison if needed."""
        watched = self.watched[name]
        try:
            run = FinishedRun.load(watched.paths)
            if self.state.running[name].proposal.trial:
                collect_trial(self.library, run)
                self._end(name, "weak", trained=False)
                return
            job = comparison(self.library, run, failed=end)
            if job is not None:
                self.observer.note(f"{name}: comparing its experts with the library's on common worlds.")
                self.watched[name] = Watched(job, watched.paths, watched.reader)
                self.executor.submit(job)
                return
            record = process_completed_training(run, self.library)
        except FlowRLError as error:
            self._fail(name, error, watched.paths.has_trained)
            return
        self.observer.finished(record)
        self._end(name, record.status)

    def _look_around(self) -> None:
        """Handle new metrics, user requests and proposer messages. Kill hanging workers."""
        while self.messages is not None and not self.messages.empty():
            self.observer.note(self.messages.get())
        if self.call is not None and (answer := self.call.answer()) is not None:
            self.call = None
            self.events.append(answer)
        if self.adopt is None:
            for request in take_requests(self.library.paths):
                self.events.append((CancelRequested if request.what == "cancel" else RetryRequested)(request.skill))
        for name, watched in list(self.watched.items()):
            self._read_rows(name, watched)
            if watched.silent_for() > self.limits.hang_seconds and not self.executor.is_waiting(watched.job):
                self.observer.note(
                    f"{name}: no heartbeat from its worker for {self.limits.hang_seconds:.0f} s, so it was killed. "
                    f"Its log ends:\n{watched.job.last_words()}"
                )
                watched.seen_alive()
                self.executor.cancel(watched.job, kill=True)

    def _read_rows(self, name: str, watched: Watched) -> None:
        for row in watched.reader.new_rows():
            self.observer.row(name, row)

    def _write_snapshot(self) -> None:
        state = self.state
        write_json(
            self.library.paths.state,
            Snapshot(
                pid=os.getpid(),
                updated=time.time(),
                jobs=state.jobs,
                count=state.count,
                learned=tuple(sorted(state.learned)),
                running={name: run.phase for name, run in state.running.items()},
                queue={p.name: tuple(sorted(p.needs)) for p in state.queue},
                ended=dict(state.ended),
                reasons={name: str(error) for name, error in self.failures.items()},
                finished=state.finished,
            ),
        )

    def _stop_all(self) -> None:
        """Stop all workers. Each saves a checkpoint that the same command resumes from."""
        under_way = {name for name, w in self.watched.items() if self.executor.is_under_way(w.job)}
        for name in under_way:
            self.executor.cancel(self.watched[name].job)
        deadline = time.monotonic() + STOP_SECONDS
        while under_way and time.monotonic() < deadline:
            under_way -= {end.job.name for end in self.executor.wait(TICK_SECONDS)}
        self.executor.close()


def _proposal_of(spec: RunSpec) -> Proposal:
    """The proposal behind a run. Experts that a module brings along are not dependencies."""
    if spec.chain:
        return Proposal(spec.skill, chain=True)
    brought = {spec.local_to_global[local] for local in spec.random}
    steps = [step for step in spec.plan.steps if step.expert not in brought]
    needs = frozenset(step.skill for step in steps if step.skill != spec.skill)
    return Proposal(spec.skill, needs, spec.expert if spec.is_module else None, spec.trial)
