"""Runs from set-up to library, on the tiny game; those that are cut off have a process of their own."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowrl.errors import LibraryError, ModuleError, TrainingError, UsageError
from flowrl.evaluation.evaluate import evaluate_goal
from flowrl.files import read_arrays, read_json, read_lines, write_json
from flowrl.growing.grow import grow, local_executor, train, train_module
from flowrl.library.home import SkillLibrary
from flowrl.parallel.training_processor import process_completed_training
from flowrl.parallel.training_setup import build_moe_checkpoint, prepare_training_run
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.skillcode.source import compose_plan
from flowrl.weights import experts_of, load_experts
from tests.support.homes import two_wood
from tests.support.runs import Watcher, assert_same_arrays, grow_tiny, grow_to, inline, tiny_config, tree_bytes

pytestmark = pytest.mark.slow


@pytest.fixture
def home(grown: Path, tmp_path: Path) -> Path:
    shutil.copytree(grown, tmp_path / "home")
    return tmp_path / "home"


def worker(folder: Path, **extra: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "flowrl.ppo_flow", str(folder)], **extra)


def test_growing_measures_each_skill_and_says_what_it_did(grown: Path) -> None:
    records = {record.name: record for record in SkillLibrary.open(grown).records()}
    assert list(records) == ["Collect Wood", "Collect Drink", "Place Table"]
    assert [record.expert_idx for record in records.values()] == [0, 1, 2]
    for record in records.values():
        assert record.status == "learned" and record.evaluation.step_success.low >= 0.8
        assert record.evaluation.step_success.total >= 100
    assert records["Collect Wood"].evaluation.per_amount.keys() == {1}
    table = read_json(grown / "training_runs" / "skill_2_Place_Table" / "run.json", RunSpec)
    assert table.local_to_global == (0, 2) and table.trained == (1,), "expert 1 is not needed and not there"


def test_growing_again_finds_nothing_to_do(home: Path) -> None:
    before, start = tree_bytes(home), time.monotonic()
    watcher = Watcher()
    assert grow_to(home, 3, watcher).complete
    assert not watcher.specs and time.monotonic() - start < 5
    after = tree_bytes(home)
    passing = {"owner.json", "state.json"}  # who holds the home, and what that process last knew
    assert {k: v for k, v in after.items() if k not in passing} == {k: v for k, v in before.items() if k not in passing}


def test_zero_steps_leave_every_dependency_byte_for_byte(home: Path) -> None:
    before = tree_bytes(home / "skills")
    watcher = grow_tiny(home, "Make Pickaxe", ppo__frames=0)
    record = watcher.records[0]
    assert record.status == "weak" and record.frames == 0 and record.expert_idx == 3
    after = tree_bytes(home / "skills")
    assert {name: after[name] for name in before} == before
    run = read_json(watcher.runs[0].config, RunSpec)
    assert run.local_to_global == (0, 2, 3) and run.trained == (2,)
    experts = load_experts(watcher.runs[0].folder / "params.safetensors")
    for local, g in ((0, "0_Collect_Wood/expert_0_policy"), (1, "2_Place_Table/expert_2_policy")):
        assert_same_arrays(experts[local], read_arrays(home / "skills" / g / "params.safetensors"))


def test_a_weak_skill_goes_on_from_its_own_weights_and_versions_rise(home: Path) -> None:
    grow_tiny(home, "Make Pickaxe", ppo__frames=0)
    first = read_arrays(home / "skills/3_Make_Pickaxe/expert_3_policy/params.safetensors")
    watcher = grow_tiny(home, "Make Pickaxe")
    initial = load_experts(watcher.runs[0].initial)
    assert list(initial) == [0, 1, 2], "its own expert is seeded as any other"
    assert_same_arrays(initial[2], first)
    record = watcher.records[0]
    assert record.status == "learned" and record.version == 2 and record.frames > 0
    assert (home / "skills/3_Make_Pickaxe/history/version_1/skill.json").exists()


def test_grow_does_not_build_on_a_weak_skill(home: Path) -> None:
    grow_tiny(home, "Make Pickaxe", ppo__frames=0)
    outcome = grow_to(home, 5)
    assert not outcome.complete and "Make Pickaxe is weak" in outcome.reason and "flowrl train" in outcome.reason


@pytest.fixture(scope="module")
def whole_run(grown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 updates that nothing disturbed."""
    home = tmp_path_factory.mktemp("whole") / "home"
    shutil.copytree(grown, home)
    grow_tiny(home, "Make Pickaxe", **SHORT)
    return home / "training_runs" / "skill_3_Make_Pickaxe"


SHORT = {"ppo__frames": 12 * 64 * 32, "gate__stop_at": 1.0}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_run_that_is_cut_off_goes_on_and_equals_one_that_was_not(home: Path, whole_run: Path, how: int) -> None:
    library = SkillLibrary.open(home)
    expert = 3
    spec = read_json(whole_run / "run.json", RunSpec)
    data = {
        "code": (whole_run / "3.py").read_text(), "tasks": spec.tasks, "plan": spec.plan, "spec": spec.spec,
        "description": spec.description, "source": (whole_run / "source.py").read_text(),
    }  # fmt: skip
    from flowrl.knowledge.base import load_base
    from flowrl.library.catalog import known_skills

    skills = known_skills(library) | {"Make Pickaxe": load_base("Tiny-Grid-v1").skill("Make Pickaxe")}
    experts = {"Collect Wood": 0, "Place Table": 2, "Make Pickaxe": 3}
    data["code"] = compose_plan(spec.plan, skills, experts)
    run = prepare_training_run(
        "Make Pickaxe", data, ["Collect Wood", "Place Table"], expert, library.named(), home=home, config=spec.config
    )
    process = worker(run.folder)
    deadline = time.monotonic() + 300
    while not any(run.checkpoints.glob("*.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    process.wait()
    assert not run.result.exists(), "the run was to be cut off before its end"
    assert worker(run.folder).wait() == 0
    ours, theirs = read_json(run.result, TrainResult), read_json(whole_run / "result.json", TrainResult)
    assert ours.params_sha256 == theirs.params_sha256
    assert ours.evaluation == theirs.evaluation
    updates = [row["update"] for row in read_lines(run.metrics) if row["kind"] == "update"]
    assert updates == list(range(1, 13)), "no row is lost or written twice"


def test_two_workers_cannot_train_the_same_run(home: Path) -> None:
    from filelock import FileLock

    watcher = grow_tiny(home, "Make Pickaxe", ppo__frames=0)
    folder = watcher.runs[0].folder
    with FileLock(folder / "lock"):
        process = worker(folder, stderr=subprocess.PIPE)
        _, said = process.communicate()
        assert process.returncode == 1 and b"Another process works on" in said


def test_results_of_runs_that_ended_unwatched_are_collected_once(home: Path) -> None:
    watcher = grow_tiny(home, "Make Pickaxe", ppo__frames=0)
    run = watcher.runs[0]
    shutil.rmtree(home / "skills" / "3_Make_Pickaxe")
    run.processed.unlink()
    library, collector = SkillLibrary.open(home), Watcher()
    for _ in range(2):
        assert grow_to(home, 3, collector).complete
    assert [record.name for record in collector.records] == ["Make Pickaxe"]
    assert process_completed_training(run, library) == collector.records[0]


def test_a_result_whose_weights_were_changed_is_refused(home: Path) -> None:
    run = grow_tiny(home, "Make Pickaxe", ppo__frames=0).runs[0]
    run.processed.unlink()
    before = tree_bytes(home / "skills")
    result = read_json(run.result, TrainResult)
    write_json(run.result, result.model_copy(update={"params_sha256": "0" * 64}))
    with pytest.raises(LibraryError, match="is not the file that"):
        process_completed_training(run, SkillLibrary.open(home))
    assert tree_bytes(home / "skills") == before


def test_damaged_weights_of_a_dependency_are_refused_before_training(home: Path) -> None:
    file = home / "skills/2_Place_Table/expert_2_policy/params.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(LibraryError, match=r"expert_2_policy/params\.safetensors is damaged"):
        grow_tiny(home, "Make Pickaxe", ppo__frames=0)
    assert not (home / "training_runs/skill_3_Make_Pickaxe/run.json").exists()


def test_build_moe_checkpoint_leaves_out_the_new_expert(home: Path) -> None:
    completed = SkillLibrary.open(home).named()
    named = build_moe_checkpoint(["Place Table", "Collect Wood"], {0: 0, 2: 1, 50: 2}, completed, home=home)
    assert list(experts_of(named)) == [0, 1]
    entries = {name: {"expert_idx": r.expert_idx, "path": str(home / r.path)} for name, r in completed.items()}
    again = build_moe_checkpoint(["Place Table", "Collect Wood"], {0: 0, 2: 1, 50: 2}, entries)
    for local, expert in experts_of(named).items():
        assert_same_arrays(expert, experts_of(again)[local])


def write_module(folder: Path, first: int = 0, own: int = 50, reward: str = "inventory_diff.wood * 1.0") -> Path:
    file = folder / "two_wood.py"
    file.write_text(two_wood(first, own, reward))
    return file


def test_a_module_of_ones_own_trains_its_last_expert(home: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    record = train_module(home, tiny_config(), write_module(tmp_path), None, watcher, executor_fn=inline)
    assert (record.name, record.expert_idx, record.status) == ("two_wood", 50, "learned")
    assert watcher.specs[0].local_to_global == (0, 50) and not watcher.notes
    measured = evaluate_goal(SkillLibrary.open(home), "two_wood", 128, 0, 100, lambda row: None)
    assert measured.step_success.low > 0.7 and measured.success.total == 128


def test_experts_that_the_library_lacks_start_random_and_it_says_so(tmp_path: Path) -> None:
    home, watcher = tmp_path / "new", Watcher()
    record = train_module(home, tiny_config(), write_module(tmp_path, first=7), "Two Wood", watcher, executor_fn=inline)
    assert "lacks expert 7" in watcher.notes[0]
    assert watcher.specs[0].trained == (0, 1) and record.companions == (7,)
    assert (home / record.path / "companions/expert_7_policy/params.safetensors").exists()
    measured = evaluate_goal(SkillLibrary.open(home), "Two Wood", 128, 0, 100, lambda row: None)
    assert measured.success.total == 128 and measured.reached[0] == 128


def test_a_module_whose_number_belongs_to_another_skill_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ModuleError, match=r"expert 2 is 'Place Table' in the library. Return 3, the next free"):
        train_module(home, tiny_config(), write_module(tmp_path, own=2), None, Watcher())


REFUSED = {
    "inventory_diff.wood / 0.0 * 0.0": r"task_1_reward returns NaN or infinity",
    "jnp.zeros(3)": r"task_1_reward must return one number a world, not an array of shape \[3\]",
    "inventory_diff.gold": "task_1_reward fails when it is tried: AttributeError",
}


@pytest.mark.parametrize("reward", REFUSED)
def test_a_function_that_misbehaves_is_refused_before_training(home: Path, tmp_path: Path, reward: str) -> None:
    watcher = Watcher()
    with pytest.raises(TrainingError, match=REFUSED[reward]):
        train_module(home, tiny_config(), write_module(tmp_path, reward=reward), None, watcher, executor_fn=inline)
    assert f"{tmp_path / 'two_wood.py'}: task_1_reward" in watcher.failures["two_wood"]
    assert not [row for row in watcher.rows if row.kind == "update"]
    assert "two_wood" not in SkillLibrary.open(home).named()


def test_numbers_that_stop_being_finite_stop_the_run_and_keep_the_last_checkpoint(home: Path) -> None:
    with pytest.raises(TrainingError, match=r"NaN or infinity in .* after update \d+ of Make Pickaxe"):
        grow_tiny(home, "Make Pickaxe", ppo__lr=1e38, ppo__anneal=False, ppo__max_grad_norm=1e30)
    assert "Make Pickaxe" not in SkillLibrary.open(home).named()


def test_a_worker_that_dies_shows_the_end_of_its_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher()

    def kill(skill: str, row: Any) -> None:
        if row.kind == "compiling":
            os.kill(int(_pid_of(watcher.runs[0].folder)), signal.SIGKILL)

    watcher.row = kill  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"ended without a result \(exit code -9\)"):
        train(home, tiny_config(), "Make Pickaxe", watcher)


def _pid_of(folder: Path) -> str:
    found = subprocess.run(["pgrep", "-f", f"flowrl.ppo_flow {folder}$"], stdout=subprocess.PIPE, check=True)
    return found.stdout.decode().split()[0]


def test_an_unfinished_run_with_other_settings_is_not_overwritten(home: Path, whole_run: Path) -> None:
    target = home / "training_runs" / "skill_3_Make_Pickaxe"
    shutil.copytree(whole_run, target)
    (target / "result.json").unlink()
    (target / "processed.json").unlink()
    with pytest.raises(LibraryError, match=r"unfinished run with other settings .*ppo\.lr: 0\.002 there, 0\.001 asked"):
        grow_tiny(home, "Make Pickaxe", **SHORT, ppo__lr=1e-3)


def test_the_same_worlds_give_the_same_evaluation(home: Path) -> None:
    library = SkillLibrary.open(home)
    rows: list[Any] = []
    one, two, other = (evaluate_goal(library, "Place Table", 100, seed, 100, rows.append) for seed in (0, 0, 1))
    assert one == two and one != other
    assert one.success.total == 100 and rows[-1].played == 100
    assert sum(one.causes.values()) == 100 - one.success.successes
    assert one.reached[0] == 100 and one.reached[1] == one.finished[0] >= one.finished[1] == one.success.successes


def test_an_unknown_skill_names_the_nearest(home: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'Collect Wood'"):
        grow_tiny(home, "Colect Wood")


def test_a_home_grows_in_this_process_too(tmp_path: Path) -> None:
    """As most tests do; the outcome is that of a process of its own."""
    homes = [tmp_path / "inline", tmp_path / "local"]
    config = tiny_config(ppo__frames=20_000, gate__learned_at=0.0, gate__min_episodes=1)
    for home, executor_fn in zip(homes, (inline, local_executor), strict=True):
        assert grow(home, config, 1, None, Watcher(), executor_fn=executor_fn).complete
    one, other = (SkillLibrary.open(home) for home in homes)
    assert one.records() == other.records()
    assert one.weights_hash(one.records()[0]) == other.weights_hash(other.records()[0])


def test_every_file_of_a_home_is_json_text_or_safetensors(grown: Path) -> None:
    """Its content is what its suffix says, so that nothing in a home has to be unpickled."""
    read_fns: dict[str, Callable[[Path], object]] = {
        ".json": lambda path: json.loads(path.read_text()),
        ".jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
        ".txt": lambda path: path.read_text(encoding="utf-8"),
        ".py": lambda path: ast.parse(path.read_text()),
        ".safetensors": read_arrays,
    }
    files = [path for path in grown.rglob("*") if path.is_file() and path.name not in {"lock", "heartbeat"}]
    assert {path.suffix for path in files} == read_fns.keys()
    for path in files:
        read_fns[path.suffix](path)
