"""Runs on the tiny game, small enough for tests.

They run in this process, where they are shape-checked and start at once. Tests of what a process does start their own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flowrl.config import RunConfig, build_config
from flowrl.growing.controller import GrowLimits
from flowrl.growing.grow import GrowOutcome, grow, train
from flowrl.growing.run_setup import SkillSetUp
from flowrl.jobs.job import Executor
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from flowrl.parallel.scheduler import Proposal
from flowrl.paths import RunPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.metrics import MetricsRow, SnapshotShare, UpdateRow
from flowrl.schema.run import RunSpec
from flowrl.stats import Share
from tests.support.inline import InlineExecutor

TINY = "Tiny-Grid-v1"


class Watcher:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.specs: list[RunSpec] = []
        self.runs: list[RunPaths] = []
        self.rows: list[MetricsRow] = []
        self.records: list[SkillRecord] = []
        self.notes: list[str] = []
        self.failures: dict[str, str] = {}

    def started(self, spec: RunSpec, paths: RunPaths) -> None:
        self.specs.append(spec)
        self.runs.append(paths)

    def row(self, skill: str, row: MetricsRow) -> None:
        self.rows.append(row)

    def finished(self, record: SkillRecord) -> None:
        self.records.append(record)

    def failed(self, skill: str, reason: str) -> None:
        self.failures[skill] = reason

    def note(self, text: str) -> None:
        self.notes.append(text)


def tiny_config(**options: Any) -> RunConfig:
    """A configuration that trains in seconds; names with two underscores for the dot."""
    small = {
        "env__name": TINY, "env__worlds": 64, "env__fresh_worlds": 64, "env__episode_steps": 100, "model__width": 32,
        "ppo__steps": 32, "ppo__minibatch_size": 512, "ppo__lr": 2e-3, "ppo__frames": 400_000, "gate__episodes": 200,
        "gate__worlds": 256, "gate__per_amount_worlds": 32, "gate__min_episodes": 100, "checkpoint__every": 3,
        "start__keep": 0,
    }  # fmt: skip
    return build_config(**{**small, **options})


def update_row(frames: int, step_success: Share, **fields: Any) -> UpdateRow:
    """A row of a first update, other fields as given."""
    row = UpdateRow(
        update=1, frames=frames, budget=400_000, fps=9.0, seconds=12.0, success=step_success, step_success=step_success,
        causes={}, from_kept=SnapshotShare(episodes=0.0, frames=0.0), trained_samples=1, reward=(0.0,), lr=1e-3,
        policy=0.0, value=0.0, entropy=0.0, kl=0.0, grad_norm=0.0,
    )  # fmt: skip
    return row.model_copy(update=fields)


def tree_bytes(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def inline(limits: GrowLimits) -> Executor:
    """The executor of this process, for `grow` and `train`."""
    return InlineExecutor()


def grow_tiny(home: Path, *names: str, **options: Any) -> Watcher:
    """Trains skills of the tiny base one after another."""
    watcher = Watcher()
    for name in names:
        train(home, tiny_config(**options), name, watcher, executor_fn=inline)
    return watcher


def grow_to(home: Path, count: int, watcher: Watcher | None = None, **options: Any) -> GrowOutcome:
    """Grows a home of the tiny game to a number of skills."""
    return grow(home, tiny_config(**options), count, None, watcher or Watcher(), executor_fn=inline)


def assert_same_arrays(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def collect_wood(home: Path, config: RunConfig) -> RunPaths:
    return SkillSetUp(load_base(TINY), SkillLibrary.open_for(home, config), config)(Proposal("Collect Wood"), 0)
