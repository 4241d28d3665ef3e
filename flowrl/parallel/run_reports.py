"""Read-only status of a home's runs. Also cancels and retries runs."""

import contextlib
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import psutil
from filelock import Timeout

from flowrl.errors import LibraryError, UsageError, nearest_names
from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths
from flowrl.files import lock_of, read_json, write_json
from flowrl.jobs.job import Job
from flowrl.jobs.local import GRACE_SECONDS, is_locked, worker_process
from flowrl.jobs.watched import MetricsReader
from flowrl.library.home import OnDamaged, SkillLibrary, ended_untrained
from flowrl.parallel.controller_files import Snapshot
from flowrl.parallel.run_folder import put_aside
from flowrl.paths import RunPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.metrics import PlayedRow, UpdateRow
from flowrl.schema.plan import Plan
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.stats import Share


@dataclass(frozen=True)
class TaskReport:
    """One task of a run's plan in its newest update.

    Attributes:
        finished: of the newest complete episodes that reached it.
        steps: made in it, in all worlds.
        deaths: in it, by cause.
    """

    skill: str
    finished: Share
    steps: int
    deaths: dict[str, int]


@dataclass(frozen=True)
class RunReport:
    """The status of a training run.

    Attributes:
        state: "running", "interrupted" (the next `grow` resumes it), "trained" (not in the library yet), "learned",
            "weak", "failed" or "cancelled".
        budget: frames after which it gives up.
        success, step_success: of its own episodes so far, or as finally measured; None if unknown.
        seconds: of training and measuring, over all sittings.
        seconds_left: to the end of the budget at the present speed; None if unknown or over.
        chain: all skills of its plan learn in it.
        tasks: where its newest episodes end.
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
    seconds_left: float | None = None
    chain: bool = False
    tasks: tuple[TaskReport, ...] = ()

    @property
    def deaths_per_1000_steps(self) -> float | None:
        """Deaths in 1,000 steps of the newest update. None if unknown."""
        steps = sum(task.steps for task in self.tasks)
        return 1000 * sum(sum(task.deaths.values()) for task in self.tasks) / steps if steps else None

    def row(self) -> dict[str, Any]:
        """The report as JSON."""
        shares = share_fields("success", self.success) | share_fields("step_success", self.step_success)
        tasks = [asdict(task) | share_fields("finished", task.finished) for task in self.tasks]
        deaths = {"deaths_per_1000_steps": self.deaths_per_1000_steps}
        return asdict(self) | shares | deaths | {"tasks": tasks}


def share_fields(name: str, share: Share | None) -> dict[str, float | None]:
    """A share with interval as three JSON fields. None where nothing was counted."""
    value, low, high = (share.value, share.low, share.high) if share is not None and share.total else (None,) * 3
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def report_on(paths: RunPaths, spec: RunSpec) -> RunReport:
    """The status of a run from its files."""
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
    elif is_locked(Job(paths.folder, spec.skill)):
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
        needs=needs_of(spec.plan, spec.skill),
        folder=str(paths.folder),
        seconds_left=_seconds_left(last, spec) if state == "running" else None,
        chain=spec.chain,
        tasks=_tasks(last, spec),
    )


def _seconds_left(last: UpdateRow | None, spec: RunSpec) -> float | None:
    return None if last is None or not last.fps else max(0, spec.config.ppo.frames - last.frames) / last.fps


def _tasks(last: UpdateRow | None, spec: RunSpec) -> tuple[TaskReport, ...]:
    """How each task of the plan went. Nothing where an earlier flowrl noted no deaths."""
    if last is None or len(last.deaths) != len(spec.tasks):
        return ()
    rows = zip(spec.tasks, last.finished, last.task_steps, last.deaths, strict=True)
    return tuple(TaskReport(task.skill, finished, steps, deaths) for task, finished, steps, deaths in rows)


def frames_played(library: SkillLibrary) -> dict[str, int]:
    """Every frame that a home's runs have played, by purpose.

    "train", "gate", "starts" (looking for states that episodes begin at), "merge"; "candidates" for runs that only
    tried a reward, "failed" for runs that failed or were cancelled. Runs that were put aside count too, damaged ones as
    trained. What was played again after a kill counts once.
    """
    totals: Counter[str] = Counter()
    for folder in sorted(library.paths.runs.glob("skill_*")):
        paths, purpose, merged = RunPaths(folder, -1), "train", 0
        merge = ComparisonPaths.of(paths).result
        with contextlib.suppress(LibraryError):
            purpose = _purpose_of(paths)
            merged = read_json(merge, ComparisonAnswer).frames if merge.exists() else 0
        rows = MetricsReader(paths.metrics).new_rows()
        totals[purpose] += max((row.frames for row in rows if isinstance(row, UpdateRow)), default=0)
        totals["merge"] += merged
        for row in rows:
            if isinstance(row, PlayedRow):
                totals[row.purpose] += row.played
    return {purpose: frames for purpose, frames in totals.most_common() if frames}


def _purpose_of(run: RunPaths) -> str:
    outcome = read_json(run.result, TrainResult).outcome if run.result.exists() else "done"
    if outcome != "done":
        return "failed"
    return "candidates" if read_json(run.config, RunSpec).trial else "train"


def needs_of(plan: Plan, skill: str) -> tuple[str, ...]:
    """The other skills of a skill's plan in order."""
    return tuple(dict.fromkeys(step.skill for step in plan.steps if step.skill != skill))


def reports(library: SkillLibrary, on_damaged: OnDamaged | None = None) -> list[RunReport]:
    """The status of a home's runs by expert. `on_damaged` gets those that cannot be read."""
    return [report_on(paths, spec) for paths, spec in library.runs(on_damaged)]


def run_of(library: SkillLibrary, skill: str) -> tuple[RunPaths, RunSpec]:
    """The run of a skill, ignoring case.

    Raises:
        UsageError: there is none.
    """
    runs = {spec.skill: (paths, spec) for paths, spec in library.runs()}
    folded = {name.casefold(): run for name, run in runs.items()}
    if skill.casefold() not in folded:
        raise UsageError(
            f"No run of a skill {skill!r} among the {len(runs)} in {library.paths.runs}. {nearest_names(skill, runs)}"
        )
    return folded[skill.casefold()]


def is_grown(library: SkillLibrary) -> bool:
    """Whether a process grows the home right now."""
    try:
        with lock_of(library.paths.lock, timeout=0):
            return False
    except Timeout:
        return True


def snapshot_of(library: SkillLibrary) -> Snapshot | None:
    """The last snapshot of the growing process. None if there is none."""
    if not library.paths.state.exists():
        return None
    return read_json(library.paths.state, Snapshot)


def cancel_run(library: SkillLibrary, skill: str) -> None:
    """Stop a run of a home that is not growing. It is marked as cancelled; its checkpoints stay.

    Raises:
        UsageError: there is no such run, or it has ended.
        LibraryError: its worker is not on this machine.
    """
    paths, spec = run_of(library, skill)
    if paths.result.exists():
        raise UsageError(f"The run of {spec.skill} has ended: {report_on(paths, spec).state}.")
    job = Job(paths.folder, spec.skill)
    if is_locked(job):
        worker = worker_process(job)
        if worker is None:
            raise LibraryError(f"The worker of {paths.folder} is not on this machine or has not started yet.")
        worker.terminate()
        try:
            worker.wait(GRACE_SECONDS)
        except psutil.TimeoutExpired:
            worker.kill()
            worker.wait()
    if not paths.result.exists():
        write_json(paths.result, TrainResult(outcome="cancelled", error="cancelled on request"))


def retry_run(library: SkillLibrary, skill: str) -> None:
    """Let the next `grow` resume a failed or cancelled run.

    Raises:
        UsageError: there is no such run, or it neither failed nor was cancelled.
    """
    paths, spec = run_of(library, skill)
    state = report_on(paths, spec).state
    if state not in ("failed", "cancelled"):
        again = f" To continue: {library.command('train', spec.skill)}" if state == "weak" else ""
        raise UsageError(f"The run of {spec.skill} is {state}; only a failed or cancelled run can be retried.{again}")
    if ended_untrained(paths):
        put_aside(paths.folder)  # its number may belong to another skill by now
    else:
        paths.result.unlink()


@dataclass(frozen=True)
class HomeStatus:
    """A home at a glance.

    Attributes:
        owner: the process that grows it, if any.
        waiting: queued skills and what they need.
        frames: played in all, by purpose.
    """

    home: str
    env: str
    owner: int | None
    jobs: int
    records: tuple[SkillRecord, ...]
    runs: tuple[RunReport, ...]
    waiting: dict[str, tuple[str, ...]]
    frames: dict[str, int]

    def row(self) -> dict[str, Any]:
        """The status as JSON."""
        home = {"home": self.home, "env": self.env, "owner": self.owner, "jobs": self.jobs}
        names = {which: [r.name for r in self.records if r.status == which] for which in ("learned", "weak")}
        runs = [report.row() for report in self.runs]
        return {**home, **names, "waiting": self.waiting, "frames": self.frames, "runs": runs}


def status_of(library: SkillLibrary, on_damaged: OnDamaged | None = None) -> HomeStatus:
    """The status of a home. `on_damaged` gets records and runs that cannot be read."""
    snapshot = snapshot_of(library) if is_grown(library) else None
    return HomeStatus(
        home=str(library.paths.root),
        env=library.description.env,
        owner=snapshot.pid if snapshot else None,
        jobs=snapshot.jobs if snapshot else 0,
        records=tuple(library.records(on_damaged)),
        runs=tuple(reports(library, on_damaged)),
        waiting=snapshot.queue if snapshot else {},
        frames=frames_played(library),
    )
