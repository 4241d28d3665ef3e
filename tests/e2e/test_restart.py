"""Runs that stand in a folder already: which go on, which make room, and which are left alone."""

from pathlib import Path

import pytest
from filelock import FileLock

from flowrl.config import RunConfig
from flowrl.errors import LibraryError
from flowrl.files import read_json, write_json
from flowrl.growing.run_setup import SkillSetUp
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from flowrl.parallel.scheduler import Proposal
from flowrl.paths import RunPaths
from flowrl.schema.run import RunSpec, TrainResult
from tests.support.homes import add_skill, empty_home
from tests.support.runs import TINY, tiny_config, tree_bytes


@pytest.fixture
def library(tmp_path: Path) -> SkillLibrary:
    return empty_home(tmp_path / "home", config())


def config(lr: float = 1e-3) -> RunConfig:
    return tiny_config(model__width=8, ppo__lr=lr)


def begin(library: SkillLibrary, lr: float = 1e-3) -> RunPaths:
    return SkillSetUp(load_base(TINY), library, config(lr))(Proposal("Collect Wood"), 0)


def leave_checkpoint(run: RunPaths) -> None:
    run.checkpoints.mkdir(exist_ok=True)
    (run.checkpoints / "update_00000003.json").write_text("{}")
    (run.checkpoints / "update_00000003.safetensors").write_bytes(b"arrays")


def learning_rate(run: RunPaths) -> float:
    return read_json(run.config, RunSpec).config.ppo.lr


def test_a_run_under_a_live_worker_is_not_rewritten_even_before_its_first_checkpoint(library: SkillLibrary) -> None:
    run = begin(library)
    with FileLock(run.lock):
        before = tree_bytes(run.folder)
        with pytest.raises(LibraryError, match=r"other settings \(ppo\.lr: 0\.001 there, 0\.002 asked\).*its worker"):
            begin(library, lr=2e-3)
        assert begin(library) == run and tree_bytes(run.folder) == before
    begin(library, lr=2e-3)
    assert learning_rate(run) == 2e-3, "nobody is at it, and it has not trained"


def test_a_failed_run_goes_on_with_the_same_settings(library: SkillLibrary) -> None:
    run = begin(library)
    leave_checkpoint(run)
    write_json(run.result, TrainResult(outcome="failed", error="no memory"))
    begin(library)
    assert not run.result.exists() and any(run.checkpoints.iterdir())


def test_a_failed_run_makes_room_for_one_with_other_settings(library: SkillLibrary) -> None:
    run = begin(library)
    leave_checkpoint(run)
    write_json(run.result, TrainResult(outcome="failed", error="NaN"))
    before = tree_bytes(run.folder)
    assert begin(library, lr=1e-4) == run
    assert learning_rate(run) == 1e-4 and not run.checkpoints.exists() and not run.result.exists()
    assert tree_bytes(run.folder.with_name(f"{run.folder.name}.1")) == before, "it is put aside whole"


@pytest.mark.parametrize("outcome", ["interrupted", "cancelled"])
def test_a_run_that_may_go_on_does_not_make_room(library: SkillLibrary, outcome: str) -> None:
    run = begin(library)
    leave_checkpoint(run)
    if outcome == "cancelled":
        write_json(run.result, TrainResult(outcome="cancelled", error="on request"))
    before = tree_bytes(run.folder)
    with pytest.raises(LibraryError, match="unfinished run with other settings"):
        begin(library, lr=1e-4)
    assert tree_bytes(run.folder) == before


def test_each_run_of_a_skill_knows_how_many_were_before_it(library: SkillLibrary) -> None:
    assert read_json(begin(library).config, RunSpec).runs_before == 0
    record = add_skill(library, "Collect Wood", 0)
    assert read_json(begin(library).config, RunSpec).runs_before == 1
    (library.skill_paths(record).history / "version_3").mkdir(parents=True)
    assert read_json(begin(library).config, RunSpec).runs_before == 3, "a run that lost counts as well"
