"""Runs that begin a share of their episodes at snapshots, from set-up to library, on the tiny game."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from flowrl.config import RunConfig
from flowrl.env.registry import domain_named
from flowrl.env.snapshots import read_snapshots, snapshots_of, write_snapshots
from flowrl.env.staging.worlds import hold
from flowrl.errors import LibraryError
from flowrl.files import read_arrays, read_json, read_lines, write_arrays, write_json
from flowrl.growing.run_setup import ModuleSetUp
from flowrl.library.home import SkillLibrary
from flowrl.parallel.training_processor import process_completed_training
from flowrl.paths import RunPaths
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.schema.skill import Quantity, SkillSpec
from flowrl.training import run_start_states as start_states
from flowrl.training.programs import Programs
from flowrl.training.run import TrainingRun
from flowrl.training.state import TrainState, UpdateStats
from flowrl.weights import sha256
from tests.support.homes import two_wood
from tests.support.runs import TINY, assert_same_arrays, tiny_config

pytestmark = pytest.mark.slow
UPDATES = 6
EASY = {"gate__learned_at": 0.0, "gate__min_episodes": 1, "gate__worlds": 64, "gate__per_amount_worlds": 0}


def config(**options: Any) -> RunConfig:
    short = {"ppo__frames": UPDATES * 64 * 32, "ppo__epochs": 1, "gate__stop_at": 1.0, "start__keep": 64, **EASY}
    return tiny_config(**{**short, "checkpoint__every": 2, "start__source": "frontier", **options})


def set_up(folder: Path, configured: RunConfig) -> RunPaths:
    """The run of a module with two tasks: a wood by one expert, a second one by another."""
    library = SkillLibrary.open_for(folder / "home", configured)
    module = ModuleSetUp(library, configured, two_wood(0, 1), Path("two.py"))
    return module(module.proposal("Two Wood"), 1)


def train(run: RunPaths, updates: int | None = None) -> TrainResult | None:
    """Trains a run in this process, to the end or for so many updates of a sitting."""
    asked = iter(range(10**6))
    result = TrainingRun(run, lambda: updates is not None and next(asked) >= updates).execute()
    if result is not None:
        write_json(run.result, result)
    return result


def rows(run: RunPaths, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_lines(run.metrics) if row["kind"] == kind]


class Counting(Programs):
    """A run's programs, which note of each episode that an update begins whether it begins at a snapshot."""

    begun: list[bool]

    def update(self, state: TrainState) -> tuple[TrainState, UpdateStats]:
        after, stats = super().update(state)
        ended = np.asarray(stats.results.ended)
        next_step = np.concatenate(
            [np.asarray(stats.results.from_snapshot)[1:], np.asarray(after.flow.from_snapshot)[None]]
        )
        self.begun += next_step[ended].tolist()
        return after, stats


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunPaths, list[bool]]:
    """A run that nothing disturbed, and which of its episodes began at snapshots, the first ones left out."""
    paths = set_up(tmp_path_factory.mktemp("whole"), config())
    run = TrainingRun(paths, lambda: False)
    run.programs = programs = Counting(run.trainer)
    programs.begun = []
    result = run.execute()
    assert result is not None
    write_json(paths.result, result)
    return paths, programs.begun


@pytest.fixture(scope="module")
def whole(counted: tuple[RunPaths, list[bool]]) -> RunPaths:
    return counted[0]


def test_a_run_begins_a_share_of_its_episodes_where_its_own_plan_led(counted: tuple[RunPaths, list[bool]]) -> None:
    whole, begun = counted
    (told,) = rows(whole, "starts")
    assert told["share"] == 0.5 and told["states"] >= start_states.MIN_STATES
    assert f"50% of the episodes begin at one of {told['states']} snapshots" in told["note"]
    shares = [row["from_kept"] for row in rows(whole, "update")]
    assert len(shares) == UPDATES and shares[-1]["frames"] > 0.02 and shares[-1]["episodes"] > 0.02
    assert len(begun) > 60 and 0.35 < np.mean(begun) < 0.65
    kept = read_snapshots(whole.frontier, domain_named(TINY))
    assert (kept.world.inventory.wood == 1).all(), "the first task is done, the second has just begun"


def test_a_run_that_is_cut_off_goes_on_bit_for_bit_with_start_states(whole: RunPaths, tmp_path: Path) -> None:
    run = set_up(tmp_path, config())
    for sitting in (3, 2):
        assert train(run, sitting) is None and not run.result.exists()
    ours, theirs = train(run), read_json(whole.result, TrainResult)
    assert ours is not None
    assert_same_arrays(read_arrays(run.folder / ours.params), read_arrays(whole.folder / theirs.params))
    assert ours.params_sha256 == theirs.params_sha256 and ours.evaluation == theirs.evaluation
    assert ours.start_states_sha256 == theirs.start_states_sha256 != ""
    assert [row["from_kept"] for row in rows(run, "update")] == [row["from_kept"] for row in rows(whole, "update")]
    assert run.frontier.read_bytes() == whole.frontier.read_bytes()


def test_final_states_go_from_the_run_into_the_library(whole: RunPaths) -> None:
    library = SkillLibrary.open(whole.folder.parents[1])
    file = whole.folder / start_states.FINAL_FILE
    result, data = read_json(whole.result, TrainResult), file.read_bytes()
    assert result.start_states == file.name and result.start_states_sha256 == sha256(data)
    file.write_bytes(data[:-1] + b"?")
    with pytest.raises(LibraryError, match=r"final_states\.safetensors is not the file that .*result\.json names"):
        process_completed_training(whole, library)
    file.write_bytes(data)
    record = process_completed_training(whole, library)
    stored = library.skill_paths(record).start_states
    assert stored.read_bytes() == data
    kept = read_snapshots(stored, domain_named(TINY))
    assert (kept.world.inventory.wood == 2).all() and kept.size <= 64


def test_without_the_option_nothing_begins_at_snapshots_and_weak_skills_keep_none(tmp_path: Path) -> None:
    run = set_up(tmp_path, config(start__source="new", ppo__frames=2 * 64 * 32, gate__learned_at=1.0))
    result = train(run)
    assert result is not None and result.status == "weak" and result.start_states == ""
    assert not rows(run, "starts") and not run.frontier.exists()
    assert {row["from_kept"]["frames"] for row in rows(run, "update")} == {0.0}


def with_needs(run: RunPaths, needs: SkillSpec, **changes: Any) -> RunSpec:
    spec = read_json(run.config, RunSpec).model_copy(update={"spec": needs, **changes})
    write_json(run.config, spec)
    return spec


NO_FRAMES = {"ppo__frames": 0}


def test_where_no_state_has_what_is_needed_it_says_so_and_begins_in_new_worlds(tmp_path: Path) -> None:
    run = set_up(tmp_path, config(ppo__frames=64 * 32))
    with_needs(run, SkillSpec(requires={"stone": Quantity(base=9)}))
    assert train(run) is not None
    (told,) = rows(run, "starts")
    assert (told["share"], told["states"]) == (0.0, 0)
    assert "none, fewer than 16: every episode begins in a new world" in told["note"]
    assert [row["from_kept"]["episodes"] for row in rows(run, "update")] == [0.0]


@pytest.fixture
def with_file(tmp_path: Path) -> tuple[RunPaths, Path]:
    """A run with start states from the library, forty of them with wood in hand and forty without."""
    run, domain = set_up(tmp_path, config(**NO_FRAMES)), domain_named(TINY)
    setting = TrainingRun(run, lambda: False)
    player = setting.env.new_players(jax.random.split(jax.random.PRNGKey(8), 80))
    held = jax.vmap(lambda world, wood: hold(world, wood=wood))(player.world, (np.arange(80) < 40).astype(np.int32))
    file = tmp_path / "states"
    write_snapshots(file, domain, snapshots_of(player._replace(world=held)))
    digest = sha256(file.read_bytes())
    target = run.start_states(digest)
    target.parent.mkdir()
    file.rename(target)
    with_needs(run, SkillSpec(requires={"wood": Quantity(base=1)}), start_files={"Chopping": digest})
    return run, target


def test_states_of_the_library_are_used_where_what_is_needed_is_there(with_file: tuple[RunPaths, Path]) -> None:
    run, _ = with_file
    assert train(run) is not None
    (told,) = rows(run, "starts")
    assert told["states"] == 40 and told["note"].endswith("one of 40 snapshots: 40 after Chopping")
    assert not run.frontier.exists(), "nothing need be played for more"


def test_a_start_file_that_was_changed_is_refused(with_file: tuple[RunPaths, Path]) -> None:
    run, file = with_file
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(LibraryError, match=r"is not the file that .*run\.json names: it was changed"):
        train(run)


def test_a_foreign_start_file_is_refused_by_name(with_file: tuple[RunPaths, Path]) -> None:
    run, file = with_file
    file.write_bytes(b"garbage")
    digest = sha256(b"garbage")
    file.rename(run.start_states(digest))
    write_json(run.config, read_json(run.config, RunSpec).model_copy(update={"start_files": {"Chopping": digest}}))
    with pytest.raises(LibraryError, match=rf"{digest}\.safetensors is damaged"):
        train(run)


def test_a_checkpoint_without_what_runs_now_carry_is_refused_by_name(tmp_path: Path) -> None:
    run = set_up(tmp_path, config(start__source="new"))
    assert train(run, 2) is None
    (file,) = run.checkpoints.glob("*.safetensors")
    arrays = {name: array for name, array in read_arrays(file).items() if "from_snapshot" not in name}
    write_arrays(file, arrays)
    with pytest.raises(LibraryError, match=r"has nothing for \.flow\.from_snapshot; this run needs bool\[64\]"):
        train(run)
