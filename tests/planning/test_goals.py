"""What a goal's text asks for, whether `check` holds a plan to it, and what is said where no plan reaches it."""

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowrl.errors import PlanError, UsageError
from flowrl.knowledge.base import load_base
from flowrl.planning.check import check
from flowrl.planning.frontier import Frontier
from flowrl.planning.goals import parse_goal
from flowrl.planning.planner import plan
from flowrl.planning.symbolic import new_world
from flowrl.schema.plan import Plan, PlanStep
from flowrl.schema.skill import Quantity, Skill, SkillSpec
from tests.support.small_domains import Hand, domains, found_or_none, mutations, passes

CLASSIC, FULL = load_base("Craftax-Classic-Symbolic-v1"), load_base("Craftax-Symbolic-v1")


def parsed(goal: str) -> str:
    return parse_goal(goal, CLASSIC.named(), CLASSIC.vocabulary).text


def test_the_goal_of_a_skill_that_scales_says_its_amount() -> None:
    assert parsed("Collect Wood=9") == "Collect Wood=9"
    assert parsed("collect wood") == f"Collect Wood={(CLASSIC.skill('Collect Wood').spec.n_range or (0, 0))[1]}"
    assert parsed("Place Table") == "Place Table"
    assert parsed("Collect Wood=1, Place Table") == "Collect Wood=1, Place Table"


def test_what_is_wanted_twice_is_wanted_in_the_larger_amount() -> None:
    for goal in ("wood=5, wood=3", "wood=3, wood=5"):
        assert parsed(goal) == "wood=5"
        assert plan(goal, CLASSIC.named(), vocabulary=CLASSIC.vocabulary).steps[-1].n == 5
    assert parsed("Collect Wood=2, stone, Collect Wood=7") == "Collect Wood=7, stone"


@pytest.mark.parametrize("goal", ["Collect Wood=9", "Collect Wood=9, COLLECT_WOOD", "Collect Wood"])
def test_check_is_not_fooled_by_a_lowered_amount_of_the_skill_wanted(goal: str) -> None:
    found = plan(goal, CLASSIC.named(), vocabulary=CLASSIC.vocabulary)
    check(found, CLASSIC.named(), vocabulary=CLASSIC.vocabulary)
    lowered = [s.model_copy(update={"n": 1}) if s.skill == "Collect Wood" else s for s in found.steps]
    with pytest.raises(PlanError, match="'Collect Wood' with n=1, not"):
        check(Plan(goal=found.goal, steps=tuple(lowered[-1:])), CLASSIC.named(), vocabulary=CLASSIC.vocabulary)


def does(found: Plan, skills: dict[str, Skill], wanted: dict[str, int]) -> bool:
    """A third reading: whether a plan works and does what is wanted, last where it is one skill."""
    hand = Hand()
    if not all(hand.do(skills[step.skill].spec, step.n) for step in found.steps):
        return False
    steps = found.steps if len(wanted) > 1 else found.steps[-1:]
    return all(any(step.skill == name and step.n >= n for step in steps) for name, n in wanted.items())


@settings(max_examples=300, deadline=None)
@given(
    skills=domains,
    wanted=st.dictionaries(st.sampled_from(["S0", "S0", "S1", "S2"]), st.integers(1, 3), min_size=1, max_size=2),
    seed=st.integers(0, 2**16),
)
def test_the_oracle_agrees_with_a_third_reading_where_skills_are_wanted(
    skills: dict[str, Skill], wanted: dict[str, int], seed: int
) -> None:
    assume(wanted.keys() <= skills.keys())
    wanted = {name: min(n, skills[name].spec.max_n or n) for name, n in wanted.items()}
    wanted = {name: n if skills[name].spec.scales else 1 for name, n in wanted.items()}
    goal = ", ".join(name if n == 1 and not skills[name].spec.scales else f"{name}={n}" for name, n in wanted.items())
    found = found_or_none(goal, skills)
    assume(found is not None and found.steps)
    assert found is not None and does(found, skills, wanted)
    for broken in mutations(found, random.Random(seed)):
        assert passes(broken, skills) == does(broken, skills, wanted)


# What the game allows


def test_an_amount_beyond_what_the_game_allows_is_refused_for_goals_too() -> None:
    with pytest.raises(UsageError, match="'Make Iron Armour' cannot be done beyond n=4"):
        plan("Make Iron Armour=8", FULL.named(), vocabulary=FULL.vocabulary)
    with pytest.raises(PlanError, match="8 armour is asked for, but no skill yields more than 6"):
        plan("armour=8", FULL.named(), vocabulary=FULL.vocabulary)
    steps = (PlanStep(skill="Mould", n=3),)
    mould = Skill(name="Mould", code="", spec=SkillSpec(yields={"cast": Quantity(per_n=1)}, max_n=2))
    with pytest.raises(PlanError, match="'Mould' with n=3, cannot be done beyond n=2"):
        check(Plan(goal="cast", steps=steps), {"Mould": mould})
    assert plan("cast=2", {"Mould": mould}).steps[-1].n == 2
    with pytest.raises(PlanError, match="no skill yields more than 2"):
        plan("cast=3", {"Mould": mould})


@pytest.mark.parametrize("amount", range(1, 7))
def test_armour_with_a_piece_of_iron_leaves_a_place_for_it(amount: int) -> None:
    """The four pieces played out: iron goes where there is none, diamond where there is none of diamond."""
    found = plan(f"armour={amount}, MAKE_IRON_ARMOUR, MAKE_DIAMOND_ARMOUR", FULL.named(), vocabulary=FULL.vocabulary)
    pieces = [0, 0, 0, 0]
    for step in found.steps:
        if step.skill == "Make Iron Armour":
            assert 0 in pieces
            pieces[pieces.index(0)] = 1
            while sum(pieces) < step.n:
                pieces[pieces.index(0)] = 1
        elif step.skill == "Make Diamond Armour":
            while sum(piece == 2 for piece in pieces) < step.n:
                pieces[next(i for i, piece in enumerate(pieces) if piece < 2)] = 2
    assert sum(pieces) >= amount


def test_arrows_and_torches_are_made_by_the_batch() -> None:
    for goal, skill, n in (
        ("arrows=4", "Make Arrows", 2),
        ("torches=8", "Make Torches", 2),
        ("arrows=3", "Make Arrows", 2),
    ):
        last = plan(goal, FULL.named(), vocabulary=FULL.vocabulary).steps[-1]
        assert (last.skill, last.n) == (skill, n)


# Why not


def why_not(goal: str, left_out: tuple[str, ...]) -> str:
    known = {name: skill for name, skill in FULL.named().items() if name not in left_out}
    with pytest.raises(PlanError) as caught:
        plan(goal, known, vocabulary=FULL.vocabulary, unlearned=FULL.named())
    return str(caught.value)


def test_reasons_ask_for_the_tier_that_is_needed() -> None:
    text = why_not("Collect Diamond", ("Make Iron Pickaxe",))
    assert "'Make Iron Pickaxe' yields 3 pickaxe but is not learned; it can be learned next" in text
    text = why_not("Collect Diamond", ("Make Iron Pickaxe", "Make Diamond Pickaxe"))
    assert "no known skill yields 3 pickaxe" in text and "'Make Iron Pickaxe' yields 3 pickaxe" in text
    text = why_not("Make Iron Pickaxe", ("Make Stone Pickaxe", "Make Iron Pickaxe", "Make Diamond Pickaxe"))
    assert "'Make Stone Pickaxe' yields 2 pickaxe but is not learned; it can be learned next" in text


def test_the_frontier_names_who_yields_the_tier_that_is_needed() -> None:
    learned = {s.name: s for s in FULL.skills[:4]}
    verdict = Frontier(learned, FULL.vocabulary, FULL.skills).judge(FULL.skill("Collect Iron"))
    assert verdict.reason == "it needs 2 pickaxe, which 'Make Stone Pickaxe' yields but is not learned"
    learned["Make Diamond Pickaxe"] = FULL.skill("Make Diamond Pickaxe")
    verdict = Frontier(learned, FULL.vocabulary, FULL.skills).judge(FULL.skill("Collect Diamond"))
    assert verdict.reason == "it needs 3 pickaxe, which 'Make Iron Pickaxe' yields but is not learned"


def test_floors_that_nothing_leads_back_from_are_the_reason() -> None:
    text = why_not("sapphire=9, floor:0", ())
    assert "9 sapphire can be had on floor 2 only, floor:0 on floor 0 only" in text
    assert "no known skill leads from the one to the other" in text


# What holds at the start, and what a search did not settle


def test_the_first_floor_is_reached_at_the_start() -> None:
    assert new_world(FULL.vocabulary).amount("reached:0") == 1
    assert plan("reached:0", FULL.named(), vocabulary=FULL.vocabulary).steps == ()
    down = {name: FULL.skill(name) for name in ("Enter Dungeon", "Collect Wood")}
    frontier = Frontier(down, FULL.vocabulary, FULL.skills)
    back = FULL.skill("Return To Overworld")
    assert frontier.judge(back).reason == "it brings floor:0 in fewer steps"
    known = Frontier(down | {"Other Way": back.model_copy(update={"name": "Other Way"})}, FULL.vocabulary)
    assert known.judge(back).standing == "not novel"


def test_what_the_search_did_not_settle_is_not_guessed() -> None:
    names = ("Collect Wood", "Place Table", "Make Wood Pickaxe")
    learned = {name: FULL.skill(name) for name in names}
    hurried = Frontier(learned, FULL.vocabulary, FULL.skills, seconds=0)
    verdict = hurried.judge(FULL.skill("Make Wood Sword"))
    assert verdict.standing == "not settled" and "stopped at its limit" in verdict.reason
    with pytest.raises(PlanError, match="it is not settled: the search stopped"):
        hurried.require(FULL.skill("Make Wood Sword"))
    twin = FULL.skill("Make Wood Pickaxe").model_copy(
        update={"name": "Twin", "spec": SkillSpec(yields={"pickaxe": Quantity(base=1)})}
    )
    assert hurried.judge(twin).standing == "not settled"
    assert Frontier(learned, FULL.vocabulary).judge(twin).standing == "not novel"
