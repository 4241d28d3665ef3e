"""Import of published-style knowledge bases: translated, checked, all or nothing, never run."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrl.config import build_config
from flowrl.errors import LibraryError, ModuleError, SpecError, UsageError
from flowrl.files import write_json
from flowrl.fluents import Vocabulary
from flowrl.knowledge.base import KnowledgeBase, load_base
from flowrl.knowledge.import_base import ImportedSkills, import_base, imported_file, read_imported, write_imported
from flowrl.knowledge.published import translate
from flowrl.library.catalog import base_for, base_without_import, home_folder, read_skill_folder
from flowrl.library.home import description_of
from flowrl.library.trust import exported_for
from flowrl.paths import HomePaths
from flowrl.planning.planner import plan
from flowrl.schema.skill import Quantity, Skill
from flowrl.skillcode.skill_file import read_skill_file
from flowrl.skillcode.source import SkillSource, compose_module
from tests.support.commands import kb
from tests.support.skill_files import CLASSIC, TINY

FULL = "Craftax-Symbolic-v1"
WORDS = Vocabulary(
    capacity=99, items=("wood", "stone", "iron", "torches", "pickaxe"), tiers={"pickaxe": 4},
    achievements=("COLLECT_WOOD", "PLACE_TABLE", "ENTER_DUNGEON", "MAKE_TORCH"), stations=("crafting_table", "furnace"),
    intrinsics=("food",), floors=9,
)  # fmt: skip
EMPTY = KnowledgeBase(FULL, WORDS, ())
Json = Any

CODE = '''def task_network_number():
    return 7


def task_reward(inventory, inventory_diff, health_penalty):
    """Pays for wood."""
    reward = inventory_diff.wood * 1.0  # a name of the author's
    return reward + health_penalty


def task_is_done(inventory, n=3):
    return inventory.wood >= n
'''


def entry(name: str, gain: Json, requirements: Json = None, consumption: Json = None, **more: Json) -> dict[str, Json]:
    """An entry of a published-style file."""
    return {
        "skill_name": name, "description": f"Does {name}.", "requirements": requirements or {},
        "consumption": consumption or {}, "gain": gain, "ephemeral": False, "functions": CODE,
    } | more  # fmt: skip


def whole() -> dict[str, Json]:
    """A small base of the published style, with every kind of key and of code."""
    numbered = CODE.replace("task_", "task_4_")
    plain = CODE.replace("task_", "")
    return {
        "skills": [
            entry("Chop", {"wood": "lambda n: n", "achievement:COLLECT_WOOD": "lambda n: 1"},
                  functions=f"```python\n{CODE}```"),
            entry(
                "Build Table", {"ephemeral:near_crafting_table": {"type": "ephemeral", "expression": "lambda n: 1"}},
                {"wood": "lambda n: 2"}, {"wood": "lambda n: 0*n + 2"}, ephemeral=True,
                functions=f"Here is the code:\n\n```python\n{numbered}\n```\nIt pays for wood.",
            ),
            entry("Walk To Table", {"ephemeral:near_crafting_table": "lambda n: 1"},
                  {"achievement:PLACE_TABLE": "lambda n: 0"}, ephemeral=True, functions=plain),
            entry("Make Pick", {"pickaxe": {"type": "inventory", "expression": "lambda n: 2", "description": "a tier"}},
                  {"ephemeral:near_crafting_table": "lambda n: 1", "wood": "lambda k: 2*k + 1"},
                  {"wood": "lambda k: 2*k + 1"}),
            entry("Kill Many", {"stat:monsters_killed:1": "lambda n: 8*n"}, {"level:player_level": [1]}),
            entry("Climb Down", {"level:player_level": "lambda n: 1", "achievement:ENTER_DUNGEON": "lambda n: 1"},
                  {"level:player_level": "lambda n: 0", "pickaxe": "lambda n: 1"}),
            entry("Make Torches", {"torches": "lambda n: 4*n"},
                  {"level:player_level": [0, 1, 2], "wood": "lambda n: n"}, {"wood": "lambda n: n"},
                  floor_availability=[0]),
        ]
    }  # fmt: skip


def stored(folder: Path, data: Json) -> Path:
    file = folder / "published kb.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


def test_every_kind_of_key_is_translated(tmp_path: Path) -> None:
    report = import_base(stored(tmp_path, whole()), WORDS, EMPTY)
    specs = {skill.name: skill.spec for skill in report.skills}
    assert list(specs) == [each["skill_name"] for each in whole()["skills"]] and not report.held
    assert specs["Chop"].yields == {"wood": Quantity(per_n=1), "achievement:COLLECT_WOOD": Quantity(base=1)}
    assert specs["Chop"].item == "wood" and specs["Chop"].floors is None
    table = specs["Build Table"]
    assert table.yields == {"near:crafting_table": Quantity(base=1), "placed:crafting_table": Quantity(base=1)}
    assert table.stays and table.consumes == table.requires == {"wood": Quantity(base=2)} and table.item == "wood"
    walk = specs["Walk To Table"]
    assert walk.yields == {"near:crafting_table": Quantity(base=1)} and not walk.stays and not walk.requires
    assert specs["Make Pick"].requires["wood"] == Quantity(per_n=2, base=1)
    assert specs["Kill Many"].yields == {"kills:1": Quantity(per_n=8)} and specs["Kill Many"].floors == (1,)
    assert (specs["Climb Down"].floors, specs["Climb Down"].to_floor) == ((0,), 1)
    assert specs["Climb Down"].yields == {"achievement:ENTER_DUNGEON": Quantity(base=1)}
    assert specs["Make Torches"].floors == (0, 1, 2)
    assert report.notes == ("'Make Torches': ignored floor_availability",)
    assert all(skill.description == f"Does {skill.name}." for skill in report.skills)


def test_what_was_imported_can_be_planned_with(tmp_path: Path) -> None:
    report = import_base(stored(tmp_path, whole()), WORDS, EMPTY)
    skills = {skill.name: skill for skill in report.skills}
    steps = [(step.skill, step.n) for step in plan("Kill Many", skills, vocabulary=WORDS, n=1).steps]
    assert steps == [("Chop", 3), ("Walk To Table", 1), ("Make Pick", 1), ("Climb Down", 1), ("Kill Many", 1)]


def test_functions_are_found_by_name_in_any_order_and_the_authors_text_stays(tmp_path: Path) -> None:
    report = import_base(stored(tmp_path, whole()), WORDS, EMPTY)
    for skill in report.skills:
        assert not read_skill_file(skill.code, skill.name).problems
        assert "# a name of the author's" in skill.code
    code = {skill.name: skill.code for skill in report.skills}
    assert code["Chop"].startswith(CODE) and code["Walk To Table"] == CODE.replace("task_", "")
    for name in ("Chop", "Build Table", "Walk To Table"):
        scope: dict[str, Any] = {}
        composed = compose_module([SkillSource("it", code[name])], [0], [0])
        exec(compile(composed, name, "exec"), scope)  # ours, not an imported text: CODE above

        class Hands:
            wood = 3

        assert scope["task_0_is_done"](inventory=Hands) and not scope["task_0_is_done"](inventory=Hands, n=4)
        assert scope["task_0_reward"](inventory=Hands, inventory_diff=Hands, health_penalty=0.5) == 3.5


def test_nothing_imported_is_run_and_nothing_is_trusted(tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\n\n\n{CODE}"
    data = {"skills": [entry("Chop", {"wood": "lambda n: n"}, functions=trap)]}
    report = import_base(stored(tmp_path, data), WORDS, EMPTY)
    write_imported(report, tmp_path / "kb")
    back = read_skill_folder(tmp_path / "kb", EMPTY).skill("Chop")
    assert not (tmp_path / "ran").exists() and not back.trusted and trap in back.code
    assert not any(skill.trusted for skill in report.skills)


def test_a_file_that_calls_its_skills_trusted_is_not_believed(tmp_path: Path) -> None:
    file = write_imported(import_base(stored(tmp_path, whole()), WORDS, EMPTY), tmp_path / "kb")
    held = ImportedSkills.model_validate_json(file.read_text())
    trusting = tuple(skill.model_copy(update={"trusted": True}) for skill in held.skills)
    file.write_text(held.model_copy(update={"skills": trusting}).model_dump_json())
    assert not any(skill.trusted for skill in read_imported(file, FULL, WORDS))


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    source = stored(tmp_path, whole())
    report = import_base(source, WORDS, EMPTY)
    file = write_imported(report, home_folder(tmp_path / "home"))
    assert file == imported_file(source, tmp_path / "home" / "kb") == tmp_path / "home" / "kb" / "published_kb.json"
    assert read_imported(file, FULL, WORDS) == list(report.skills)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with pytest.raises(UsageError, match=f"skills of {FULL}, not of {CLASSIC}"):
        read_imported(file, CLASSIC, WORDS)


def test_another_file_of_the_same_name_does_not_replace_the_first(tmp_path: Path) -> None:
    kept = write_imported(import_base(stored(tmp_path, whole()), WORDS, EMPTY), tmp_path / "kb")
    before = kept.read_text()
    (tmp_path / "other").mkdir()
    other = stored(tmp_path / "other", {"skills": [entry("Dig", {"stone": "lambda n: n"})]})
    with pytest.raises(UsageError, match=r"holds an earlier import with Chop, .* would be lost. Rename"):
        write_imported(import_base(other, WORDS, EMPTY), tmp_path / "kb")
    assert kept.read_text() == before
    more = {"skills": [*whole()["skills"], entry("Dig", {"stone": "lambda n: n"})]}
    write_imported(import_base(stored(tmp_path, more), WORDS, EMPTY), tmp_path / "kb")
    assert [skill.name for skill in read_imported(kept, FULL, WORDS)][-1] == "Dig"


def test_skills_that_the_base_has_stay_as_they_are(tmp_path: Path) -> None:
    base = load_base(CLASSIC)
    mine = {"near:crafting_table"}
    data = {
        "skills": [
            entry("place table", {"ephemeral:near_crafting_table": "lambda n: 1"}, {"wood": "lambda n: 4"}),
            entry("Twice Eaten", {"achievement:EAT_COW": "lambda n: 1"}),
        ]
    }
    report = import_base(stored(tmp_path, data), base.vocabulary, base)
    assert report.held == ("place table",) and [skill.name for skill in report.skills] == ["Twice Eaten"]
    write_imported(report, tmp_path / "kb")
    extended = read_skill_folder(tmp_path / "kb", base)
    assert mine <= extended.skill("Place Table").spec.yields.keys() and extended.skills[-1].name == "Twice Eaten"
    data["skills"][0]["requirements"] = {"wod": "lambda n: 4"}
    with pytest.raises(SpecError, match="'place table', requirements wod"):
        import_base(stored(tmp_path, data), base.vocabulary, base)


def change(path: list[str | int], value: Json) -> Callable[[Json], None]:
    """Puts a value into a file's data, or removes what is there if it is `...`."""

    def apply(data: Json) -> None:
        for step in path[:-1]:
            data = data[step]
        if value is ...:
            del data[path[-1]]
        else:
            data[path[-1]] = value

    return apply


def code(value: Json) -> Callable[[Json], None]:
    return change(["skills", 0, "functions"], value)


PICK = ["skills", 3]
BAD = {
    "min": (
        change([*PICK, "requirements", "wood"], "lambda n: min(n,2)"),
        r"'Make Pick', requirements wood: 'lambda n: min\(n,2\)'",
    ),
    "square": (
        change([*PICK, "consumption", "wood"], "lambda n: n*n"),
        r"'Make Pick', consumption wood: 'lambda n: n\*n'",
    ),
    "float": (change([*PICK, "gain", "pickaxe"], "lambda n: 1.5"), r"'Make Pick', gain pickaxe: 'lambda n: 1\.5'"),
    "number": (change([*PICK, "requirements", "wood"], 3), r"'Make Pick', requirements wood: 3 is no amount"),
    "null": (change([*PICK, "consumption", "wood"], None), r"consumption wood: None is no amount"),
    "no expression": (change([*PICK, "gain", "pickaxe"], {"type": "inventory"}), r"gain pickaxe: it has no expression"),
    "expression number": (change([*PICK, "gain", "pickaxe"], {"expression": 2}), r"gain pickaxe: 2 is no amount"),
    "negative": (change([*PICK, "consumption", "wood"], "lambda n: n - 4"), r"consumption wood: .*-3 at n=1"),
    "too much": (change([*PICK, "requirements", "stone"], "lambda n: 100"), r"requirements stone: .*at most 99"),
    "growing tier": (change([*PICK, "gain", "pickaxe"], "lambda n: n"), r"gain pickaxe: .*tier"),
    "no item": (change([*PICK, "requirements", "mithril"], "lambda n: 1"), r"requirements mithril: no item 'mithril'"),
    "no achievement": (
        change([*PICK, "gain", "achievement:FLY"], "lambda n: 1"),
        r"gain achievement:FLY: no achievement",
    ),
    "no station": (
        change([*PICK, "gain", "ephemeral:near_lake"], "lambda n: 1"),
        r"gain ephemeral:near_lake: no station",
    ),
    "no such key": (
        change([*PICK, "requirements", "level:player_dexterity"], "lambda n: 1"),
        r"level:player_dexterity: no key",
    ),
    "our own key": (change([*PICK, "requirements", "near:furnace"], "lambda n: 1"), r"near:furnace: no key"),
    "no such floor": (
        change([*PICK, "requirements", "level:player_level"], [0, 12]),
        r"requirements level:player_level: there is no floor 12",
    ),
    "no floors": (
        change([*PICK, "requirements", "level:player_level"], []),
        r"requirements level:player_level: it names no floor",
    ),
    "floors as text": (
        change([*PICK, "requirements", "level:player_level"], ["0"]),
        r"level:player_level: \['0'\] is no list",
    ),
    "floor grows": (
        change([*PICK, "requirements", "level:player_level"], "lambda n: n"),
        r"level:player_level: .*grows with n",
    ),
    "floor spent": (
        change([*PICK, "consumption", "level:player_level"], "lambda n: 1"),
        r"consumption: level.*not spent",
    ),
    "ends on two": (change([*PICK, "gain", "level:player_level"], [1, 2]), r"gain: level:player_level: .*one floor"),
    "kills below": (
        change([*PICK, "gain", "stat:monsters_killed:9"], "lambda n: 1"),
        r"gain stat:monsters_killed:9: 'stat:monsters_killed:9' names no floor; .*floors 0 to 8",
    ),
    "kills nowhere": (
        change([*PICK, "gain", "stat:monsters_killed:x"], "lambda n: 1"),
        r"gain stat:monsters_killed:x: ",
    ),
    "kills in other digits": (
        change([*PICK, "gain", "stat:monsters_killed:\u0663"], "lambda n: 1"),
        r"gain stat:monsters_killed:\u0663: .*names no floor",
    ),
    "kills with a zero before": (
        change([*PICK, "gain", "stat:monsters_killed:01"], "lambda n: 1"),
        r"gain stat:monsters_killed:01: .*names no floor",
    ),
    "leads nowhere": (
        change([*PICK, "gain", "level:player_level"], "lambda n: 12"),
        r"gain level:player_level: there is no floor 12",
    ),
    "spends nearness": (
        change([*PICK, "consumption", "ephemeral:near_furnace"], "lambda n: 1"),
        r"consumption ephemeral:near_furnace: only .*move it to `requirements`",
    ),
    "spends a deed": (
        change([*PICK, "consumption", "achievement:MAKE_TORCH"], "lambda n: 1"),
        r"consumption achievement:.*only",
    ),
    "yields nothing": (change([*PICK, "gain"], {}), r"'Make Pick', gain: it yields nothing"),
    "gain is a list": (change([*PICK, "gain"], ["pickaxe"]), r"'Make Pick', gain: \['pickaxe'\] is no object"),
    "gain missing": (change([*PICK, "gain"], ...), r"'Make Pick', gain: it is missing"),
    "requirements missing": (change([*PICK, "requirements"], ...), r"'Make Pick', requirements: it is missing"),
    "functions missing": (change([*PICK, "functions"], ...), r"'Make Pick', functions: it is missing"),
    "name missing": (change([*PICK, "skill_name"], ...), r"skill 4, skill_name: None is no name"),
    "name a number": (change([*PICK, "skill_name"], 4), r"skill 4, skill_name: 4 is no name"),
    "name empty": (change([*PICK, "skill_name"], "  "), r"skill 4, skill_name: "),
    "name in no letters": (change([*PICK, "skill_name"], "制作镐"), r"'制作镐', name: .*begin it with a letter"),
    "name with escapes": (change([*PICK, "skill_name"], "Make\x1b[31mPick"), r"name: write it in one line"),
    "key with escapes": (change([*PICK, "gain", "a\x1b[31m\nb"], "lambda n: n"), r"gain 'a\\x1b\[31m\\nb': no item"),
    "name a path": (change([*PICK, "skill_name"], "../../etc"), None),
    "same name": (change([*PICK, "skill_name"], "Chop"), r"'Chop', name: there is another of this name"),
    "same folder": (
        change([*PICK, "skill_name"], "build-table!"),
        r"'build-table!', name: it is too like 'Build Table'",
    ),
    "ephemeral a text": (change([*PICK, "ephemeral"], "yes"), r"'Make Pick', ephemeral: 'yes' is neither"),
    "description a list": (change([*PICK, "description"], []), r"'Make Pick', description: \[\] is no text"),
    "entry a text": (change(PICK, "Make Pick"), r"skill 4 is 'Make Pick', not an object"),
    "circle": (
        change(["skills", 0, "requirements"], {"pickaxe": "lambda n: 1"}),
        r"'Chop', requirements: 'Chop' needs pickaxe, which 'Make Pick' yields; ",
    ),
    "no code": (code(""), r"'Chop', functions lacks the function is_done"),
    "code no text": (code(["def"]), r"'Chop', functions: \['def'\] is no text"),
    "syntax": (code(CODE.replace(">=", ">>=")), r"'Chop', functions does not parse at line 12"),
    "fenced syntax": (
        code(f"Look:\n```python\n{CODE.replace('>=', '>>=')}```"),
        r"'Chop', functions does not parse at line 12",
    ),
    "open fence": (code(f"```python\n{CODE}"), r"'Chop', functions does not parse at line 1"),
    "prose": (code("It chops trees."), r"'Chop', functions does not parse"),
    "no reward": (code(CODE.replace("task_reward", "task_rewards")), r"'Chop', functions lacks the function reward"),
    "two rewards": (
        code(CODE + "\n\ndef reward(n):\n    return n\n"),
        r"more than one reward: task_reward at line 5 and reward at line 15",
    ),
    "two tasks": (code(CODE.replace("task_reward", "task_1_reward")), r"are not of one task"),
    "nested": (code("if True:\n" + re.sub(r"(?m)^(?=.)", "    ", CODE)), r"lacks the function is_done"),
    "name in use": (code("reward = 3\n" + CODE), r"reward is something else than task_reward there"),
    "import in use": (code("import math as is_done\n" + CODE), r"is_done is something else"),
    "unknown input": (
        code(CODE.replace("health_penalty", "mana_penalty")),
        r"'Chop', functions: task_reward|reward asks for 'mana",
    ),
    "deep code": (code("(" * 3000), r"'Chop', functions "),
}


@pytest.mark.parametrize("case", BAD)
def test_each_error_names_skill_and_field_and_nothing_is_brought(case: str, tmp_path: Path) -> None:
    harm, said = BAD[case]
    data = whole()
    harm(data)
    if said is None:
        report = import_base(stored(tmp_path, data), WORDS, EMPTY)
        file = write_imported(report, tmp_path / "kb")
        assert file.parent == tmp_path / "kb"
        return
    with pytest.raises(SpecError, match=said) as refused:
        import_base(stored(tmp_path, data), WORDS, EMPTY)
    assert all("published kb.json: " in line for line in str(refused.value).split("\n"))
    with pytest.raises(SpecError):
        kb("import", str(stored(tmp_path, data)), "--home", str(tmp_path / "home"), "--env", CLASSIC)
    assert [path.name for path in tmp_path.iterdir()] == ["published kb.json"]


NO_BASE = {
    "not json": ("{'skills': []}", "no JSON: .* at line 1"),
    "half": (json.dumps(whole())[:-40], "no JSON"),
    "empty": ("", "no JSON"),
    "list": ("[]", "no list of skills"),
    "text": ('"skills"', "no list of skills"),
    "nested": ("[" * 100_000, "nested too deep|no JSON"),
    "nested skill": ('{"skills": [' + '{"a":' * 50_000, "nested too deep|no JSON"),
    "skills a dict": ('{"skills": {"Chop": {}}}', "no list of skills"),
    "no skills": ('{"skills": []}', "empty"),
    "twice": ('{"skills": [{"skill_name": "A", "skill_name": "B"}]}', "key 'skill_name' twice"),
    "long number": ('{"skills": [' + "9" * 10_000 + "]}", "cannot be read"),
    "all numbers": ('{"skills": [1, 2.5, null, true, []]}', r"skill 3 is None, not an object"),
}


@pytest.mark.parametrize("case", NO_BASE)
def test_what_is_no_knowledge_base_is_refused(case: str, tmp_path: Path) -> None:
    text, said = NO_BASE[case]
    with pytest.raises(SpecError, match=said):
        import_base(stored(tmp_path, text), WORDS, EMPTY)


def test_what_cannot_be_read_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{}")
    for file in (tmp_path / "none.json", tmp_path / "bytes.json", tmp_path):
        with pytest.raises(UsageError, match=re.escape(str(file))):
            import_base(file, WORDS, EMPTY)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
places = st.sampled_from(["skill_name", "requirements", "consumption", "gain", "ephemeral", "functions", "description"])


@given(
    i=st.integers(0, 6),
    place=places,
    value=anything,
    key=st.none() | st.sampled_from(["wood", "level:player_level", "x"]),
)
def test_no_value_anywhere_breaks_the_translation(i: int, place: str, value: Json, key: str | None) -> None:
    data = copy.deepcopy(whole()["skills"][i])
    data[place] = value if key is None else {key: value}
    skill, found = translate(data, f"skill {i}", WORDS)
    assert skill is not None or found.problems
    if not found.problems:
        assert isinstance(skill, Skill) and not skill.trusted
    assert all(isinstance(problem, str) and problem for problem in found.problems)


def verify(*arguments: str) -> tuple[int, dict[str, Json]]:
    status, output = kb("verify", *arguments, "--json")
    return status, json.loads(output)


def test_imported_code_can_be_trained_if_and_only_if_it_verifies(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "home"), "--env", CLASSIC)
    plain = CODE.replace(", n=3", ", n")
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\n\n\n{plain}"
    entries = {"Hew": plain, "Trap": trap, "Freely": plain.replace("inventory.wood >= n", "inventory.wood >= 0")}
    data = {
        "skills": [
            entry(name, {"wood": f"lambda n: n + {i}"}, functions=code)
            for i, (name, code) in enumerate(entries.items())
        ]
    }
    kb("import", str(stored(tmp_path, data)), *home)
    status, verdicts = verify("--all", *home)
    assert status == 1 and {name: found["ok"] for name, found in verdicts.items()} == {
        "Hew": True, "Trap": False, "Freely": False,
    }  # fmt: skip
    assert "line 1" in verdicts["Trap"]["error"] and "is_done is true" in verdicts["Freely"]["error"]
    assert not (tmp_path / "ran").exists()
    base = base_for(CLASSIC, tmp_path / "home")
    assert exported_for({"Hew": base.skill("Hew")}, CLASSIC, ["Hew"])["Hew"].key == verdicts["Hew"]["artefact"]
    for name in ("Trap", "Freely"):
        with pytest.raises(ModuleError, match=f"'{name}' .* does not pass verification: .* kb verify '{name}'"):
            exported_for({name: base.skill(name)}, CLASSIC, [name])
    listed = kb("list", *home)[1]
    assert "Hew (verified)" in listed and "Trap (not verified)" in listed and "Freely (refused)" in listed


def test_what_was_looked_at_is_shown_as_a_table(tmp_path: Path) -> None:
    status, output = kb("verify", "place table", "--home", str(tmp_path / "none"), "--env", TINY)
    assert status == 0 and "Place Table is verified" in output
    assert all(
        re.search(rf"(?m)^{name} +ok ", output) for name in ("parse", "allow-list", "trace", "artefact", "finite")
    )
    assert "sandbox: processor time" in output
    with pytest.raises(UsageError, match="either a skill or --all"):
        kb("verify", "--home", str(tmp_path / "none"))
    assert "code of all skills is trusted" in kb("verify", "--all", "--home", str(tmp_path / "none"))[1]


def test_damaged_imports_are_named(tmp_path: Path) -> None:
    file = write_imported(import_base(stored(tmp_path, whole()), WORDS, EMPTY), tmp_path / "kb")
    text = file.read_text()
    file.write_text(text[:-100])
    with pytest.raises(LibraryError, match=r"published_kb\.json is damaged"):
        read_skill_folder(file.parent, EMPTY)
    file.write_text(text.replace('"kills:1"', '"kills:12"'))
    with pytest.raises(SpecError, match=r"published_kb\.json: 'Kill Many', yields kills:12"):
        read_skill_folder(file.parent, EMPTY)
    file.write_text(text.replace('"is_module": false', '"is_module": true', 1))
    with pytest.raises(SpecError, match="'Chop', is_module"):
        read_skill_folder(file.parent, EMPTY)


def test_import_on_the_command_line(tmp_path: Path) -> None:
    data = {
        "skills": [
            entry("Eat Again", {"achievement:EAT_COW": "lambda n: 1"}),
            entry("Eat Cow", {"wood": "lambda n: n"}),
        ]
    }
    home = ("--home", str(tmp_path / "home"), "--env", CLASSIC)
    status, output = kb("import", str(stored(tmp_path, data)), *home, "--json")
    assert status == 0 and json.loads(output)["imported"] == ["Eat Again"] and json.loads(output)["held"] == ["Eat Cow"]
    assert "Eat Again (not verified)" in kb("list", *home)[1]
    data["skills"][0]["description"] = "Another."
    assert "Imported 1 skills" in kb("import", str(stored(tmp_path, data)), *home)[1], "the same file anew"
    assert base_for(CLASSIC, tmp_path / "home").skill("Eat Again").description == "Another."
    (tmp_path / "other.json").write_text(json.dumps(data))
    assert "Nothing new" in kb("import", str(tmp_path / "other.json"), *home)[1]
    assert len(list((tmp_path / "home" / "kb").iterdir())) == 1
    write_json(HomePaths(tmp_path / "home").description, description_of(build_config(env__name=CLASSIC)))
    assert "Eat Again" not in base_for(TINY, tmp_path / "home").named(), "a home of another game adds nothing"
    with pytest.raises(UsageError, match=f"holds {CLASSIC}, not {TINY}"):
        kb("import", str(stored(tmp_path, data)), "--home", str(tmp_path / "home"), "--env", TINY)
    assert "Eat Again" not in base_without_import(CLASSIC, tmp_path / "home", stored(tmp_path, data)).named()
