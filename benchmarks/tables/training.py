"""Whole trainings against the baseline, the time to a first update, memory; and the time of `flowrl --help`."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.tables.bounds import frame_bound, machine_rows
from benchmarks.tables.measure import Row, ratios, row, tell
from benchmarks.tables.processes import Measured, measured_once
from benchmarks.tables.training_process import rollout_bytes
from flowrl.config import build_config
from flowrl.env.registry import domain_named
from flowrl.errors import TrainingError

_HERE = "benchmarks.tables.training_process"


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        tasks: of the training held against the baseline, each with an expert of its own.
        fewer_tasks: of the one that compile times are held against.
        goal: the skill that is trained as `grow` does it.
        full: the other game, of which only memory is measured.
        full_rollout: its worlds and steps.
        settings: of all trainings, as for `--set`.
        starts: of the same shape, after a first one.
        compiles: of each program whose compile time is measured.
        baseline: the module that trainings are held against.
    """

    name: str = "Craftax-Classic-Symbolic-v1"
    tasks: int = 12
    fewer_tasks: int = 3
    goal: str = "Make Wood Pickaxe"
    full: str = "Craftax-Symbolic-v1"
    full_rollout: tuple[int, int] = (1024, 64)
    settings: tuple[str, ...] = ()
    turns: int = 5
    starts: int = 5
    compiles: int = 3
    baseline: str = "benchmarks.baseline"


def _rates(figures: Sequence[Mapping[str, Any]]) -> list[float]:
    return [each["frames"] / each["seconds"] for each in figures]


def _whole_rows(sizes: Sizes) -> list[Row]:
    """Returns frames a second of both, updates in turn."""
    tell(f"  {sizes.tasks} tasks: the baseline and flowrl compile")
    asked = (sizes.name, sizes.tasks, sizes.settings)
    with (
        Measured(f"{_HERE}:training", *asked) as ours,
        Measured(f"{_HERE}:baseline", sizes.baseline, *asked) as theirs,
    ):
        turns = [(ours.ask(), theirs.ask()) for _ in range(sizes.turns + 1)][1:]
    own, other = _rates([ours for ours, _ in turns]), _rates([theirs for _, theirs in turns])
    resets = [100 * ours["resets"] / ours["seconds"] for ours, _ in turns]
    config = build_config(env__name=sizes.name, settings=sizes.settings)
    model, ppo, domain = config.model, config.ppo, domain_named(sizes.name)
    per_frame = rollout_bytes(sizes.name, sizes.tasks, config.env.worlds, ppo.steps) // (config.env.worlds * ppo.steps)
    shape = (model.width, model.layers, sizes.tasks)
    minibatches = -(-config.env.worlds * ppo.steps // ppo.minibatch_size)
    bound = frame_bound(domain, *shape, ppo.epochs, ppo.minibatch_size, per_frame, minibatches)
    table = f"whole training, {sizes.tasks} tasks and experts of width {model.width}, all learn"
    return [
        *machine_rows(table),
        row(table, "flowrl (aim 25,000 on two quiet cores)", own, "frames/s", bound=bound, per="frame"),
        row(table, "baseline: stock steps, all experts evaluated", other, "frames/s"),
        row(table, "flowrl over the baseline (aim 15)", ratios(own, other), "x", at_least=8.0),
        row(table, "of it resets: new worlds made and handed out", resets, "%", at_most=5.0),
    ]


def _grow_rows(sizes: Sizes) -> list[Row]:
    """Returns what a training as `grow` does it takes: the experts that a skill builds on are frozen."""
    tell(f"  {sizes.goal} as grow trains it")
    with Measured(f"{_HERE}:training", sizes.name, sizes.goal, sizes.settings) as process:
        figures = [process.ask() for _ in range(sizes.turns + 1)][1:]
    table = f"training {sizes.goal} as grow does, its own expert learns"
    memory = [each["memory"] for each in figures]
    return [
        row(table, "frames a second", _rates(figures), "frames/s"),
        row(table, "peak memory", memory, "GiB", at_most=2.0 * 1e9 / 2**30),
    ]


def _seconds_to_first_update(sizes: Sizes, cache: Path) -> float:
    start = time.perf_counter()
    measured_once(
        f"{_HERE}:first_update", sizes.name, sizes.tasks, sizes.settings, environment={"XDG_CACHE_HOME": str(cache)}
    )
    return time.perf_counter() - start


def _start_rows(sizes: Sizes) -> list[Row]:
    """Returns the seconds from the start of a process to the end of its first update."""
    tell("  first update with nothing compiled, then again and again")
    with TemporaryDirectory(prefix="flowrl-bench-") as folder:
        cold = [_seconds_to_first_update(sizes, Path(folder))]
        warm = [_seconds_to_first_update(sizes, Path(folder)) for _ in range(sizes.starts)]
    table = f"start of a process to its first update, {sizes.tasks} tasks"
    return [
        row(table, "nothing cached (once)", cold, "s"),
        row(table, "second run of the same shape", warm, "s", at_most=10.0),
    ]


def _compile_rows(sizes: Sizes) -> list[Row]:
    """Returns what the step of a run with more tasks takes to compile over one with fewer."""
    few, many = str(sizes.fewer_tasks), str(sizes.tasks)
    tell(f"  compiling the step with {few} and {many} tasks, {sizes.compiles} times")
    with Measured(f"{_HERE}:compiling", sizes.name, (sizes.fewer_tasks, sizes.tasks), sizes.settings) as process:
        figures = [process.ask() for _ in range(sizes.compiles)]
    seconds = {number: [each[number] for each in figures] for number in (few, many)}
    table = "compiling a rollout's program"
    return [
        row(table, f"{few} tasks", seconds[few], "s"),
        row(table, f"{many} tasks", seconds[many], "s"),
        row(table, f"{many} tasks over {few}", ratios(seconds[many], seconds[few]), "x", at_most=1.5),
    ]


def memory_rows(sizes: Sizes) -> list[Row]:
    """Returns the bytes of a rollout, from shapes: everything that is kept of each step."""
    table = "a rollout in memory, everything counted"
    worlds, steps = sizes.full_rollout
    full = rollout_bytes(sizes.full, sizes.tasks, worlds, steps)
    own = rollout_bytes(sizes.name, sizes.tasks, worlds, steps)
    return [
        row(table, f"{sizes.name}", [own / (worlds * steps)], "bytes a frame", at_most=256),
        row(table, f"{sizes.full}", [full / (worlds * steps)], "bytes a frame", at_most=768),
        row(table, f"{sizes.full}, {worlds:,} worlds x {steps} steps", [full / 1e6], "MB", at_most=60),
    ]


def _help_seconds() -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-P", "-m", "flowrl", "--help"], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise TrainingError(f"flowrl --help ended with exit code {done.returncode}; its messages are above.")
    return time.perf_counter() - start


def measure(sizes: Sizes = Sizes()) -> list[Row]:
    """Returns the rows; whatever trains does so in a process of its own, so that devices and memory are its own."""
    rows = [*memory_rows(sizes), *_whole_rows(sizes), *_grow_rows(sizes), *_start_rows(sizes), *_compile_rows(sizes)]
    _help_seconds()
    return [*rows, row("command line", "flowrl --help", [_help_seconds() for _ in range(5)], "s", at_most=0.5)]
