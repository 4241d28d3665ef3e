"""`flowrl runs`, `flowrl status`, `flowrl skills history` through the real entry point."""

import json
from pathlib import Path

import pytest

from benchmarks.tables.library import expert_arrays, fill_library, small_config
from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths
from flowrl.files import append_line, read_json, write_json, write_text
from flowrl.library.home import SkillLibrary
from flowrl.library.versions import VersionCandidate, install
from flowrl.parallel.controller_files import HomeRequest, leave_request, take_requests
from flowrl.parallel.run_folder import put_aside
from flowrl.parallel.run_reports import frames_played
from flowrl.schema.metrics import PlayedRow
from flowrl.schema.plan import Plan, PlanStep
from flowrl.schema.run import RunSpec, TaskSpec, TrainResult
from flowrl.stats import Share
from tests.support.commands import flowrl
from tests.support.runs import update_row


def set_up(library: SkillLibrary, expert: int, skill: str, needs: tuple[str, ...] = ()) -> None:
    steps = tuple(PlanStep(skill=name, n=1) for name in (*needs, skill))
    spec = RunSpec(
        skill=skill, config=small_config(), tasks=tuple(TaskSpec(skill=s.skill, low=1, high=1) for s in steps),
        local_to_global=(expert,), trained=(0,), own=0, plan=Plan(goal=skill, steps=steps),
    )  # fmt: skip
    paths = library.paths.run(expert, skill)
    write_json(paths.config, spec)
    append_line(paths.metrics, update_row(4096, Share(successes=30, total=60)))
    write_text(paths.log, "".join(f"line {i}\n" for i in range(100)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two learned skills, one run that was cut off and one that failed."""
    home = tmp_path_factory.mktemp("runs") / "home"
    config = small_config()
    arrays = expert_arrays(config)
    library = fill_library(home, 2, config, arrays, ("Collect Wood", "Place Table"))
    wood = library.record("Collect Wood")
    changed = {name: array + 1 for name, array in arrays.items()}
    module = library.skill_paths(wood).module.read_text()
    install(library, VersionCandidate(wood.model_copy(update={"version": 2}), changed, module, {}))
    set_up(library, 2, "Make Pickaxe", ("Collect Wood", "Place Table"))
    set_up(library, 3, "Collect Drink")
    failed = TrainResult(outcome="failed", error="task_0_reward returned NaN\nand more of it")
    write_json(library.paths.run(3, "Collect Drink").result, failed)
    return home


def test_runs_are_listed_with_state_and_success_so_far(home: Path) -> None:
    rows = json.loads(flowrl("runs", "list", "--json", "--home", str(home)).stdout)
    assert [(r["skill"], r["state"], r["expert"], r["frames"]) for r in rows] == [
        ("Make Pickaxe", "interrupted", 2, 4096),
        ("Collect Drink", "failed", 3, 4096),
    ]
    assert rows[0]["step_success"] == 0.5 and 0 < rows[0]["step_success_low"] < 0.5 < rows[0]["step_success_high"]
    assert rows[0]["needs"] == ["Collect Wood", "Place Table"]
    table = flowrl("runs", "--home", str(home)).stdout
    assert "interrupted" in table and "task_0_reward returned NaN" in table and "and more of it" not in table


def test_one_run_is_shown_with_its_whole_error_and_its_log(home: Path) -> None:
    shown = flowrl("runs", "show", "collect drink", "--home", str(home)).stdout
    assert "3 as 0 (global as local); 3 learns" in shown and "and more of it" in shown
    assert flowrl("runs", "logs", "Collect Drink", "--lines", "2", "--home", str(home)).stdout == "line 98\nline 99\n"
    unknown = flowrl("runs", "show", "Colect Drink", "--home", str(home))
    assert unknown.returncode == 2 and "Did you mean 'Collect Drink'" in unknown.stderr


def test_the_status_shows_skills_below_what_they_build_on(home: Path) -> None:
    shown = flowrl("status", "--home", str(home)).stdout
    lines = [line for line in shown.splitlines() if "──" in line]
    assert [line.split("── ")[1].split("  ")[0] for line in lines] == [
        "Collect Wood",
        "Place Table",
        "Make Pickaxe",
        "Collect Drink",
    ]
    assert lines[2].startswith("│   └──") and lines[3].startswith("└──"), "the pickaxe hangs below the table"
    assert "not running" in shown and "1 interrupted, 1 failed, 2 learned" in shown
    assert "Collect Drink failed: task_0_reward returned NaN" in shown
    found = json.loads(flowrl("status", "--json", "--home", str(home)).stdout)
    assert found["learned"] == ["Collect Wood", "Place Table"] and found["owner"] is None


def test_a_run_that_has_ended_is_not_cancelled_and_one_that_has_not_failed_not_tried_again(home: Path) -> None:
    cancelled = flowrl("runs", "cancel", "Collect Drink", "--home", str(home))
    assert cancelled.returncode == 2 and "has ended: failed" in cancelled.stderr
    again = flowrl("runs", "retry", "Make Pickaxe", "--home", str(home))
    assert again.returncode == 2 and "is interrupted; only a failed or cancelled run can be retried" in again.stderr


def test_a_home_that_is_grown_is_asked_by_a_file(home: Path) -> None:
    library = SkillLibrary.open(home)
    with library.lock():
        asked = flowrl("runs", "cancel", "make pickaxe", "--home", str(home))
        assert asked.returncode == 0 and "Asked the process" in asked.stdout
        flowrl("runs", "retry", "Collect Drink", "--home", str(home))
        unknown = flowrl("runs", "retry", "Nothing", "--home", str(home))
    assert unknown.returncode == 2
    assert take_requests(library.paths) == [
        HomeRequest(what="cancel", skill="Make Pickaxe"),
        HomeRequest(what="retry", skill="Collect Drink"),
    ]


def test_the_history_lists_versions_and_an_old_one_is_restored(home: Path) -> None:
    rows = json.loads(flowrl("skills", "history", "Collect Wood", "--json", "--home", str(home)).stdout)
    assert [(row["version"], row["current"]) for row in rows] == [(1, False), (2, True)]
    assert "current" in flowrl("skills", "history", "Collect Wood", "--home", str(home)).stdout
    restored = json.loads(flowrl("skills", "restore", "Collect Wood", "1", "--json", "--home", str(home)).stdout)
    assert restored["version"] == 3
    missing = flowrl("skills", "restore", "Collect Wood", "7", "--home", str(home))
    assert missing.returncode == 2 and "no version 7 in its history; there are: 1, 2" in missing.stderr


def test_requests_are_taken_once_in_the_order_in_which_they_were_left(tmp_path: Path) -> None:
    library = SkillLibrary.open_for(tmp_path / "home", small_config())
    wanted = [HomeRequest(what="cancel", skill=f"Skill {i}") for i in range(5)]
    for request in wanted:
        leave_request(library.paths, request)
    assert take_requests(library.paths) == wanted and take_requests(library.paths) == []


def test_all_frames_of_a_home_are_told_by_purpose(tmp_path: Path) -> None:
    """Of a run under way, one that failed, one that was put aside, one that only tried a reward, and a merge."""
    library = fill_library(tmp_path / "home", 1, small_config(), expert_arrays(small_config()), ("Collect Wood",))
    for expert, skill in enumerate(("Make Pickaxe", "Collect Drink", "Collect Stone"), 1):
        set_up(library, expert, skill)
    running, failed, trial = (paths for paths, _ in library.runs())
    append_line(running.metrics, PlayedRow(purpose="gate", played=500))
    append_line(running.metrics, PlayedRow(purpose="starts", played=30))
    append_line(running.metrics, PlayedRow(purpose="gate", played=200))
    write_json(failed.result, TrainResult(outcome="failed", error="no"))
    write_json(trial.config, read_json(trial.config, RunSpec).model_copy(update={"trial": True}))
    assert frames_played(library) == {"train": 4096, "failed": 4096, "candidates": 4096, "gate": 700, "starts": 30}
    put_aside(running.folder)
    set_up(library, 1, "Make Pickaxe")
    evaluation = library.record("Collect Wood").evaluation
    answer = ComparisonAnswer(held={}, bundle=None, verdicts=(), evaluation=evaluation, status="learned", frames=9000)
    write_json(ComparisonPaths.of(running).result, answer)
    frames = {"merge": 9000, "train": 8192, "failed": 4096, "candidates": 4096, "gate": 700, "starts": 30}
    assert json.loads(flowrl("status", "--json", "--home", str(library.paths.root)).stdout)["frames"] == frames
    line = "frames played: 26,114 (merge 9,000, train 8,192, failed 4,096, candidates 4,096, gate 700, starts 30)"
    assert line in flowrl("status", "--home", str(library.paths.root)).stdout
    assert "frames played: 26,114" in flowrl("skills", "list", "--home", str(library.paths.root)).stdout
