"""Whose code runs as text: never on the word of a home, an archive or a run's folder."""

import sys
from pathlib import Path
from typing import NoReturn

import pytest

from flowrl import userdirs
from flowrl.errors import LibraryError, ModuleError, PlatformError, UsageError
from flowrl.evaluation.evaluate import evaluate_goal
from flowrl.files import read_json, write_json, write_text
from flowrl.growing.controller import GrowLimits
from flowrl.growing.grow import train, train_module
from flowrl.growing.run_setup import ModuleSetUp, SkillSetUp
from flowrl.knowledge.base import load_base
from flowrl.library.catalog import base_for, skill_of
from flowrl.library.trust import exported_for, is_trusted, is_vouched, require_ours, vouch
from flowrl.parallel.scheduler import Proposal
from flowrl.schema.home import SkillRecord
from flowrl.schema.run import ArtefactRef, RunSpec
from flowrl.schema.skill import Skill, SkillSpec
from flowrl.userdirs import private_folder
from flowrl.verify.verdict import Verdict
from tests.support.commands import flowrl
from tests.support.homes import SMALL, add_skill, empty_home, two_wood
from tests.support.runs import TINY, Watcher, tiny_config
from tests.support.skill_files import RETURN

TEXT = "def is_done(n):\n    return n > 1\n\n\ndef reward(n):\n    return n * 1.0\n"
REF = ArtefactRef(key="a" * 64, sha256="b" * 64)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "state" / "flowrl" / "vouched"


def test_a_text_is_vouched_for_letter_by_letter(state: Path) -> None:
    assert not is_vouched(TEXT)
    vouch(TEXT, "mine")
    assert is_vouched(TEXT) and not is_vouched(TEXT + " ") and not is_vouched(TEXT.replace("> 1", "> 2"))
    (note,) = state.iterdir()
    assert note.read_text() == "mine\n" and state.stat().st_mode & 0o077 == 0


def test_notes_that_others_could_write_are_not_believed(state: Path) -> None:
    vouch(TEXT, "mine")
    state.chmod(0o707)
    with pytest.raises(PlatformError, match=r"Others can write to .*vouched"):
        is_vouched(TEXT)


def test_what_ships_is_trusted_and_nothing_else_that_nobody_vouched_for() -> None:
    assert all(is_trusted(skill.code, TINY) for skill in load_base(TINY).skills)
    assert not is_trusted(load_base(TINY).skills[0].code + "\n", TINY) and not is_trusted(TEXT, TINY)


def test_records_without_any_note_are_trusted_where_their_code_ships(tmp_path: Path) -> None:
    library = empty_home(tmp_path / "home")
    shipped, strange = add_skill(library, "Collect Wood", 0), add_skill(library, "Twist", 1)
    write_text(library.skill_paths(shipped).module, load_base(TINY).skill("Collect Wood").code)
    write_text(library.skill_paths(strange).module, TEXT)
    assert skill_of(library, shipped).trusted and not skill_of(library, strange).trusted
    vouch(TEXT, "mine")
    assert skill_of(library, strange).trusted


def test_a_skill_file_is_trusted_from_a_folder_that_was_named_not_from_the_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "kb").mkdir(parents=True)
    (home / "kb" / "return_to_table.py").write_text(RETURN)
    assert not base_for(TINY, home).skill("Return To Table").trusted
    named = base_for(TINY, home, home / "kb").skill("Return To Table")
    assert named.trusted and base_for(TINY, None, home / "kb").skill("Return To Table").trusted
    vouch(named.code, "mine")
    assert base_for(TINY, home).skill("Return To Table").trusted


def test_setting_up_a_run_of_trusted_code_notes_it_and_the_module(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "two.py").write_text(
        '"""Collect Two: chop until two are in hand."""\n\nSPEC = {"yields": {"wood": "n + 1"}}\n\n'
        "def is_done(inventory, n):\n    return inventory.wood > n\n\n\ndef reward(inventory_diff):\n"
        "    return inventory_diff.wood * 1.0\n"
    )
    library = empty_home(tmp_path / "home")
    base = base_for(TINY, tmp_path / "home", folder)
    run = SkillSetUp(base, library, SMALL)(Proposal("Collect Two", frozenset()), 0)
    spec = read_json(run.config, RunSpec)
    assert spec.exported == {} and is_vouched(base.skill("Collect Two").code)
    require_ours(run, spec)
    write_text(run.module, run.module.read_text() + "\n# by somebody else\n")
    with pytest.raises(LibraryError, match=r"skill_0_Collect_Two was set up by another user .* its module is not kno"):
        require_ours(run, spec)


def test_an_artefact_that_is_not_of_this_users_sandbox_is_not_run_either(tmp_path: Path) -> None:
    library = empty_home(tmp_path / "home")
    module = ModuleSetUp(library, SMALL, two_wood(0, 1), Path("two.py"))
    run = module(module.proposal("Two"), 1)
    spec = read_json(run.config, RunSpec).model_copy(update={"exported": {"Two": REF}})
    with pytest.raises(LibraryError, match="the export of 'Two' is not known here"):
        require_ours(run, spec)


def test_a_module_in_a_home_runs_only_where_its_user_passed_it(tmp_path: Path) -> None:
    library = empty_home(tmp_path / "home", SMALL)
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\n{two_wood(0, 1)}"
    record = add_skill(library, "Two", 1, companions=[0], module=trap)
    for act in (
        lambda: train(tmp_path / "home", SMALL, "Two", Watcher()),
        lambda: evaluate_goal(library, "Two", 8, 0, None, lambda row: None),
    ):
        with pytest.raises(
            ModuleError, match=r"'Two' is a task module that you have not passed by hand .* skills vouch"
        ):
            act()
    assert not (tmp_path / "ran").exists()
    done = flowrl("skills", "vouch", "Two", "--home", str(tmp_path / "home"))
    assert (
        done.returncode == 0
        and "runs outside the sandbox from now on" in done.stdout
        and skill_of(library, record).trusted
    )


def test_a_record_cannot_vouch_for_itself(tmp_path: Path) -> None:
    library = empty_home(tmp_path / "home")
    record = add_skill(library, "Two", 1, module=TEXT)
    data = read_json(library.skill_paths(record).record, SkillRecord).model_dump(mode="json")
    write_json(library.skill_paths(record).record, data | {"trusted": True})
    with pytest.raises(LibraryError, match="trusted"):
        library.records()


class Sandbox:
    """Stands for the sandbox: says what it was told to, and keeps what it was asked."""

    def __init__(self, verdict: Verdict):
        self.verdict, self.asked = verdict, list[str]()

    def verify(self, skill: Skill, env: str) -> Verdict:
        self.asked.append(skill.name)
        return self.verdict


def test_where_all_is_trusted_nothing_is_exported_and_one_stranger_makes_all_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox = Sandbox(Verdict(ok=False, error="is_done is never true: raise n."))
    monkeypatch.setitem(sys.modules, "flowrl.verify.verify", sandbox)
    mine = Skill(name="Mine", spec=SkillSpec(), code=TEXT)
    assert exported_for({"Mine": mine}, TINY) == {} and not sandbox.asked
    strange = mine.model_copy(update={"name": "Strange", "trusted": False})
    with pytest.raises(
        ModuleError, match=r"'Mine' .* does not pass verification: is_done is never true: raise n\. See"
    ):
        exported_for({"Mine": mine, "Strange": strange}, TINY)
    assert sandbox.asked == ["Mine"]


def test_training_a_module_vouches_for_it(tmp_path: Path) -> None:
    def no_workers(limits: GrowLimits) -> NoReturn:
        raise UsageError("not now")

    file = tmp_path / "two.py"
    file.write_text(two_wood(0, 1))
    with pytest.raises(UsageError, match="not now"):
        train_module(tmp_path / "home", tiny_config(), file, None, Watcher(), executor_fn=no_workers)
    assert is_vouched(file.read_text())


def test_a_group_that_is_the_users_own_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o770)
    monkeypatch.setattr(userdirs, "_is_own_group", lambda number: number == folder.stat().st_gid)
    assert private_folder(folder) == folder
    monkeypatch.setattr(userdirs, "_is_own_group", lambda number: False)
    with pytest.raises(PlatformError, match="chmod go-w"):
        private_folder(folder)
