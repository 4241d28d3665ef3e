"""Many skills at once: what the controller costs, what a run allocates, what is lost by kills, and what is gained."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from benchmarks.tables.chaos import survive
from benchmarks.tables.library import ENV, expert_arrays, fill_library, small_config
from benchmarks.tables.measure import Row, row
from flowrl.files import read_json, write_json
from flowrl.growing.controller import Controller, GrowLimits
from flowrl.growing.merging import comparison
from flowrl.growing.run_setup import SkillSetUp
from flowrl.jobs.job import Job, JobEnd
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from flowrl.parallel.run_folder import FinishedRun
from flowrl.parallel.scheduler import (
    Event,
    Lost,
    NothingToPropose,
    Proposal,
    Proposed,
)
from flowrl.parallel.training_processor import process_completed_training
from flowrl.paths import RunPaths
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.home import SkillRecord
from flowrl.schema.plan import Plan
from flowrl.schema.run import RunSpec, TaskSpec, TrainResult
from flowrl.weights import Expert, load_experts, save_experts, sha256

FOUR = ("Collect Wood", "Collect Sapling", "Collect Drink", "Eat Cow")
FOUR_FRAMES = 262_144
"""So many frames each, none stops early: the same work in every row, with and without company."""


class FakeExecutor:
    """Starts nothing; whoever measures says what ends."""

    def submit(self, job: Job) -> None:
        """Does nothing."""

    def wait(self, seconds: float) -> Sequence[JobEnd]:
        """Returns nothing."""
        return ()

    def cancel(self, job: Job, kill: bool = False) -> None:
        """Does nothing."""

    def is_under_way(self, job: Job) -> bool:
        """Returns False."""
        return False

    def is_waiting(self, job: Job) -> bool:
        """Returns True."""
        return True

    def close(self) -> None:
        """Does nothing."""


class Silent:
    """An observer that looks away."""

    def started(self, spec: RunSpec, paths: RunPaths) -> None:
        """Does nothing."""

    def row(self, skill: str, row: object) -> None:
        """Does nothing."""

    def finished(self, record: SkillRecord) -> None:
        """Does nothing."""

    def failed(self, skill: str, reason: str) -> None:
        """Does nothing."""

    def note(self, text: str) -> None:
        """Does nothing."""


class NumberedProposer:
    """Proposes skills by number, each needing one of the first few, until there are so many."""

    in_background = False

    def __init__(self, most: int):
        self.most, self.next = most, 0

    def stop(self) -> None:
        """Does nothing."""

    def propose(self, learned_or_pending: Collection[str], given_up: Mapping[str, str]) -> Proposed | NothingToPropose:
        """Returns the next skill."""
        if self.next >= self.most:
            return NothingToPropose("there are no more")
        self.next += 1
        return Proposed(Proposal(f"Skill {self.next}"))


def _event_seconds(folder: Path, running: int, waiting: int) -> list[float]:
    """Returns the seconds that the controller takes for each event, with so many runs under way and in the queue."""
    library = SkillLibrary.open_for(folder / "home", small_config())
    spec = RunSpec(
        skill="Skill", config=small_config(), tasks=(TaskSpec(skill="Skill", low=1, high=1),),
        local_to_global=(0,), trained=(0,), own=0, plan=Plan(goal="Skill", steps=()),
    )  # fmt: skip

    def set_up(proposal: Proposal, expert: int) -> RunPaths:
        paths = library.paths.run(expert, proposal.name)
        write_json(paths.config, spec.model_copy(update={"skill": proposal.name, "local_to_global": (expert,)}))
        return paths

    proposer = NumberedProposer(running)
    controller = Controller(library, proposer, set_up, FakeExecutor(), Silent(), GrowLimits(jobs=running, losses=10**6))
    controller._begin()
    _advance(controller, None)
    for i in range(waiting):
        needs = frozenset([f"Skill {1 + i % running}"])
        _advance(controller, Proposed(Proposal(f"Waiting {i}", needs)))
    assert len(controller.state.running) == running and len(controller.state.queue) == waiting
    seconds = [_advance(controller, Lost(f"Skill {1 + i % running}", progressed=True)) for i in range(200)]
    for i in range(50):
        needs = frozenset([f"Skill {1 + i % running}"])
        seconds.append(_advance(controller, Proposed(Proposal(f"Later {i}", needs))))
    return seconds


def _advance(controller: Controller, event: Event | None) -> float:
    start = time.perf_counter()
    controller._advance(event)
    while controller.events:
        controller._advance(controller.events.popleft())
    return time.perf_counter() - start


def _set_up_and_process_seconds(folder: Path, size: int, turns: int = 5) -> list[float]:
    """Returns the seconds of setting a run up and processing its result in a library of so many skills."""
    config = small_config()
    arrays = expert_arrays(config)
    real = ("Collect Wood", "Place Table")
    library = fill_library(folder / "home", size, config, arrays, real)
    base, seconds = load_base(ENV), []
    for turn in range(turns):
        start = time.perf_counter()
        paths = SkillSetUp(base, library, config)(Proposal("Make Pickaxe", frozenset(real)), size)
        spent = time.perf_counter() - start
        pretend_result(paths, arrays, library.record(real[0]).evaluation)
        start = time.perf_counter()
        assert comparison(library, FinishedRun.load(paths)) is None, (
            "a new skill with frozen dependencies needs no evidence"
        )
        process_completed_training(paths, library)
        seconds.append(spent + time.perf_counter() - start)
        folder_of_skill = library.paths.skill(size, "Make Pickaxe").folder
        folder_of_skill.rename(folder / f"done_{turn}")
    return seconds


def pretend_result(paths: RunPaths, arrays: Expert, evaluation: Evaluation) -> None:
    """Leaves a result as a worker would, with the experts that the run began with and a new one."""
    spec = read_json(paths.config, RunSpec)
    file = paths.folder / "params.safetensors"
    save_experts(file, load_experts(paths.initial) | {spec.own: arrays})
    result = TrainResult(
        outcome="done", params=file.name, params_sha256=sha256(file.read_bytes()), frames=1000, status="learned",
        evaluation=evaluation,
    )  # fmt: skip
    write_json(paths.result, result)


def _experts_of_a_run(folder: Path) -> tuple[int, float]:
    """Returns how many experts a run with three dependencies holds in a library of 50, and its checkpoint's size over
    that of all 51."""
    config = small_config(ppo__frames=0, gate__worlds=64, gate__per_amount_worlds=1, env__worlds=64)
    arrays = expert_arrays(config)
    real = ("Collect Wood", "Place Table", "Make Pickaxe")
    library = fill_library(folder / "home", 50, config, arrays, real)
    paths = SkillSetUp(load_base(ENV), library, config)(Proposal("Collect Stone", frozenset(real)), 50)
    job = Job(paths.folder, "Collect Stone")
    subprocess.run(job.command(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    trained, dense = paths.folder / "params.safetensors", folder / "dense.safetensors"
    save_experts(dense, dict.fromkeys(range(51), arrays))
    return len(load_experts(trained)), trained.stat().st_size / dense.stat().st_size


def _grow_four(folder: Path, name: str, jobs: int, cores: int | None) -> tuple[float, dict[str, float]]:
    """Returns the seconds in which four skills of Classic are trained, and what was measured of each."""
    home = folder / name
    command = [sys.executable, "-P", "-m", "flowrl", "grow", "--skills", "4", "--jobs", str(jobs), "--home", str(home)]
    command += ["--cores", str(cores)] if cores else []
    goal = ", ".join(("wood", "sapling", "COLLECT_DRINK", "EAT_COW"))
    settings = (
        f"ppo.frames={FOUR_FRAMES}", "gate.stop_at=1", "gate.learned_at=0", "gate.min_episodes=1", "gate.worlds=256",
        "gate.per_amount_worlds=0",
    )  # fmt: skip
    command += [word for setting in settings for word in ("--set", setting)]
    start = time.monotonic()
    subprocess.run([*command, "--goal", goal], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    listed = subprocess.run(
        [sys.executable, "-P", "-m", "flowrl", "skills", "list", "--home", str(home), "--json"],
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    rows = json.loads(listed.stdout)
    assert {entry["name"] for entry in rows} == set(FOUR), rows
    return seconds, {entry["name"]: entry["success"] for entry in rows}


def _growth_rows(folder: Path) -> list[Row]:
    """Returns what is gained by training two skills at once; each of the three ways trains the same runs."""
    table = "four skills that need nothing, on two cores"
    _grow_four(folder, "warm", 2, 1)  # compiles
    alone, one = _grow_four(folder, "alone", 1, 1)
    both, two = _grow_four(folder, "both", 2, 1)
    wide, _ = _grow_four(folder, "wide", 1, None)
    same = sum(one[name] == two[name] for name in FOUR)
    return [
        row(table, "jobs 1, one core a worker", [alone], "s"),
        row(table, "jobs 2, one core a worker", [both], "s"),
        row(table, "jobs 1, both cores for the worker", [wide], "s"),
        row(table, "jobs 2 over jobs 1, one core a worker", [alone / both], "times", at_least=1.7),
        row(table, "jobs 2 over jobs 1 with both cores", [wide / both], "times"),
        row(table, "skills measured the same with jobs 1 and 2", [float(same)], "of 4", at_least=4),
    ]


def measure(slow: bool = True) -> list[Row]:
    """Returns the rows; without ``slow``, those that take seconds."""
    with tempfile.TemporaryDirectory(prefix="flowrl-bench-") as name:
        folder = Path(name)
        events = _event_seconds(folder / "events", 50, 200)
        processing = _set_up_and_process_seconds(folder / "library", 100)
        experts, share = _experts_of_a_run(folder / "experts")
        rows = [
            row("controller", "an event, 200 skills waiting, 50 running", [1e3 * s for s in events], "ms", at_most=5),
            row("controller", "the slowest of 250 events", [1e3 * max(events)], "ms"),
            row("controller", "set-up and processing, 100 skills", processing, "s", at_most=1),
            row("a run with 3 dependencies, 50 experts", "experts that it holds", [experts], "experts", 4, 4),
            row("a run with 3 dependencies, 50 experts", "checkpoint over one of all 51", [share], "", None, 4 / 51),
        ]
        if slow:
            survived = survive(folder / "chaos", 50)
            lost = len(survived.differences)
            rows.append(row("chaos", "kills survived with nothing lost", [survived.kills - lost], "of 50", at_least=50))
            rows += _growth_rows(folder)
        return rows
