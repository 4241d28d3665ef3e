"""Skills of a user's own: files, folders, the template, and flowrl kb."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flowrl.errors import SpecError, UsageError
from flowrl.knowledge.base import KnowledgeBase, load_base
from flowrl.knowledge.own_skills import check_file, check_text, obstacle_of, read_own_skill, template
from flowrl.library.catalog import base_for, read_skill_folder
from flowrl.planning.planner import plan
from flowrl.schema.skill import SkillSpec
from flowrl.skillcode.inputs import FULL_GAME_ONLY, SKILL_INPUTS
from flowrl.skillcode.source import SkillSource, compose_module
from tests.support.commands import kb
from tests.support.skill_files import CLASSIC, TINY, WORDS, spec

TEN_LINES = '''"""Collect Two More: chop trees until n + 2 wood are in hand."""

SPEC = {"yields": {"wood": "n + 2", "achievement:COLLECT_WOOD": 1}, "item": "wood"}

def is_done(inventory, n):
    return inventory.wood >= n + 2

def reward(inventory_diff):
    return inventory_diff.wood * 0.1
'''


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_ten_lines_are_a_skill(tmp_path: Path) -> None:
    assert len(TEN_LINES.splitlines()) <= 10
    base = load_base(TINY)
    file = write(tmp_path, "two.py", TEN_LINES)
    assert check_file(file, base) == []
    mine = read_own_skill(file, base.vocabulary)
    assert (mine.name, mine.description) == ("Collect Two More", "Chop trees until n + 2 wood are in hand.")
    assert mine.spec == spec(yields={"wood": "n + 2", "achievement:COLLECT_WOOD": 1}, item="wood")
    assert mine.trusted and "SPEC" not in mine.code
    composed = compose_module([SkillSource("mine", mine.code)], [0], [0])
    names = {node.name for node in ast.parse(composed).body if isinstance(node, ast.FunctionDef)}
    assert {"mine_is_done", "mine_reward"} <= names and "SPEC" not in composed


def test_a_folder_extends_a_base_and_its_ranges(tmp_path: Path) -> None:
    base = load_base(TINY)
    much = TEN_LINES.replace("Collect Two More", "Make Much").replace('"yields": {"wood": "n + 2", ', '"yields": {')
    write(tmp_path, "b_two.py", TEN_LINES.replace("n + 2", "n"))
    write(tmp_path, "a_much.py", much.replace('"item"', '"requires": {"pickaxe": 1}, "consumes": {"stone": 7}, "item"'))
    extended = read_skill_folder(tmp_path, base)
    assert [s.name for s in extended.skills] == [*(s.name for s in base.skills), "Make Much", "Collect Two More"]
    ranges = {name: skill.spec.n_range for name, skill in extended.named().items()}
    assert base.skill("Collect Stone").spec.n_range == (1, 1) and ranges["Collect Stone"] == (1, 7)
    assert base.skill("Collect Wood").spec.n_range == ranges["Collect Wood"] == (1, 2), "though another yields wood too"
    assert plan("Make Much", extended.named(), vocabulary=base.vocabulary).steps[-1].skill == "Make Much"
    again = read_skill_folder(tmp_path, extended)
    assert [s.name for s in again.skills] == [s.name for s in extended.skills], "the very same skill is passed over"


def test_a_stated_range_stays_when_a_base_is_extended(tmp_path: Path) -> None:
    base = load_base(CLASSIC)
    write(tmp_path, "a.py", TEN_LINES.replace('"item"', '"requires": {"coal": 5}, "item"'))
    extended = read_skill_folder(tmp_path, base)
    assert "Collect Coal" in base.stated and extended.skill("Collect Coal").spec.n_range == (1, 2)


def test_a_base_skill_of_the_same_name_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path, "wood.py", TEN_LINES.replace("Collect Two More", "collect wood"))
    with pytest.raises(SpecError, match="'collect wood', name: it is too like 'Collect Wood'"):
        read_skill_folder(tmp_path, load_base(TINY))


def test_an_infeasible_skill_is_taken_and_said_to_be(tmp_path: Path) -> None:
    base = load_base(CLASSIC)
    file = write(tmp_path, "a.py", TEN_LINES.replace('"item"', '"requires": {"near:plant": 1}, "item"'))
    assert check_file(file, base) == []
    lonely = read_own_skill(file, base.vocabulary)
    only = KnowledgeBase(CLASSIC, base.vocabulary, ())
    assert "near:plant" in str(obstacle_of(lonely, only)) and obstacle_of(lonely, base) is None


BAD_FILES = {
    "no docstring": (TEN_LINES.split("\n", 1)[1], "must begin with a docstring"),
    "no colon": (TEN_LINES.replace(":", "", 1), "must begin with a docstring"),
    "no description": (TEN_LINES.replace("chop trees until n + 2 wood are in hand.", ""), "must begin with a doc"),
    "no spec": (TEN_LINES.replace("SPEC =", "SPECS ="), "it lacks SPEC"),
    "two specs": (TEN_LINES + "SPEC = {}\n", "SPEC is assigned 2 times, at lines 3, 10"),
    "spec is code": (TEN_LINES.replace('"n + 2"', "open('x')"), "SPEC, at line 3, must be plain data"),
    "spec is a list": (re.sub(r"SPEC = .*", "SPEC = []", TEN_LINES), "must be a dict"),
    "spec has no value": (re.sub(r"SPEC = .*", "SPEC: dict", TEN_LINES), "must be a dict"),
    "spec shares a line": (TEN_LINES.replace("SPEC =", "x = 1; SPEC ="), "lines of its own"),
    "spec is read": (TEN_LINES.replace("n + 2\n", "SPEC['x']\n"), "line 6 uses SPEC"),
    "a field twice": (TEN_LINES.replace('"item": "wood"', '"item": "wood", "item": "stone"'), "names 'item' twice"),
    "unknown field": (TEN_LINES.replace('"item"', '"itm"'), "no field 'itm'. Did you mean 'item'"),
    "float": (TEN_LINES.replace('"n + 2"', "2.0"), "'Collect Two More', yields wood: 2.0 is no amount"),
    "bool": (TEN_LINES.replace('"n + 2"', "True"), "yields wood: True is no amount"),
    "call": (TEN_LINES.replace('"n + 2"', '"min(n,2)"'), r"yields wood: 'min(n,2)' is no amount"),
    "amounts no dict": (TEN_LINES.replace('"item"', '"requires": ["wood"], "item"'), "requires: ['wood'] is not valid"),
    "floors no list": (TEN_LINES.replace('"item"', '"floors": 0, "item"'), "floors: 0 is not valid"),
    "floor as text": (TEN_LINES.replace('"item"', '"floors": ["0"], "item"'), "floors: '0' is not valid"),
    "range of three": (TEN_LINES.replace('"item"', '"n_range": (1, 2, 3), "item"'), "n_range: "),
    "unknown item": (TEN_LINES.replace('{"wood"', '{"woood"'), "yields woood: no item 'woood'"),
    "unknown input": (TEN_LINES.replace("inventory_diff", "inventory_dif"), "reward asks for 'inventory_dif'"),
    "another game's": (TEN_LINES.replace("(inventory_diff)", "(inventory_diff, player_level)"), "only full Craftax"),
    "star": (TEN_LINES.replace("(inventory, n)", "(*inventory)"), "named arguments only"),
    "no reward": (TEN_LINES.replace("def reward", "def rewards"), "lacks the function reward"),
    "a lambda": (re.sub(r"def reward.*\n.*", "reward = lambda n: n", TEN_LINES), "lacks the function reward"),
    "two rewards": (TEN_LINES + TEN_LINES[TEN_LINES.index("def reward") :], "reward is defined more than once"),
    "syntax": (TEN_LINES.replace(">=", ">>="), "does not parse at line 6"),
    "deep": (f'"""A: b."""\nSPEC = {"[" * 5000}\n', "parse|deep"),
    "zero byte": ("\0", "parse"),
    "name taken": (TEN_LINES.replace("Two More", "Wood"), "'Collect Wood', name: there is another"),
    "practice": (TEN_LINES.replace('"item"', '"practice": [("Colect Wood", 1)], "item"'), "mean 'Collect Wood'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_what_is_wrong_with_a_file_is_said(case: str, tmp_path: Path) -> None:
    text, said = BAD_FILES[case]
    base = load_base(TINY)
    file = write(tmp_path, "bad.py", text)
    problems = check_file(file, base)
    assert any(any(part in problem for part in said.split("|")) for problem in problems), problems
    assert all("bad.py" in problem for problem in problems)
    with pytest.raises(SpecError):
        read_skill_folder(tmp_path, base)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = TEN_LINES.replace('"item"', '"floors": [], "stays": 1, "requires": {"wod": 1, "stone": "n*n"}, "itm"')
    file = write(tmp_path, "bad.py", text.replace("inventory, n", "inventry, n").replace("def reward", "def rewards"))
    problems = "\n".join(check_file(file, load_base(TINY)))
    for said in (
        "floors: it names no floor",
        "stays: 1",
        "'wod'",
        "'n*n'",
        "'itm'",
        "'inventry'",
        "lacks the function reward",
    ):
        assert said in problems
    assert len(problems.splitlines()) == 7, problems


def test_reading_a_file_runs_nothing_of_it(tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')"
    write(tmp_path, "a.py", TEN_LINES + f"\n{trap}\n")
    assert "Collect Two More" in read_skill_folder(tmp_path, load_base(TINY)).named()
    write(tmp_path, "a.py", TEN_LINES.replace('"n + 2"', trap))
    with pytest.raises(SpecError, match="plain data"):
        read_skill_folder(tmp_path, load_base(TINY))
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_read_is_bad_usage(tmp_path: Path) -> None:
    base = load_base(TINY)
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00")
    for file in (tmp_path / "none.py", tmp_path / "bytes.py", tmp_path):
        with pytest.raises(UsageError, match=re.escape(str(file))):
            check_file(file, base)
    with pytest.raises(UsageError, match="no folder"):
        read_skill_folder(tmp_path / "none", base)


@pytest.mark.parametrize("env", [CLASSIC, TINY])
def test_the_template_is_a_skill_and_names_every_input(env: str, tmp_path: Path) -> None:
    base = load_base(env)
    text = template("Quite New", base.vocabulary)
    assert check_file(write(tmp_path, "new.py", text), base) == []
    for name, meaning in SKILL_INPUTS.items():
        listed = re.search(rf"^#   {name} +{re.escape(meaning[:20])}", text, flags=re.MULTILINE)
        assert bool(listed) == (name not in FULL_GAME_ONLY), name
    full = template("Quite New", WORDS)
    assert all(re.search(rf"^#   {name} ", full, flags=re.MULTILINE) for name in SKILL_INPUTS)
    stated = SkillSpec.model_fields.keys() - {"interrupt"}  # what pre-empts plans ships with the base
    assert all(re.search(rf"^#   {field} ", text, flags=re.MULTILINE) for field in stated)
    assert max(map(len, text.splitlines())) <= 120


# The command line.


def test_a_skill_is_written_checked_and_listed(tmp_path: Path) -> None:
    file = tmp_path / "mine" / "new.py"
    home = ("--home", str(tmp_path / "home"), "--env", TINY)
    assert kb("new", "Quite New", "--out", str(file), *home)[0] == 0
    assert kb("check", str(file), *home)[0] == 0
    with pytest.raises(UsageError, match="is not overwritten"):
        kb("new", "Quite New", "--out", str(file), *home)
    code, output = kb("list", "--kb", str(file.parent), "--json", *home)
    rows = {row["name"]: row for row in json.loads(output)}
    assert code == 0 and rows["Quite New"]["yields"] == {"wood": "n"} and rows["Quite New"]["trusted"]
    assert rows["Place Table"]["consumes"] == {"wood": "1"}
    assert "Quite New" in kb("list", "--kb", str(file.parent), *home)[1]
    assert "Quite New" not in kb("list", *home)[1]
    (tmp_path / "home" / "kb").mkdir(parents=True)
    file.rename(tmp_path / "home" / "kb" / "new.py")
    assert "Quite New" in kb("list", *home)[1] and "Quite New" in base_for(TINY, tmp_path / "home").named()


def test_check_says_all_as_json_and_by_its_exit_code(tmp_path: Path) -> None:
    bad = write(tmp_path, "bad.py", TEN_LINES.replace('{"wood"', '{"woood"').replace("def reward", "def rewards"))
    code, output = kb("check", str(bad), "--env", TINY, "--json")
    report = json.loads(output)
    assert code == 1 and not report["ok"] and len(report["problems"]) == 2
    good = write(tmp_path, "good.py", TEN_LINES.replace('"item"', '"practice": [("Sibling", 1)], "item"'))
    bad.write_text(TEN_LINES.replace("Collect Two More", "Sibling"))
    assert kb("check", str(good), "--env", TINY)[0] == 1
    assert kb("check", str(good), "--env", TINY, "--kb", str(tmp_path))[0] == 0


@pytest.mark.parametrize("name", ["Collect Wood", "collect wood", "3 Wood", "Task 1", 'A"""', "A: b", "A\\", "", "木"])
def test_a_name_that_cannot_be_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a skill"):
        kb("new", name, "--env", TINY, "--out", str(tmp_path / "a.py"))
    assert not list(tmp_path.iterdir())


def test_kb_commands_import_no_jax(tmp_path: Path) -> None:
    code = (
        "import sys; from flowrl.cli.kb import app; sys.argv = ['kb', *sys.argv[1:]]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'jax', 'flax', 'craftax'} & set(sys.modules)"
    )
    out = ["--out", str(tmp_path / "a.py"), "--env", TINY]
    for arguments in (["list"], ["new", "Quite New", *out], ["check", str(tmp_path / "a.py"), "--env", TINY]):
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def test_a_file_may_begin_as_many_models_begin_theirs() -> None:
    text = TEN_LINES.replace("SPEC =", "from __future__ import annotations\n\nSPEC =")
    assert text != TEN_LINES and check_text(text, "mine.py", load_base(TINY)) == []
