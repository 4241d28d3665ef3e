"""A user's own skill, from its file to the library; an imported one, until its code is looked at."""

import json
from pathlib import Path

import pytest

from flowrl.errors import LibraryError, PlanError
from flowrl.growing.grow import grow, train
from flowrl.library.home import SkillLibrary
from tests.support.runs import TINY, Watcher, grow_tiny, inline, tiny_config
from tests.support.skill_files import RETURN

PUBLISHED = {
    "skill_name": "Admire Stone",
    "description": "Looks at stone.",
    "requirements": {"pickaxe": "lambda n: 1"},
    "consumption": {},
    "gain": {"stone": "lambda n: 5 * n"},
    "ephemeral": False,
    "functions": "def is_done(inventory, n):\n    return inventory.stone >= n\n\n\ndef reward(inventory_diff):\n"
    "    return inventory_diff.stone\n\n\ndef network_number():\n    return 9\n",
}


@pytest.mark.slow
def test_a_skill_file_in_a_folder_is_learned_like_those_that_ship(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "mine"
    folder.mkdir()
    (folder / "return_to_table.py").write_text(RETURN)
    grow_tiny(home, "Collect Wood", "Place Table")
    watcher = Watcher()
    outcome = grow(home, tiny_config(), None, "Return To Table", watcher, folder, executor_fn=inline)
    assert outcome.complete and outcome.reason == "Return To Table is learned"
    played = [(step.skill, step.n) for step in watcher.records[0].plan.steps]
    assert played == [("Collect Wood", 1), ("Place Table", 1), ("Collect Wood", 2), ("Return To Table", 1)]
    record = SkillLibrary.open(home).record("Return To Table")
    assert record.status == "learned" and record.spec.practice == (("Collect Wood", 2),)


def test_skills_of_the_homes_own_folder_need_no_option(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "kb").mkdir(parents=True)
    (home / "kb" / "return_to_table.py").write_text(RETURN)
    with pytest.raises(PlanError, match="needs placed:table, which 'Place Table' yields but is not learned"):
        train(home, tiny_config(), "return to table", Watcher())
    assert SkillLibrary.open(home).description.env == TINY


def test_a_folder_that_is_not_ours_stays_so_with_a_kb_in_it(tmp_path: Path) -> None:
    (tmp_path / "kb").mkdir()
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(LibraryError, match="is not a flowrl home"):
        train(tmp_path, tiny_config(), "Collect Wood", Watcher())


def test_an_imported_skill_is_planned_with_before_anything_of_it_is_run(tmp_path: Path) -> None:
    from flowrl.knowledge.base import load_base
    from flowrl.knowledge.import_base import import_base, write_imported
    from flowrl.library.catalog import base_for, home_folder

    home, file = tmp_path / "home", tmp_path / "published.json"
    file.write_text(json.dumps({"skills": [PUBLISHED]}))
    base = load_base(TINY)
    write_imported(import_base(file, base.vocabulary, base), home_folder(home))
    assert base_for(TINY, home).skill("Admire Stone").spec.yields["stone"].at(1) == 5
    with pytest.raises(
        PlanError, match=r"'Admire Stone' .* needs pickaxe, which 'Make Pickaxe' yields but is not learn"
    ):
        train(home, tiny_config(), "Admire Stone", Watcher())
    assert not (home / "training_runs").exists()
