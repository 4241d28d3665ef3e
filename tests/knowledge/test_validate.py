"""Amounts as people write them, and specifications that make sense: in the game, by themselves, side by side."""

import ast
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrl.errors import SpecError
from flowrl.knowledge.base import KnowledgeBase, load_base
from flowrl.knowledge.own_skills import obstacle_of
from flowrl.knowledge.quantities import parse_quantity, quantity_text
from flowrl.knowledge.validate import problems_of
from flowrl.schema.skill import Quantity, Skill
from tests.support.skill_files import CLASSIC, TINY, WORDS, spec
from tests.support.symbolic import validate_skills

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
    "task name": (lambda s: s.model_copy(update={"name": "Task 0"}), r"name: tasks of a run have such names"),
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
        assert not problems_of(each, WORDS)


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
