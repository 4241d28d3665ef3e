"""Plans found by the search, checked by its own oracle and by a third simulation written here."""

import itertools
import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrl.errors import PlanError, UsageError
from flowrl.fluents import Vocabulary
from flowrl.planning.check import check
from flowrl.planning.frontier import Frontier
from flowrl.planning.planner import curriculum_for, dependencies, plan
from flowrl.schema.plan import Plan, PlanStep
from flowrl.schema.skill import Quantity, Skill, SkillSpec

N = {"per_n": 1}


def skill(name: str, stays: bool = False, n_range: tuple[int, int] | None = None, **parts: dict[str, object]) -> Skill:
    """Returns a skill; amounts are whole numbers, or a dict for a `Quantity`."""
    spec = {
        part: {f.replace("__", ":"): Quantity(**a) if isinstance(a, dict) else Quantity(base=a) for f, a in of.items()}
        for part, of in parts.items()
    }
    return Skill(name=name, code="", spec=SkillSpec(**spec, stays=stays, n_range=n_range))


def named(*skills: Skill) -> dict[str, Skill]:
    return {s.name: s for s in skills}


WOOD = skill("Wood", yields={"wood": N})
STONE = skill("Stone", requires={"pickaxe": 1}, yields={"stone": N})
TABLE = skill("Table", requires={"wood": 2}, consumes={"wood": 2}, yields={"near__table": 1})
FURNACE = skill(
    "Furnace", True, requires={"near__table": 1, "stone": 1}, consumes={"stone": 1}, yields={"near__furnace": 1}
)
PICKAXE = skill("Pickaxe", True, requires={"near__table": 1}, consumes={"wood": 1}, yields={"pickaxe": 1})
SWORD = skill("Sword", True, requires={"near__table": 1}, consumes={"wood": 1}, yields={"sword": 1})
HARDER = skill(
    "Harder Pickaxe",
    True,
    requires={"near__table": 1, "pickaxe": 1},
    consumes={"wood": 1, "stone": 1},
    yields={"stone_pickaxe": 1},
)
SMELT = skill(
    "Smelt", True, requires={"near__table": 1, "near__furnace": 1}, consumes={"wood": 1, "stone": 1}, yields={"bar": 1}
)
SOLDIER = skill("Soldier", requires={"pickaxe": 1, "sword": 1, "near__table": 1}, yields={"achievement__SOLDIER": 1})
CRAFT = named(WOOD, TABLE, PICKAXE, SWORD, STONE, FURNACE, HARDER, SMELT, SOLDIER)


def outline(found: Plan) -> list[str]:
    """Returns the steps as "Skill", or "Skill n" where n is not 1."""
    return [step.skill + (f" {step.n}" if step.n > 1 else "") for step in found.steps]


@pytest.mark.parametrize(
    ("goal", "steps"),
    [
        ("Wood", ["Wood"]),
        ("wood=4", ["Wood 4"]),
        ("Table", ["Wood 2", "Table"]),
        ("pickaxe", ["Wood 3", "Table", "Pickaxe"]),
        ("stone=2", ["Wood 3", "Table", "Pickaxe", "Stone 2"]),
        ("achievement:SOLDIER", ["Wood 4", "Table", "Pickaxe", "Sword", "Soldier"]),
        ("Harder Pickaxe", ["Wood 6", "Table", "Pickaxe", "Stone", "Table", "Harder Pickaxe"]),
        ("bar", ["Wood 6", "Table", "Pickaxe", "Stone 2", "Table", "Furnace", "Smelt"]),
    ],
)
def test_amounts_add_up_and_tools_are_made_once(goal: str, steps: list[str]) -> None:
    assert outline(plan(goal, CRAFT)) == steps


def test_a_station_is_provided_by_the_step_right_before() -> None:
    for goal in CRAFT:
        steps = plan(goal, CRAFT).steps
        for before, after in itertools.pairwise(steps):
            if "near:table" in CRAFT[after.skill].spec.requires:
                assert before.skill == "Table" or CRAFT[before.skill].spec.stays


def test_steps_say_who_plays_them_and_what_for() -> None:
    found = plan("Soldier", CRAFT, experts={"Wood": 4, "Sword": 0})
    assert [step.expert for step in found.steps] == [
        4,
        None,
        *([None, 0] if found.steps[3].skill == "Sword" else [0, None]),
        None,
    ]
    why = {step.skill: step.why for step in found.steps}
    assert why["Wood"] in (
        "4 wood: 2 for Table, 1 for Pickaxe, 1 for Sword",
        "4 wood: 2 for Table, 1 for Sword, 1 for Pickaxe",
    )
    assert why["Pickaxe"] == "pickaxe for Soldier"
    assert why["Soldier"] == "the goal itself"
    assert dependencies(found) == tuple(step.skill for step in found.steps[:-1])


def test_a_step_is_for_those_who_come_before_its_yield_is_had_anew() -> None:
    ranged = CRAFT | named(skill("Wood", n_range=(1, 3), yields={"wood": N}))
    whys = [step.why for step in plan("Harder Pickaxe", ranged).steps if step.skill == "Wood"]
    assert whys == ["3 wood: 2 for Table, 1 for Pickaxe", "3 wood: 2 for Table, 1 for Harder Pickaxe"]


def test_the_goals_own_n_is_what_is_asked_else_the_top_of_its_range() -> None:
    ranged = CRAFT | named(skill("Wood", n_range=(1, 5), yields={"wood": N}))
    assert outline(plan("Wood", ranged)) == ["Wood 5"]
    assert outline(plan("Wood", ranged, n=2)) == ["Wood 2"]
    assert outline(plan("Wood=3", ranged)) == ["Wood 3"]
    assert outline(plan("wood", ranged, n=2)) == ["Wood 2"]
    assert plan("wood", ranged, n=2).goal == "wood=2"


def test_amounts_stay_within_the_range_that_a_skill_trains_on_where_they_can() -> None:
    ranged = CRAFT | named(skill("Wood", n_range=(1, 3), yields={"wood": N}))
    split = ["Wood 3", "Table", "Pickaxe", "Stone", "Wood 3", "Table", "Harder Pickaxe"]
    found = outline(plan("Harder Pickaxe", ranged))
    assert sorted(found) == sorted(split) and found[-3:] in (split[-3:], ["Stone", *split[-2:]])
    barn = skill("Barn", consumes={"wood": 7}, yields={"barn": 1})
    assert outline(plan("barn", ranged | named(barn))) == ["Wood 7", "Barn"]


def test_amounts_of_a_scaled_requirement_follow_n() -> None:
    planks = skill("Planks", consumes={"wood": {"per_n": 2, "base": 1}}, yields={"planks": {"per_n": 4}})
    assert outline(plan("planks=5", named(WOOD, planks))) == ["Wood 5", "Planks 2"]
    assert outline(plan("Planks", named(WOOD, planks), n=3, vocabulary=Vocabulary(capacity=12))) == [
        "Wood 7",
        "Planks 3",
    ]


@pytest.mark.parametrize(
    ("goal", "skills", "words"),
    [
        (
            "House",
            [WOOD, skill("House", requires={"wood": 12}, yields={"house": 1})],
            "'House' spec.requires 12 wood 9",
        ),
        (
            "house",
            [WOOD, skill("House", consumes={"wood": 12}, yields={"house": 1})],
            "'House' spec.consumes 12 wood 9",
        ),
        ("pickaxe=2", [WOOD, TABLE, PICKAXE], "2 pickaxe no skill yields more than 1"),
        ("stone", [WOOD, TABLE, STONE], "no known skill yields pickaxe 'Stone' needs pickaxe"),
        ("Sword", [TABLE, SWORD], "no known skill yields wood 'Sword' needs wood"),
        (
            "egg",
            [
                skill("Lay", requires={"hen": 1}, yields={"egg": 1}),
                skill("Hatch", requires={"egg": 1}, yields={"hen": 1}),
            ],
            "'Lay' needs hen 'Hatch' needs egg",
        ),
        (
            "both",
            [
                skill("Left", yields={"near__left": 1}),
                skill("Right", yields={"near__right": 1}),
                skill("Both", requires={"near__left": 1, "near__right": 1}, yields={"both": 1}),
            ],
            "near: is needed after leaves it",
        ),
        (
            "gate",
            [
                WOOD,
                skill("Door", consumes={"wood": 6}, requires={"near__hinge": 1}, yields={"near__door": 1}),
                skill("Hinge", consumes={"wood": 6}, yields={"near__hinge": 1}),
                skill("Gate", requires={"near__door": 1}, yields={"gate": 1}),
            ],
            "12 wood carried at once 9",
        ),
    ],
)
def test_an_unreachable_goal_says_what_is_missing(goal: str, skills: list[Skill], words: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan(goal, named(*skills))
    for word in words.split():
        assert word in str(caught.value)
    assert repr(goal) in str(caught.value)


@pytest.mark.parametrize(
    ("goal", "n", "words"),
    [
        ("Wod", None, "'wood'"),
        ("pikcaxe", None, "'pickaxe'"),
        ("wood=two", None, "wood=3"),
        ("wood=10", None, "more than the 9"),
        ("wood=2", 3, "different amounts"),
        ("wood", 0, "at least 1"),
        ("Table", 2, "leave n=2 out"),
    ],
)
def test_a_goal_that_makes_no_sense_is_refused(goal: str, n: int | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan(goal, CRAFT, n=n)


def next_skills(order: list[Skill], learned: list[str], vocabulary: Vocabulary | None = None) -> list[str]:
    frontier = Frontier({s.name: s for s in order if s.name in learned}, vocabulary or Vocabulary(), order)
    return [verdict.skill for verdict in frontier.judge_all(order) if verdict.standing == "ready"]


def reason(learned: list[str], skill: Skill, others: list[Skill] | None = None) -> str:
    frontier = Frontier({name: CRAFT[name] for name in learned}, others=others or CRAFT.values())
    return f"{frontier.judge(skill).standing}: {frontier.judge(skill).reason}"


def test_every_verdict_has_its_reason() -> None:
    assert reason(["Wood"], WOOD) == "learned: it is in the library"
    assert reason(["Wood"], TABLE) == "ready: it brings near:table"
    assert reason([], TABLE) == "out of reach: it needs 2 wood, which 'Wood' yields but is not learned"
    assert reason([], TABLE, [TABLE]) == "out of reach: it needs 2 wood, which no known skill yields"
    twigs = skill("Twigs", yields={"wood": 2})
    assert reason(["Wood"], twigs) == "not novel: learned skills reach all that it yields"
    assert reason([], twigs) == "ready: it brings 2 wood"
    shed = skill("Shed", requires={"near__table": 1, "near__furnace": 1, "wood": 9, "stone": 9}, yields={"shed": 1})
    known = [name for name in CRAFT if name != "Soldier"]
    assert reason(known, shed).startswith(
        "out of reach: learned skills reach near:furnace, near:table, stone, wood one"
    )


def test_a_shorter_way_to_a_station_is_new() -> None:
    home = skill("Home", requires={"near__table": 1}, yields={"near__table": 1})
    back = skill("Back", requires={"placed__table": 1}, yields={"near__table": 1})
    table = skill("Table", consumes={"wood": 2}, yields={"near__table": 1, "placed__table": 1})
    frontier = Frontier(named(WOOD, table))
    assert frontier.judge(back).reason == "it brings near:table in fewer steps"
    assert frontier.judge(home).standing == "not novel"


def test_a_skill_is_practised_with_learned_skills_only() -> None:
    back = skill("Back", requires={"placed__table": 1}, yields={"near__table": 1})
    back = back.model_copy(update={"spec": back.spec.model_copy(update={"practice": (("Stone", 1),)})})
    table = skill("Table", consumes={"wood": 2}, yields={"near__table": 1, "placed__table": 1})
    frontier = Frontier(named(WOOD, table))
    assert frontier.judge(back).reason == "it is practised after 'Stone', which is not learned"
    with pytest.raises(PlanError, match="'Back' cannot be learned now, it is out of reach: it is practised after"):
        frontier.require(back)
    stone = skill("Stone", yields={"stone": N})
    found = plan("Back", named(WOOD, table, back, stone))
    assert outline(found) == ["Wood 2", "Table", "Stone", "Back"]
    assert found.steps[2].why == "practice: Back is learned from afar"


def test_the_frontier_is_what_learned_skills_reach() -> None:
    order = list(CRAFT.values())
    assert next_skills(order, []) == ["Wood"]
    assert next_skills(order, ["Wood"]) == ["Table"]
    assert next_skills(order, ["Wood", "Table"]) == ["Pickaxe", "Sword"]
    assert next_skills(order, ["Wood", "Table", "Pickaxe"]) == ["Sword", "Stone"]
    assert next_skills(order, ["Table", "Pickaxe"]) == ["Wood"]
    assert next_skills(order, list(CRAFT)) == []
    assert next_skills(order, ["Wood"], vocabulary=Vocabulary(capacity=1)) == []


def test_the_curriculum_of_a_goal_is_in_base_order() -> None:
    assert curriculum_for("stone", list(CRAFT.values())) == ["Wood", "Table", "Pickaxe", "Stone"]
    assert curriculum_for("stone", list(reversed(CRAFT.values()))) == ["Stone", "Pickaxe", "Table", "Wood"]


def steps_of(*choices: tuple[str, int]) -> tuple[PlanStep, ...]:
    return tuple(PlanStep(skill=name, n=n) for name, n in choices)


@pytest.mark.parametrize(
    ("goal", "choices", "words"),
    [
        ("Table", [("Wood", 1), ("Table", 1)], "Step 2 of 2 .*'Table' .* 2 wood, but only 1"),
        ("pickaxe", [("Wood", 3), ("Table", 1), ("Wood", 3), ("Pickaxe", 1)], "Step 4 .* near:table, but only 0"),
        ("pickaxe", [("Wood", 3), ("Table", 1)], "only 0 pickaxe"),
        ("Table", [("Wood", 3), ("Table", 1), ("Pickaxe", 1)], "does not end with it"),
        ("Table", [("Wod", 2), ("Table", 1)], "no known skill. Did you mean 'Wood'"),
        ("wood", [("Wood", 10)], "Step 1 .* yields 10 wood, but only 9"),
        ("Wood", [("Wood", 0)], "less than 1"),
        ("Wood", [], "does not end with it"),
        ("wood=5", [("Wood", 4)], "only 4 wood"),
        ("wood=5", [("Wood", 4), ("Wood", 2)], "only 4 wood"),
        ("Table", [("Wood", 3), ("Table", 1), ("Table", 1)], "Step 3 of 3 .* 2 wood, but only 1"),
    ],
)
def test_check_names_the_first_step_that_fails(goal: str, choices: list[tuple[str, int]], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        check(Plan(goal=goal, steps=steps_of(*choices)), CRAFT)


FLUENTS = ["a", "b", "c", "near:x", "near:y"]
part = st.dictionaries(
    st.sampled_from(FLUENTS[:3]), st.builds(Quantity, per_n=st.integers(0, 1), base=st.integers(0, 3)), max_size=2
)
places = st.dictionaries(st.sampled_from(FLUENTS[3:]), st.just(Quantity(base=1)), max_size=1)
specs = st.builds(
    lambda requires, at, consumes, yields, leads, stays: SkillSpec(
        requires=requires | at, consumes=consumes, yields=yields | leads, stays=stays
    ),
    part, places, part, part, places, st.booleans(),
)  # fmt: skip
domains = st.lists(specs, min_size=2, max_size=6).map(
    lambda found: {f"S{i}": Skill(name=f"S{i}", code="", spec=spec) for i, spec in enumerate([SOURCE, *found])}
)
SOURCE = SkillSpec(yields={"a": Quantity(per_n=1)})


def plays(found: Plan, skills: Mapping[str, Skill], goal: str, amount: int, capacity: int) -> bool:
    """Returns whether the plan works, by playing it with single tokens: a third reading of what a spec means."""
    bag: list[str] = []
    for step in found.steps:
        spec = skills[step.skill].spec
        if any(bag.count(f) < q.per_n * step.n + q.base for f, q in spec.requires.items()):
            return False
        for fluent, quantity in spec.consumes.items():
            for _ in range(quantity.per_n * step.n + quantity.base):
                if fluent not in bag:
                    return False
                bag.remove(fluent)
        bag = [token for token in bag if spec.stays or not token.startswith("near:")]
        for fluent, quantity in spec.yields.items():
            wanted = quantity.per_n * step.n + quantity.base
            if wanted > capacity:
                return False
            bag += [fluent] * max(0, wanted - bag.count(fluent))
    return bag.count(goal) >= amount


@settings(max_examples=200, deadline=None)
@given(skills=domains, goal=st.sampled_from(FLUENTS), amount=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_plans_work_and_broken_ones_are_caught(skills: dict[str, Skill], goal: str, amount: int, seed: int) -> None:
    capacity = 5
    try:
        found = plan(goal, skills, n=amount, vocabulary=Vocabulary(capacity=capacity))
    except (PlanError, UsageError):
        assert not reachable_forward(skills, goal, amount, capacity, most=4)
        return
    assert plays(found, skills, goal, amount, capacity)
    for broken in mutations(found, random.Random(seed)):
        works = plays(broken, skills, goal, amount, capacity)
        assert passes(broken, skills, capacity) == works


@settings(max_examples=300, deadline=None)
@given(
    skills=domains,
    choices=st.lists(st.tuples(st.sampled_from(["S0", "S0", "S1", "S2"]), st.integers(1, 4)), min_size=1, max_size=6),
    goal=st.sampled_from(FLUENTS),
    amount=st.integers(1, 4),
)
def test_check_agrees_with_play(
    skills: dict[str, Skill], choices: list[tuple[str, int]], goal: str, amount: int
) -> None:
    found = Plan(goal=f"{goal}={amount}", steps=steps_of(*choices))
    assert passes(found, skills, capacity=5) == plays(found, skills, goal, amount, capacity=5)


def passes(found: Plan, skills: Mapping[str, Skill], capacity: int) -> bool:
    try:
        check(found, skills, vocabulary=Vocabulary(capacity=capacity))
    except PlanError:
        return False
    return True


def mutations(found: Plan, rng: random.Random) -> list[Plan]:
    """Returns the plan with a step dropped, two swapped, and an amount lowered or raised."""
    steps, i, j = list(found.steps), rng.randrange(len(found.steps)), rng.randrange(len(found.steps))
    swapped = steps.copy()
    swapped[i], swapped[j] = steps[j], steps[i]
    changed = [
        [*steps[:i], steps[i].model_copy(update={"n": steps[i].n + by}), *steps[i + 1 :]]
        for by in (-1, 1)
        if steps[i].n + by >= 1
    ]
    return [found.model_copy(update={"steps": tuple(each)}) for each in [steps[:i] + steps[i + 1 :], swapped, *changed]]


def reachable_forward(skills: Mapping[str, Skill], goal: str, amount: int, capacity: int, most: int) -> bool:
    """Returns whether some plan of up to ``most`` steps works, by trying them all forwards."""
    choices = [(name, n) for name, s in skills.items() for n in range(1, capacity + 1 if s.spec.scales else 2)]
    partial: list[tuple[tuple[str, int], ...]] = [()]
    for _ in range(most):
        partial = [(*before, choice) for before in partial for choice in choices]
        working = [p for p in partial if plays(Plan(goal="", steps=steps_of(*p)), skills, goal, 0, capacity)]
        if any(plays(Plan(goal="", steps=steps_of(*p)), skills, goal, amount, capacity) for p in working):
            return True
        partial = working[:100]
    return False
