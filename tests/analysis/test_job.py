"""Analysing the skills of a library in a process of its own, on the tiny game."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowrl.analysis.findings import Findings
from flowrl.analysis.job import analyse_skill, analysis_job
from flowrl.analysis.repair import repair
from flowrl.errors import TrainingError, UsageError
from flowrl.files import read_json
from flowrl.jobs.job import JobEnd
from flowrl.jobs.local import result_of
from flowrl.library.home import SkillLibrary
from flowrl.library.versions import respecify
from flowrl.paths import PlayPaths
from flowrl.rollout.world_seeds import ANALYSIS, EVALUATION, GATE, MERGE, TRAINING, world_key
from flowrl.schema.skill import Quantity, SkillSpec
from tests.support.inline import InlineExecutor

pytestmark = pytest.mark.slow
TABLE = "Place Table"


@pytest.fixture(scope="module")
def findings(grown: Path, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """What is found out about Place Table."""
    rows: list[Any] = []
    folder = tmp_path_factory.mktemp("analysis") / "table"
    found = analyse_skill(SkillLibrary.open(grown), TABLE, folder, rows.append)
    assert [row.kind for row in rows if row.kind != "playing"] == ["starting", "probing", "ablating"]
    assert [row for row in rows if row.kind == "playing"][-1].played == found.statistics.segments  # type: ignore[union-attr]
    assert read_json(folder / "result.json", Findings) == found and (folder / "heartbeat").exists()
    return found


@pytest.fixture
def library(grown: Path, tmp_path: Path) -> SkillLibrary:
    shutil.copytree(grown, tmp_path / "home")
    return SkillLibrary.open(tmp_path / "home")


def test_segments_that_the_experts_play_say_what_was_there_and_what_it_cost(findings: Findings) -> None:
    found = findings.statistics
    assert found is not None and found.segments >= 30 and not found.scripted
    wood, placed = found.named()["wood"], found.named()["placed:table"]
    assert wood.start.least == 1 and wood.consumed.median == 1
    assert placed.start.most == 0 and placed.end.least == 1
    assert next(iter(found.actions)) == "PLACE_TABLE"
    assert findings.frames >= found.segments


def test_the_last_step_is_tried_again_in_the_very_worlds_before_it(findings: Findings) -> None:
    again, probed = findings.ways
    assert (again.source, probed.source) == ("segments", "probing")
    assert again.action == probed.action == "PLACE_TABLE" and again.is_bare
    assert again.least["wood"] == {1: 1} and again.consumed == {"wood": {1: 1}}
    assert again.ended.keys() == {"near:table", "placed:table", "achievement:PLACE_TABLE"}


def test_two_segments_can_be_read(findings: Findings) -> None:
    shortest, typical = findings.trajectories
    assert len(shortest.frames) <= len(typical.frames)
    last = shortest.frames[-1]
    assert last.action == "PLACE_TABLE" and last.changed["wood"] == -1 and last.changed["placed:table"] == 1
    assert all(name != "GRASS" for frame in shortest.frames for name, _, _ in frame.near), (
        "what one walks on is no news"
    )


def test_a_true_specification_is_left_alone_and_a_wrong_one_repaired(grown: Path, findings: Findings) -> None:
    truth = SkillLibrary.open(grown).record(TABLE).spec
    assert repair(truth, findings).changes == ()
    wrong = truth.model_copy(update={"requires": {"stone": Quantity(base=1)}, "consumes": {}})
    assert repair(wrong, findings).spec == truth


def test_the_command_shows_what_it_found_and_applies_it(library: SkillLibrary) -> None:
    before = library.record(TABLE)
    wrong = before.spec.model_copy(
        update={"requires": {"wood": Quantity(base=4)}, "consumes": {"wood": Quantity(base=4)}}
    )
    respecify(library, TABLE, wrong)
    command = [sys.executable, "-m", "flowrl", "skills", "analyse", "place table", "--home", str(library.paths.root)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "what contradicts the specification" in shown and "PLACE_TABLE" in shown
    assert f"flowrl skills analyse '{TABLE}' --apply" in shown and library.record(TABLE).spec == wrong
    told = json.loads(
        subprocess.run([*command, "--apply", "--json"], capture_output=True, text=True, check=True).stdout
    )
    assert told["applied"] and {change["part"] for change in told["repair"]["changes"]} == {"requires", "consumes"}
    assert library.record(TABLE) == before
    kept = sorted(library.skill_paths(before).history.glob("spec_*.json"))
    assert [read_json(path, SkillSpec) for path in kept] == [before.spec, wrong]


def test_without_segments_it_says_so_and_probes_alone(library: SkillLibrary, tmp_path: Path) -> None:
    found = analyse_skill(library, TABLE, tmp_path / "analysis", lambda row: None, frames=0)
    assert found.statistics is None and found.trajectories == () and found.frames == 0
    assert "succeeded in 0 segments within 0 frames; 10 are needed" in found.notes[0]
    assert [way.source for way in found.ways] == ["probing"]
    assert repair(library.record(TABLE).spec, found).changes == ()


def test_the_job_runs_on_an_executor_and_the_same_seed_gives_the_same_answer(
    library: SkillLibrary, tmp_path: Path, findings: Findings
) -> None:
    job = analysis_job(library, library.record(TABLE), tmp_path / "analysis")
    executor = InlineExecutor()
    executor.submit(job)
    (end,) = executor.wait(0)
    again = result_of(end, Findings)
    assert end.code == 0
    assert again.model_copy(update={"seconds": findings.seconds}) == findings


def test_a_child_that_fails_is_told_with_the_end_of_its_log(library: SkillLibrary, tmp_path: Path) -> None:
    job = analysis_job(library, library.record(TABLE), tmp_path / "analysis")
    PlayPaths(job.folder).module.write_text("def task_0_is_done(")
    with job.log.open("wb") as log:
        code = subprocess.run(job.command(), stdout=log, stderr=log, check=False).returncode
    assert code == 1
    with pytest.raises(
        TrainingError, match=r"(?s)analysis of Place Table failed\..*exit code 1\)\. Its log ends:\n.*was changed after"
    ):
        result_of(JobEnd(job, code), Findings)
    with pytest.raises(UsageError, match="Did you mean 'Place Table'"):
        analyse_skill(library, "Palce Table", tmp_path / "other", lambda row: None)


def test_worlds_of_an_analysis_are_of_a_stream_of_their_own() -> None:
    keys = [np.asarray(world_key(purpose, 0)).tolist() for purpose in (TRAINING, GATE, EVALUATION, MERGE, ANALYSIS)]
    assert len({tuple(key) for key in keys}) == 5
