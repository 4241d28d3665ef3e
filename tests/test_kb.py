"""Knowledge from outside the package: amounts as text, specifications that make sense, skills of a user's own."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from flowrl.env.module_source import SkillSource, compose_module
from flowrl.env.skill_names import FULL_GAME_ONLY, SKILL_INPUTS
from flowrl.errors import FlowRLError, SpecError, UsageError
from flowrl.fluents import Vocabulary
from flowrl.kb_cli import app
from flowrl.knowledge import KnowledgeBase, load_base
from flowrl.knowledge.affine import parse_quantity, quantity_text
from flowrl.knowledge.template import template
from flowrl.knowledge.user import base_for, check_file, obstacle_of, read_skill_file, read_skill_folder
from flowrl.knowledge.validate import validate_skill, validate_skills
from flowrl.planning.planner import plan
from flowrl.skill import Quantity, Skill, SkillSpec

CLASSIC, TINY = "Craftax-Classic-Symbolic-v1", "Tiny-Grid-v1"
WORDS = Vocabulary(
    capacity=9, items=("wood", "stone", "gem", "pickaxe"), tiers={"pickaxe": 4}, achievements=("EAT_COW", "SLEEP"),
    stations=("table", "oven"), intrinsics=("food",), floors=3,
)  # fmt: skip

# Amounts.


@pytest.mark.parametrize(
    ("text", "per_n", "base"),
    [
        ("2*n+1", 2, 1), ("n", 1, 0), ("n*2", 2, 0), ("3", 0, 3), ("2n + 1", 2, 1), ("1 + 2*n", 2, 1),
        ("-1 + n", 1, -1),
        ("lambda n: 2*n + 1", 2, 1), ("lambda count: 3count", 3, 0), ("2*(n + 3) - n", 1, 6), (" n ", 1, 0),
        ("(2 + 1) * (4 - 2)", 0, 6), ("lambda n2: n2 + 2", 1, 2), ("lambda min: min", 1, 0), ("0*n", 0, 0),
    ],
)  # fmt: skip
def test_amounts_are_read_as_affine_forms(text: str, per_n: int, base: int) -> None:
    assert parse_quantity(text, "here") == Quantity(per_n=per_n, base=base)


NOT_AFFINE = [
    "min(n,2)", "min(n, 2)", "lambda n: max(n, 3)", "n*n", "n**2", "1.5", "n/2", "n//2", "n % 2", "2*m", "x", "True",
    "None", "'n'", "[n]", "n if n else 1", "lambda: 3", "lambda n, m: n", "lambda n=1: n", "lambda *n: 3",
    "lambda n: lambda n: n", "lambda n: m", "__import__('os').system('true')", "n; n", "n\nn", "", "2(n)", "1e3",
    "0x10n", "~n", "n := 2", "n < 2",
    "(" * 150 + "n" + ")" * 150, "-" * 199, "9" * 150, "n" * 5_000_000, "(n" * 60, "\0", "n n", "{n: n}", "int('3')",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_AFFINE, ids=lambda text: text[:20])
def test_anything_else_is_refused_with_its_text_and_place(text: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_quantity(text, "'Make Pickaxe', requires wood")
    message = str(refused.value)
    assert message.startswith("'Make Pickaxe', requires wood: ") and len(message) < 500
    assert repr(text[:20])[:-1] in message


@pytest.mark.parametrize("value", [None, 3, 1.5, ["n"], {"n": 1}, b"n", True])
def test_what_is_no_text_is_no_amount(value: object) -> None:
    with pytest.raises(SpecError, match=r"'A', yields wood: .* is no amount"):
        parse_quantity(value, "'A', yields wood")


@given(st.integers(-500, 500), st.integers(-500, 500))
def test_an_amount_survives_being_written_and_read(per_n: int, base: int) -> None:
    quantity = Quantity(per_n=per_n, base=base)
    assert parse_quantity(quantity_text(quantity), "here") == quantity
    assert parse_quantity(f"lambda k: {base} + k*{per_n}".replace("*-", "*(-1)*"), "here") == quantity


forms = st.recursive(
    st.sampled_from(["n", "0", "1", "2", "7"]),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=8,
)


@given(forms)
def test_what_is_read_has_the_value_that_python_gives_the_text(text: str) -> None:
    code = compile(ast.parse(text, mode="eval"), "here", "eval")
    try:
        quantity = parse_quantity(text, "here")
    except SpecError as error:
        assert "multiplied by itself" in str(error) and text.count("n") >= 2
        return
    assert all(quantity.at(n) == eval(code, {"n": n}) for n in range(5))


# Specifications.


def spec(**parts: Any) -> SkillSpec:
    """A spec whose amounts are written as people write them."""
    amounts = {
        part: {fluent: parse_quantity(str(amount), part) for fluent, amount in parts.pop(part).items()}
        for part in ("requires", "consumes", "yields")
        if part in parts
    }
    return SkillSpec(**amounts, **parts)


def skill(name: str, **parts: Any) -> Skill:
    return Skill(name=name, spec=spec(**parts), code="")


@st.composite
def valid_skills(draw: st.DrawFn) -> list[Skill]:
    """Skills of which each needs only what those before it yield."""
    had, skills = dict[str, int](), list[Skill]()
    single = ["achievement:EAT_COW", "near:table", "placed:oven", "kills:1", "intrinsic:food"]
    for i in range(draw(st.integers(1, 7))):
        needs = {f: draw(st.integers(0, amount)) for f, amount in had.items() if draw(st.booleans())}
        spent = {f: needs[f] for f in needs if ":" not in f and draw(st.booleans())}
        item = draw(st.sampled_from(["wood", "stone", "gem"]))
        yields = {item: draw(st.sampled_from(["n", "1", "2*n", "n + 2", "9"])), draw(st.sampled_from(single)): 1}
        if draw(st.booleans()):
            yields["pickaxe"] = draw(st.integers(1, 4))
        to = draw(st.sampled_from([None, None, 1, 2]))
        skills.append(
            skill(
                f"Skill {i}", requires=needs, consumes=spent, yields=yields, to_floor=to, item=item,
                floors=draw(st.sampled_from([None, (0,), (0, 1)])), stays=to is None and draw(st.booleans()),
                n_range=draw(st.sampled_from([None, (1, 1), (1, 3)])),
                practice=((f"Skill {i - 1}", 1),) if i and draw(st.booleans()) else (),
            )
        )  # fmt: skip
        for fluent, quantity in skills[-1].spec.yields.items():
            had[fluent] = max(had.get(fluent, 0), quantity.at(1))
    return skills


def changed(skill: Skill, **update: Any) -> Skill:
    return skill.model_copy(update={"spec": skill.spec.model_copy(update=update)})


def more(part: str, fluent: str, amount: str) -> Callable[[Skill], Skill]:
    quantity = parse_quantity(amount, part)
    return lambda skill: changed(skill, **{part: {**getattr(skill.spec, part), fluent: quantity}})


DAMAGES: dict[str, tuple[Callable[[Skill], Skill], str]] = {
    "unknown item": (more("requires", "wod", "1"), r"requires wod: no item 'wod'.*'wood'"),
    "unknown achievement": (more("yields", "achievement:EAT_COWS", "1"), r"yields achievement:EAT_COWS.*'EAT_COW'"),
    "unknown station": (more("requires", "near:tabel", "1"), r"requires near:tabel.*'table'"),
    "unknown intrinsic": (more("yields", "intrinsic:mana", "1"), r"yields intrinsic:mana: no intrinsic"),
    "no such floor": (more("requires", "reached:3", "1"), r"requires reached:3.*floors 0 to 2"),
    "negative": (more("requires", "wood", "n - 5"), r"requires wood: .*-4 at n=1"),
    "shrinks": (more("yields", "wood", "9 - n"), r"yields wood: .*-n \+ 9.*shrinks"),
    "too much": (more("requires", "stone", "10"), r"requires stone: .*10 at n=1.*at most 9"),
    "too much spent": (more("consumes", "stone", "n + 9"), r"consumes stone: .*10 at n=1.*at most 9"),
    "too high a tier": (more("yields", "pickaxe", "5"), r"yields pickaxe: .*at most 4"),
    "a tier that grows": (more("requires", "pickaxe", "n"), r"requires pickaxe: .*tier.*write the tier"),
    "two achievements": (more("yields", "achievement:SLEEP", "n"), r"yields achievement:SLEEP: .*at most 1"),
    "spends nearness": (more("consumes", "near:table", "1"), r"consumes near:table: only items.*`requires`"),
    "spends a station": (more("consumes", "placed:oven", "1"), r"consumes placed:oven: only items"),
    "spends an achievement": (more("consumes", "achievement:SLEEP", "1"), r"consumes achievement:SLEEP: only items"),
    "spends a visit": (more("consumes", "reached:1", "1"), r"consumes reached:1: only items"),
    "spends kills": (more("consumes", "kills:1", "1"), r"consumes kills:1: only items"),
    "spends a level": (more("consumes", "intrinsic:food", "1"), r"consumes intrinsic:food: only items"),
    "requires a floor": (more("requires", "floor:1", "1"), r"requires floor:1: .*`floors`"),
    "yields a floor": (more("yields", "floor:1", "1"), r"yields floor:1: .*`to_floor`"),
    "no floor at all": (lambda s: changed(s, floors=()), r"floors: it names no floor"),
    "floor outside": (lambda s: changed(s, floors=(0, 3)), r"floors: there is no floor 3.*0 to 2"),
    "floor below zero": (lambda s: changed(s, floors=(-1,)), r"floors: there is no floor -1"),
    "ends outside": (lambda s: changed(s, to_floor=9, floors=None), r"to_floor: there is no floor 9"),
    "yields nothing": (lambda s: changed(s, yields={}, to_floor=None), r"yields: it yields nothing"),
    "yields none": (lambda s: changed(s, yields={"wood": Quantity()}, to_floor=None), r"yields: it yields nothing"),
    "goes and stays": (lambda s: changed(s, stays=True, to_floor=1), r"stays: .*floor 1"),
    "unknown shown item": (lambda s: changed(s, item="wod"), r"item: 'wod'.*'wood'"),
    "shown item no item": (lambda s: changed(s, item="near:table"), r"item: 'near:table' is no item"),
    "range upside down": (lambda s: changed(s, n_range=(3, 2)), r"n_range: 3 to 2"),
    "range from nothing": (lambda s: changed(s, n_range=(0, 2)), r"n_range: 0 to 2"),
    "range beyond hands": (lambda s: changed(more("yields", "gem", "n")(s), n_range=(1, 10)), r"gem: .*10 at n=10"),
    "practises the unknown": (lambda s: changed(s, practice=(("Skil 0", 1),)), r"practice: .*'Skil 0'.*'Skill 0'"),
    "practises itself": (lambda s: changed(s, practice=((s.name, 1),)), r"practice: it cannot be played before itself"),
    "practises nothing": (lambda s: changed(s, practice=(("Skill 0", 0),)), r"practice: .*n=0"),
    "needs its own": (
        lambda s: more("requires", "reached:2", "1")(more("yields", "reached:2", "1")(s)),
        r"requires: .*only itself yields",
    ),
    "task name": (lambda s: s.model_copy(update={"name": "Task 0"}), r"name: tasks of a run are called so"),
    "digits first": (lambda s: s.model_copy(update={"name": "3 Wood"}), r"name: .*begin it with a letter"),
    "no plain letter": (lambda s: s.model_copy(update={"name": "收集木头"}), r"name: .*begin it with a letter"),
    "no name": (lambda s: s.model_copy(update={"name": ""}), r"name: .*begin it with a letter"),
    "two lines": (lambda s: s.model_copy(update={"name": "A\nB"}), r"name: write it in one line"),
    "goal in the name": (lambda s: s.model_copy(update={"name": "wood=3"}), r"name: leave = out"),
}  # fmt: skip


@given(valid_skills())
def test_skills_that_build_on_each_other_pass(skills: list[Skill]) -> None:
    validate_skills(skills, WORDS)
    validate_skills(skills[1:], WORDS, known=skills[:1])
    for each in skills:
        validate_skill(each, WORDS)


@pytest.mark.parametrize("damage", DAMAGES)
@settings(max_examples=25)
@given(skills=valid_skills(), data=st.data())
def test_each_damage_is_found_and_named(damage: str, skills: list[Skill], data: st.DataObject) -> None:
    harm, said = DAMAGES[damage]
    if damage == "needs its own":
        skills = [changed(s, to_floor=None) for s in skills]
    i = data.draw(st.integers(0, len(skills) - 1))
    bad = harm(skills[i])
    with pytest.raises(SpecError, match=said) as refused:
        validate_skills([*skills[:i], bad, *skills[i + 1 :]], WORDS)
    assert any(line.startswith(f"{bad.name!r}, ") and re.search(said, line) for line in str(refused.value).split("\n"))


def test_skills_that_wait_for_each_other_are_named_in_a_circle() -> None:
    a = skill("A", requires={"gem": 1}, yields={"stone": 1})
    b = skill("B", requires={"stone": 1}, yields={"wood": 1})
    c = skill("C", requires={"wood": 1}, yields={"gem": 1})
    with pytest.raises(SpecError) as refused:
        validate_skills([a, b, c], WORDS)
    message = str(refused.value)
    links = "'A' needs gem, which 'C' yields", "'C' needs wood, which 'B' yields", "'B' needs stone, which 'A' yields"
    for link in links:
        assert link in message
    assert message.count("\n") == 0, "one circle is told once"
    validate_skills([a, b, c], WORDS, known=[skill("Find Gem", yields={"gem": 1})])
    with pytest.raises(SpecError, match="'C' needs 3 wood, which 'D' yields; 'D' needs gem, which 'C' yields"):
        validate_skills(
            [skill("B", yields={"wood": 2}), skill("C", requires={"wood": 3}, yields={"gem": 1}),
             skill("D", requires={"gem": 1}, yields={"wood": 3})], WORDS,
        )  # fmt: skip


def test_floors_can_wait_for_each_other_too() -> None:
    down = skill("Down", floors=(0,), requires={"gem": 1}, to_floor=1)
    dig = skill("Dig", floors=(1, 2), yields={"gem": 1})
    with pytest.raises(
        SpecError, match="'Down' needs gem, which 'Dig' yields; 'Dig' needs floor:1, which 'Down' yields"
    ):
        validate_skills([down, dig], WORDS)
    validate_skills([down, changed(dig, floors=(0, 1))], WORDS)


def test_what_nobody_yields_makes_a_skill_infeasible_but_is_no_error() -> None:
    needy = skill("Needy", requires={"gem": 1, "wood": 3}, yields={"stone": 1})
    validate_skills([needy, skill("Some Wood", yields={"wood": 2})], WORDS)
    base = KnowledgeBase("made up", WORDS, ())
    assert "no known skill yields gem" in str(obstacle_of(changed(needy, consumes={}), base))


def test_one_of_a_tool_may_be_needed_to_make_a_better_one() -> None:
    first = skill("First", yields={"pickaxe": 1})
    second = skill("Second", requires={"pickaxe": 1}, yields={"pickaxe": 2})
    validate_skills([first, second], WORDS)
    with pytest.raises(SpecError, match="'Second' needs 2 pickaxe, which only itself yields"):
        validate_skills([first, changed(second, requires={"pickaxe": Quantity(base=2)})], WORDS)


@pytest.mark.parametrize(("one", "other"), [("Eat Cow", "Eat Cow"), ("Eat Cow", "eat-cow"), ("Eat  Cow!", "Eat Cow")])
def test_names_that_would_share_a_folder_are_refused(one: str, other: str) -> None:
    pair = [skill(one, yields={"wood": 1}), skill(other, yields={"stone": 1})]
    for known in (pair[:1], []):
        with pytest.raises(SpecError, match=rf"{re.escape(repr(other))}, name: .*one folder"):
            validate_skills(pair[1:] if known else pair, WORDS, known)


def test_the_bases_that_ship_make_sense() -> None:
    for env in (CLASSIC, TINY):
        base = load_base(env)
        validate_skills(base.skills, base.vocabulary)


# Skills of a user's own.

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
    mine = read_skill_file(file, base.vocabulary)
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
    lonely = read_skill_file(file, base.vocabulary)
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
    "amounts no dict": (TEN_LINES.replace('"item"', '"requires": ["wood"], "item"'), "requires: ['wood'] won't do"),
    "floors no list": (TEN_LINES.replace('"item"', '"floors": 0, "item"'), "floors: 0 won't do"),
    "floor as text": (TEN_LINES.replace('"item"', '"floors": ["0"], "item"'), "floors: '0' won't do"),
    "range of three": (TEN_LINES.replace('"item"', '"n_range": (1, 2, 3), "item"'), "n_range: "),
    "unknown item": (TEN_LINES.replace('{"wood"', '{"woood"'), "yields woood: no item 'woood'"),
    "unknown input": (TEN_LINES.replace("inventory_diff", "inventory_dif"), "reward asks for 'inventory_dif'"),
    "another game's": (TEN_LINES.replace("(inventory_diff)", "(inventory_diff, player_level)"), "only full Craftax"),
    "star": (TEN_LINES.replace("(inventory, n)", "(*inventory)"), "named arguments only"),
    "no reward": (TEN_LINES.replace("def reward", "def rewards"), "lacks the function reward"),
    "a lambda": (re.sub(r"def reward.*\n.*", "reward = lambda n: n", TEN_LINES), "lacks the function reward"),
    "two rewards": (TEN_LINES + TEN_LINES[TEN_LINES.index("def reward") :], "reward is defined more than once"),
    "syntax": (TEN_LINES.replace(">=", ">>="), "does not parse at line 6"),
    "future": (TEN_LINES.replace("SPEC =", "from __future__ import annotations\nSPEC ="), "one module"),
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
    assert all(re.search(rf"^#   {field} ", text, flags=re.MULTILINE) for field in SkillSpec.model_fields)
    assert max(map(len, text.splitlines())) <= 120


# The command line.


def kb(*arguments: str) -> tuple[int, str]:
    """Returns exit code and output of a kb command; an error of flowrl's own is raised, as `flowrl.cli` expects it."""
    done = CliRunner().invoke(app, list(arguments))
    if isinstance(done.exception, FlowRLError):
        raise done.exception
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


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
        "import sys; from flowrl.kb_cli import app; sys.argv = ['kb', *sys.argv[1:]]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'jax', 'flax', 'craftax'} & set(sys.modules)"
    )
    out = ["--out", str(tmp_path / "a.py"), "--env", TINY]
    for arguments in (["list"], ["new", "Quite New", *out], ["check", str(tmp_path / "a.py"), "--env", TINY]):
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
