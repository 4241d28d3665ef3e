"""What learning the three demo skills takes: frames and seconds to a success of 80 %, several seeds."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.tables.measure import Row, row, tell
from flowrl.files import read_json
from flowrl.jobs.watched import MetricsReader
from flowrl.schema.metrics import CompiledRow, UpdateRow
from flowrl.schema.run import RunSpec

TABLE = "learning the demo's skills"
SUCCESS = 0.8


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        program: the module that grows the demo's skills, a home for each seed.
        settings: as on the command line of `flowrl grow`.
    """

    seeds: int = 5
    skills: int = 3
    program: str = "benchmarks.demo_seeds"
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reached:
    """When a run's own episodes first reached the success: frames, and seconds of training, compiling apart."""

    skill: str
    frames: float
    seconds: float


def reached(home: Path) -> Iterator[Reached]:
    """Yields for each run of a home when it was as good as wanted, or nothing if it never was."""
    for folder in sorted((home / "training_runs").iterdir()):
        rows = MetricsReader(folder / "metrics.jsonl").new_rows()
        compiling = sum(each.seconds for each in rows if isinstance(each, CompiledRow))
        for each in rows:
            if isinstance(each, UpdateRow) and (each.step_success.value or 0.0) >= SUCCESS:
                skill = read_json(folder / "run.json", RunSpec).skill
                yield Reached(skill, each.frames, max(0.0, each.seconds - compiling))
                break


def measure(sizes: Sizes = Sizes(), slow: bool = True) -> list[Row]:
    """Returns the rows; without ``slow`` there are none, as all of them take many minutes."""
    if not slow:
        return []
    program = importlib.import_module(sizes.program)
    found: list[Reached] = []
    minutes = []
    with TemporaryDirectory(prefix="flowrl-bench-") as folder:
        for seed in range(sizes.seeds):
            tell(f"  growing {sizes.skills} skills with seed {seed}")
            home = Path(folder) / f"seed_{seed}"
            _, took, _ = program.grow(home, seed, sizes.skills, list(sizes.settings))
            minutes.append(took)
            found += reached(home)
    rows = []
    for skill in dict.fromkeys(each.skill for each in found):
        of = [each for each in found if each.skill == skill]
        name = f"{skill}: to a success of 80 % in training"
        rows.append(row(TABLE, f"{name}, seeds that reach it", [len(of)], f"of {sizes.seeds}", at_least=sizes.seeds))
        rows.append(row(TABLE, f"{name}, frames", [each.frames for each in of], "frames"))
        rows.append(row(TABLE, f"{name}, seconds", [each.seconds for each in of], "s"))
    return [*rows, row(TABLE, "growing all of them, gates and compiling included", minutes, "minutes")]
