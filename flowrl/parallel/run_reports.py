"""What there is to say of a home's runs, whoever grows it: read from files, nothing is touched."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import psutil
from filelock import Timeout

from flowrl.errors import LibraryError, UsageError, nearest_names
from flowrl.files import lock_of, read_json, write_json
from flowrl.jobs.job import Job
from flowrl.jobs.local import GRACE_SECONDS, is_locked, worker_process
from flowrl.jobs.metrics_reader import MetricsReader
from flowrl.library.home import OnDamaged, SkillLibrary, ended_untrained
from flowrl.parallel.snapshot import Snapshot
from flowrl.parallel.training_setup import put_aside
from flowrl.paths import RunPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.metrics import UpdateRow
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.stats import Share


@dataclass(frozen=True)
class RunReport:
    """A training run as people look at it.

    Attributes:
        state: "running", "interrupted" (it goes on with the next `grow`), "trained" (its result is not in the library
            yet), "learned", "weak", "failed" or "cancelled".
        frames, budget: frames played, and after which it gives up.
        success, step_success: of its own episodes so far, or as measured in the end; None where nothing is known.
        seconds: of training and measuring, all sittings together.
        error: why it failed.
    """

    skill: str
    expert: int
    state: str
    frames: int
    budget: int
    success: Share | None
    step_success: Share | None
    seconds: float
    error: str
    needs: tuple[str, ...]
    folder: str

    def row(self) -> dict[str, Any]:
        """Returns it as JSON takes it."""
        row = asdict(self)
        for name in ("success", "step_success"):
            share: Share | None = getattr(self, name)
            row |= {
                name: share and share.value,
                f"{name}_low": share and share.low,
                f"{name}_high": share and share.high,
            }
        return row


def report_on(paths: RunPaths, spec: RunSpec) -> RunReport:
    """Returns the report on a run."""
    rows = reversed(MetricsReader(paths.metrics).new_rows())
    last = next((row for row in rows if isinstance(row, UpdateRow)), None)
    success, step_success = (last.success, last.step_success) if last else (None, None)
    seconds, state, error = last.seconds if last else 0.0, "interrupted", ""
    if paths.result.exists():
        result = read_json(paths.result, TrainResult)
        error = result.error
        state = result.outcome
        if result.outcome == "done" and result.evaluation is not None:
            state = result.status if paths.processed.exists() else "trained"
            success, step_success = result.evaluation.success, result.evaluation.step_success
            seconds = result.seconds
    elif is_locked(Job(spec.skill, paths.folder)):
        state = "running"
    return RunReport(
        skill=spec.skill,
        expert=spec.expert,
        state=state,
        frames=last.frames if last else 0,
        budget=spec.config.ppo.frames,
        success=success,
        step_success=step_success,
        seconds=seconds,
        error=error,
        needs=needs_of(step.skill for step in spec.plan.steps if step.skill != spec.skill),
        folder=str(paths.folder),
    )


def needs_of(skills: Iterable[str]) -> tuple[str, ...]:
    """Returns the distinct skills in the order of their first use."""
    return tuple(dict.fromkeys(skills))


def reports(library: SkillLibrary, on_damaged: OnDamaged | None = None) -> list[RunReport]:
    """Returns the reports on all runs of a home, by expert; ``on_damaged`` is told of those that cannot be read."""
    return [report_on(paths, spec) for paths, spec in library.runs(on_damaged)]


def run_of(library: SkillLibrary, skill: str) -> tuple[RunPaths, RunSpec]:
    """Returns the run of a skill; capitals make no difference.

    Raises:
        UsageError: there is none; the nearest names are given.
    """
    runs = {spec.skill: (paths, spec) for paths, spec in library.runs()}
    folded = {name.casefold(): run for name, run in runs.items()}
    if skill.casefold() not in folded:
        raise UsageError(
            f"No run of a skill {skill!r} among the {len(runs)} in {library.paths.runs}. {nearest_names(skill, runs)}"
        )
    return folded[skill.casefold()]


def is_grown(library: SkillLibrary) -> bool:
    """Returns whether a process grows the home at this moment."""
    try:
        with lock_of(library.paths.lock, timeout=0):
            return False
    except Timeout:
        return True


def snapshot_of(library: SkillLibrary) -> Snapshot | None:
    """Returns what the process that grows a home last knew, None where it never said anything."""
    if not library.paths.state.exists():
        return None
    return read_json(library.paths.state, Snapshot)


def cancel_run(library: SkillLibrary, skill: str) -> None:
    """Stops a run that no process grows any more, and marks it as cancelled; it keeps its checkpoints.

    Raises:
        UsageError: there is no such run, or it has ended.
        LibraryError: its worker is not on this machine.
    """
    paths, spec = run_of(library, skill)
    if paths.result.exists():
        raise UsageError(f"The run of {spec.skill} has ended: {report_on(paths, spec).state}.")
    job = Job(spec.skill, paths.folder)
    if is_locked(job):
        worker = worker_process(job)
        if worker is None:
            raise LibraryError(f"The worker of {paths.folder} is not on this machine, or has not begun yet.")
        worker.terminate()
        try:
            worker.wait(GRACE_SECONDS)
        except psutil.TimeoutExpired:
            worker.kill()
            worker.wait()
    if not paths.result.exists():
        write_json(paths.result, TrainResult(outcome="cancelled", error="cancelled on request"))


def retry_run(library: SkillLibrary, skill: str) -> None:
    """Makes a run that failed or was cancelled one that goes on, from its last checkpoint, with the next `grow`.

    Raises:
        UsageError: there is no such run, or it did not end so.
    """
    paths, spec = run_of(library, skill)
    state = report_on(paths, spec).state
    if state not in ("failed", "cancelled"):
        again = f" Go on with it: {library.command('train', spec.skill)}" if state == "weak" else ""
        raise UsageError(
            f"The run of {spec.skill} is {state}; only one that failed or was cancelled is tried again.{again}"
        )
    if ended_untrained(paths):
        put_aside(paths.folder)  # its number may be another skill's by now
    else:
        paths.result.unlink()


@dataclass(frozen=True)
class HomeStatus:
    """A home at a glance.

    Attributes:
        owner: the process that grows it, None if none does.
        waiting: skills that wait for others, and for which.
    """

    home: str
    env: str
    owner: int | None
    jobs: int
    records: tuple[SkillRecord, ...]
    runs: tuple[RunReport, ...]
    waiting: dict[str, tuple[str, ...]]

    def row(self) -> dict[str, Any]:
        """Returns it as JSON takes it."""
        learned = [r.name for r in self.records if r.status == "learned"]
        weak = [r.name for r in self.records if r.status == "weak"]
        return {
            "home": self.home,
            "env": self.env,
            "owner": self.owner,
            "jobs": self.jobs,
            "learned": learned,
            "weak": weak,
            "waiting": self.waiting,
            "runs": [report.row() for report in self.runs],
        }


def status_of(library: SkillLibrary, on_damaged: OnDamaged | None = None) -> HomeStatus:
    """Returns a home at a glance; ``on_damaged`` is told of records and runs that cannot be read."""
    snapshot, grown = snapshot_of(library), is_grown(library)
    return HomeStatus(
        home=str(library.paths.root),
        env=library.description.env,
        owner=snapshot.pid if snapshot is not None and grown else None,
        jobs=snapshot.jobs if snapshot is not None and grown else 0,
        records=tuple(library.records(on_damaged)),
        runs=tuple(reports(library, on_damaged)),
        waiting=snapshot.queue if snapshot is not None and grown else {},
    )
