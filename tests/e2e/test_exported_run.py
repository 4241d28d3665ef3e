"""Runs of code that nobody vouched for: the worker runs what was exported, never the text, and checks what it loads."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

from flowrl.env.dry_run import try_tasks
from flowrl.env.registry import domain_named
from flowrl.env.skill_inputs import leaf_shapes
from flowrl.errors import LibraryError, ModuleError
from flowrl.evaluation.evaluate import evaluate_goal
from flowrl.files import read_arrays, read_json, write_json, write_text
from flowrl.growing.grow import grow, train
from flowrl.growing.merging import comparison
from flowrl.growing.run_setup import SkillSetUp
from flowrl.jobs.job import Job
from flowrl.knowledge.base import load_base
from flowrl.knowledge.import_base import import_base, write_imported
from flowrl.library.catalog import base_for, home_folder
from flowrl.library.home import SkillLibrary
from flowrl.parallel.run_folder import FinishedRun
from flowrl.parallel.scheduler import Proposal
from flowrl.paths import RunPaths
from flowrl.rollout.run_env import build_env, task_names
from flowrl.schema.run import ArtefactRef, RunSpec, TrainResult
from flowrl.schema.skill import Skill
from flowrl.skillcode.artefact_cache import artefact_key, find_artefact, store_artefact
from flowrl.verify.verdict import Verdict
from flowrl.weights import sha256
from tests.support.exports import artefact_of, calls_out, handmade
from tests.support.homes import add_skill
from tests.support.inline import InlineExecutor
from tests.support.runs import TINY, Watcher, assert_same_arrays, inline, tiny_config

SHORT = tiny_config(ppo__frames=8192, gate__worlds=64)
WOOD = load_base(TINY).skill("Collect Wood")
PUBLISHED: dict[str, Any] = {
    "skill_name": "Chop Two", "description": "Chops two trees.", "requirements": {}, "consumption": {},
    "gain": {"wood": "lambda n: n + 1"}, "ephemeral": False,
    "functions": "def is_done(inventory, n):\n    return inventory.wood > n\n\n\ndef reward(inventory_diff):\n"
    "    return inventory_diff.wood * 0.5\n",
}  # fmt: skip


class Sandbox:
    """Stands for the sandbox: exports what passes without looking at it, and keeps what it was asked."""

    def __init__(self, folder: Path, broken: str = ""):
        self.folder, self.broken, self.asked = folder, broken, list[str]()

    def verify(self, skill: Skill, env: str) -> Verdict:
        self.asked.append(skill.name)
        if skill.name == self.broken:
            return Verdict(ok=False, error="reward is NaN in 3 of 1000 states of random play.")
        key = artefact_key(skill, env)
        if find_artefact(key) is None:
            data = artefact_of(skill, leaf_shapes(domain_named(env)), self.folder)
            store_artefact(skill, env, data)
        return Verdict(ok=True, artefact=key)


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    stand_in = Sandbox(tmp_path)
    monkeypatch.setitem(sys.modules, "flowrl.verify.verify", stand_in)
    monkeypatch.setattr("flowrl.skillcode.artefact_cache.user_cache", lambda: tmp_path / "cache")
    return stand_in


def set_up(home: Path, skill: Skill = WOOD, **change: Any) -> RunPaths:
    """Returns a run of a skill that nobody vouched for, set up."""
    skill = skill.model_copy(update={"trusted": False, "code": f"{skill.code}\n# by a stranger\n", **change})
    base = load_base(TINY)
    library = SkillLibrary.open_for(home, SHORT)
    stranger = type(base)(base.env, base.vocabulary, (skill,), base.stated)
    return SkillSetUp(stranger, library, SHORT)(Proposal(skill.name, frozenset()), 0)


def trained(run: RunPaths) -> TrainResult:
    """What training makes of a run, in this process."""
    InlineExecutor().submit(Job(run.folder, run.folder.name))
    return read_json(run.result, TrainResult)


def worker(run: RunPaths) -> TrainResult:
    """What the real worker process makes of a run."""
    command = [sys.executable, "-m", "flowrl.ppo_flow", str(run.folder)]
    subprocess.run(command, check=False, capture_output=True, timeout=240)
    return read_json(run.result, TrainResult)


def change_spec(run: RunPaths, **change: Any) -> None:
    write_json(run.config, read_json(run.config, RunSpec).model_copy(update=change))


def trap(folder: Path) -> str:
    """Returns code that leaves a file behind wherever it is run."""
    return f"open({str(folder / 'ran')!r}, 'w').close()\n"


def test_the_worker_never_runs_the_text(sandbox: Sandbox, tmp_path: Path) -> None:
    run = set_up(tmp_path / "home")
    spec = read_json(run.config, RunSpec)
    assert spec.exported.keys() == {"Collect Wood"} == set(sandbox.asked)
    assert [file.name for file in (run.folder / "artefacts").iterdir()] == [
        f"{spec.exported['Collect Wood'].key}.stablehlo"
    ]
    whole = run.module.read_text()
    assert "by a stranger" not in whole and "wood" in whole, "the text stays, composed"
    write_text(run.module, trap(tmp_path) + whole)
    write_text(run.folder / "source.py", trap(tmp_path) + whole)
    result = worker(run)
    assert result.outcome == "done" and result.frames == 8192, result.error
    assert not (tmp_path / "ran").exists()
    change_spec(run, exported={}, module_sha256="")
    build_env(read_json(run.config, RunSpec), run)
    assert (tmp_path / "ran").exists(), "the trap is one: traced, the text is run"


def test_the_worker_makes_the_same_experts_of_text_and_artefact(sandbox: Sandbox, tmp_path: Path) -> None:
    run = set_up(tmp_path / "home")
    traced = RunPaths(tmp_path / "skill_0_traced", 0)
    for file in (run.module, run.initial, run.config):
        traced.folder.mkdir(exist_ok=True)
        (traced.folder / file.name).write_bytes(file.read_bytes())
    change_spec(traced, exported={})
    assert trained(run).params_sha256 == trained(traced).params_sha256 != ""
    one, other = (read_arrays(each.folder / "params.safetensors") for each in (run, traced))
    assert_same_arrays(one, other)


def loaded(run: RunPaths) -> Any:
    return build_env(read_json(run.config, RunSpec), run)


def test_an_artefact_that_was_changed_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    run = set_up(tmp_path / "home")
    (file,) = (run.folder / "artefacts").iterdir()
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModuleError, match=r"\.stablehlo is not the file that .*run\.json names: it was changed since"):
        loaded(run)
    result = worker(run)
    assert result.outcome == "failed" and "it was changed since" in result.error
    file.unlink()
    with pytest.raises(ModuleError, match=r"Cannot read .*\.stablehlo, which the run needs"):
        loaded(run)


def test_an_artefact_that_calls_out_is_refused_though_the_run_names_it(sandbox: Sandbox, tmp_path: Path) -> None:
    run = set_up(tmp_path / "home")
    data = handmade(calls_out("mine"))
    ref = ArtefactRef(key="c" * 64, sha256=sha256(data))
    run.artefact(ref.key).write_bytes(data)
    change_spec(run, exported={"Collect Wood": ref})
    with pytest.raises(ModuleError, match="'Collect Wood' contains a call of 'mine', which workers do not run"):
        loaded(run)


def test_a_run_that_names_too_few_artefacts_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    run = set_up(tmp_path / "home")
    spec = read_json(run.config, RunSpec)
    change_spec(run, exported={"Another": spec.exported["Collect Wood"]})
    with pytest.raises(ModuleError, match="names no exported functions of 'Collect Wood'"):
        loaded(run)
    change_spec(run, exported=spec.exported, plan=spec.plan.model_copy(update={"steps": ()}))
    with pytest.raises(ModuleError, match="does not say which expert plays each of 1 tasks"):
        loaded(run)


def test_one_stranger_in_the_plan_and_every_skill_of_it_is_exported(sandbox: Sandbox, tmp_path: Path) -> None:
    library = SkillLibrary.open_for(tmp_path / "home", SHORT)
    add_skill(library, "Collect Wood", 0, status="learned", spec=WOOD.spec)
    base = load_base(TINY)
    table = base.skill("Place Table").model_copy(update={"trusted": False})
    skills = tuple(table if skill.name == table.name else skill for skill in base.skills)
    set_up_fn = SkillSetUp(type(base)(base.env, base.vocabulary, skills, base.stated), library, SHORT)
    run = set_up_fn(Proposal("Place Table", frozenset(["Collect Wood"])), 1)
    spec = read_json(run.config, RunSpec)
    assert set(spec.exported) == {"Collect Wood", "Place Table"} and len(sandbox.asked) == 2
    env = loaded(run)
    assert env.tasks.skill_of_task == env.tasks.expert_of_task == (0, 1)
    try_tasks(env, task_names(spec, run), jax.random.PRNGKey(0))


def test_a_bad_number_in_an_artefact_is_found_before_training(sandbox: Sandbox, tmp_path: Path) -> None:
    code = WOOD.code.replace("def reward(", "def spoilt(") + (
        "\n\ndef reward(inventory):\n    return 1.0 / (inventory.wood - 3.0)\n"
    )
    run = set_up(tmp_path / "home", code=code)
    with pytest.raises(ModuleError, match=r"task_0_reward \(of 'Collect Wood'\) returns NaN or infinity in \d+ of"):
        try_tasks(loaded(run), task_names(read_json(run.config, RunSpec), run), jax.random.PRNGKey(0))


def test_code_that_does_not_pass_leaves_no_run_and_says_why(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.broken = "Collect Wood"
    with pytest.raises(ModuleError, match=r"'Collect Wood' .* does not pass verification: reward is NaN .* kb verify"):
        set_up(tmp_path / "home")
    assert not (tmp_path / "home" / "training_runs").exists()


def test_the_amount_that_a_signature_names_counts_in_an_artefact_too(sandbox: Sandbox, tmp_path: Path) -> None:
    code = (
        "def is_done(inventory, n=3):\n    return inventory.wood >= n\n\n\ndef reward(inventory_diff):\n    return 0\n"
    )
    run = set_up(tmp_path / "home", code=code)
    exported = loaded(run)
    change_spec(run, exported={})
    traced = loaded(run)
    assert exported.amounts.high == exported.amounts.low == traced.amounts.high == (3,)


def test_a_run_goes_on_with_what_is_exported_today(sandbox: Sandbox, tmp_path: Path) -> None:
    run = set_up(tmp_path / "home")
    spec = read_json(run.config, RunSpec)
    (run.checkpoints).mkdir()
    (run.checkpoints / "update_3.json").write_text("{}")
    old = ArtefactRef(key="d" * 64, sha256="e" * 64)
    for planted in ({"Collect Wood": old}, {}):
        change_spec(run, exported=planted)
        set_up(tmp_path / "home")
        assert read_json(run.config, RunSpec) == spec and (run.checkpoints / "update_3.json").exists()
    assert loaded(run).tasks.skill_of_task == (0,)


def import_one(home: Path, folder: Path, entry: dict[str, Any]) -> None:
    file = folder / "published.json"
    file.write_text(json.dumps({"skills": [entry]}))
    base = load_base(TINY)
    write_imported(import_base(file, base.vocabulary, base), home_folder(home))


def test_an_imported_skill_is_trained_and_played_through_artefacts(sandbox: Sandbox, tmp_path: Path) -> None:
    home = tmp_path / "home"
    import_one(home, tmp_path, PUBLISHED)
    assert not base_for(TINY, home).skill("Chop Two").trusted
    record = train(home, SHORT, "chop two", Watcher(), executor_fn=inline)
    assert record.frames == 8192 and sandbox.asked == ["Chop Two"]
    library = SkillLibrary.open(home)
    module = library.skill_paths(record).module
    write_text(module, module.read_text() + "\n# read, but not run\n")
    rows: list[Any] = []
    evaluation = evaluate_goal(library, "Chop Two", 16, 0, 50, rows.append)
    assert evaluation.success.total == 16 and sandbox.asked == ["Chop Two", "Chop Two"]


def test_an_imported_skill_that_does_not_pass_blocks_nobody(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.broken = "Chop Two"
    home, watcher = tmp_path / "home", Watcher()
    import_one(home, tmp_path, PUBLISHED)
    base = base_for(TINY, home)
    outcome = grow(home, SHORT, len(base.skills), None, watcher, executor_fn=inline)
    assert "reward is NaN" in watcher.failures["Chop Two"] and "Chop Two" in outcome.failures
    assert [spec.skill for spec in watcher.specs][:1] == ["Collect Wood"] and not outcome.complete


def test_a_run_of_somebody_else_is_not_played_against_the_library(sandbox: Sandbox, tmp_path: Path) -> None:
    run = set_up(tmp_path / "home")
    library = SkillLibrary.open(tmp_path / "home")
    assert trained(run).outcome == "done"
    add_skill(library, "Collect Wood", 0, spec=WOOD.spec)
    change_spec(run, exported={})
    write_text(run.module, trap(tmp_path) + run.module.read_text())
    with pytest.raises(LibraryError, match="was set up by another user"):
        comparison(library, FinishedRun.load(run))
    assert not (tmp_path / "ran").exists()
