"""Properties of planning on random small domains: optimal against breadth-first search, complete against brute force,
and an oracle that mutated plans do not fool. Floors, placed stations, tiers and passing levels take part."""

import random
from collections.abc import Mapping

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.tables.domains import random_domain
from flowrl.errors import PlanError
from flowrl.planning.check import check
from flowrl.planning.frontier import Frontier
from flowrl.planning.planner import plan
from flowrl.planning.symbolic import SymbolicState, apply, missing, new_world
from flowrl.schema.plan import Plan, PlanStep
from flowrl.schema.skill import Skill
from tests.support.small_domains import (
    CAPACITY,
    GAME,
    domains,
    found_or_none,
    goals,
    mutations,
    passes,
    plays,
)


def holds(state: SymbolicState, goal: str) -> bool:
    parts = [part.partition("=") for part in goal.split(", ")]
    return all(state.amount(name) >= int(amount or 1) for name, _, amount in parts)


def fewest_steps(skills: Mapping[str, Skill], goal: str, max_states: int = 4_000) -> tuple[int | None, bool]:
    """Returns (the fewest steps to the goal by breadth-first search forwards, whether all states were seen)."""
    choices = [(s.spec, n) for s in skills.values() for n in range(1, CAPACITY + 1 if s.spec.scales else 2)]
    layer, seen, depth = [new_world(GAME)], {new_world(GAME)}, 0
    while layer:
        if any(holds(state, goal) for state in layer):
            return depth, True
        if len(seen) > max_states:
            return None, False
        reached = {apply(at, spec, n) for at in layer for spec, n in choices if not missing(at, spec, n, GAME)}
        layer = list(reached - seen)
        seen |= reached
        depth += 1
    return None, True


def known_goal(goal: str, skills: Mapping[str, Skill]) -> bool:
    """Whether every part is something that the domain can name."""
    yielded = {f for s in skills.values() for f in (*s.spec.yields, *s.spec.needed(1))}
    moves = {f"reached:{s.spec.to_floor}" for s in skills.values() if s.spec.to_floor is not None}
    names = {part.partition("=")[0] for part in goal.split(", ")}
    return names <= yielded | moves | {"floor:0", "floor:1"}


@settings(max_examples=400, deadline=None)
@given(skills=domains, goal=goals)
def test_plans_have_the_fewest_steps_and_none_is_missed(skills: dict[str, Skill], goal: str) -> None:
    assume(known_goal(goal, skills))
    found = found_or_none(goal, skills)
    fewest, complete = fewest_steps(skills, goal)
    if found is not None:
        assert passes(found, skills) and plays(found, skills)
    if complete:
        assert (None if found is None else len(found.steps)) == fewest


@settings(max_examples=300, deadline=None)
@given(skills=domains, goal=goals, seed=st.integers(0, 2**16))
def test_the_oracle_agrees_with_a_third_reading_on_broken_plans(skills: dict[str, Skill], goal: str, seed: int) -> None:
    assume(known_goal(goal, skills))
    found = found_or_none(goal, skills)
    assume(found is not None and found.steps)
    assert found is not None
    for broken in mutations(found, random.Random(seed)):
        assert passes(broken, skills) == plays(broken, skills)


choices = st.lists(st.tuples(st.sampled_from(["S0", "S0", "S1", "S2"]), st.integers(1, 3)), min_size=1, max_size=7)


@settings(max_examples=500, deadline=None)
@given(skills=domains, chosen=choices, goal=goals)
def test_the_oracle_agrees_with_a_third_reading_on_random_plans(
    skills: dict[str, Skill], chosen: list[tuple[str, int]], goal: str
) -> None:
    assume(known_goal(goal, skills))
    made = Plan(goal=goal, steps=tuple(PlanStep(skill=name, n=n) for name, n in chosen))
    assert passes(made, skills) == plays(made, skills)


@settings(max_examples=150, deadline=None)
@given(skills=domains, start_steps=choices, goal=goals)
def test_plans_may_start_anywhere(skills: dict[str, Skill], start_steps: list[tuple[str, int]], goal: str) -> None:
    assume(known_goal(goal, skills))
    state = new_world(GAME)
    for name, n in start_steps:
        if not missing(state, skills[name].spec, n, GAME):
            state = apply(state, skills[name].spec, n)
    if holds(state, goal):
        assert plan(goal, skills, vocabulary=GAME, start=state).steps == ()
        return
    try:
        found = plan(goal, skills, vocabulary=GAME, start=state)
    except PlanError:
        assert (
            found_or_none(goal, skills) is None
            or state.floor == 1
            or any(state.amount(f) < new_world(GAME).amount(f) for f in ("intrinsic:drink",))
        )
        return
    check(found, skills, vocabulary=GAME, start=state)


@settings(max_examples=150, deadline=None)
@given(skills=domains, learned=st.sets(st.sampled_from(["S0", "S1", "S2", "S3"])))
def test_the_frontier_agrees_with_plans(skills: dict[str, Skill], learned: set[str]) -> None:
    known = {name: skill for name, skill in skills.items() if name in learned}
    for verdict in Frontier(known, GAME).judge_all(skills.values()):
        assert verdict.reason
        skill = skills[verdict.skill]
        assert (verdict.standing == "learned") == (verdict.skill in learned)
        if verdict.standing == "ready":
            check(
                plan(skill.name, known | {skill.name: skill}, vocabulary=GAME),
                known | {skill.name: skill},
                vocabulary=GAME,
            )
        elif verdict.standing == "out of reach":
            with pytest.raises(PlanError):
                plan(skill.name, known | {skill.name: skill}, vocabulary=GAME, n=None)


@pytest.mark.parametrize("seed", range(40))
def test_random_domains_of_30_skills_are_solved(seed: int) -> None:
    domain = random_domain(seed)
    assert len(domain.skills) == 30
    check(domain.witness, domain.skills, vocabulary=domain.vocabulary)
    found = plan(domain.goal, domain.skills, vocabulary=domain.vocabulary)
    check(found, domain.skills, vocabulary=domain.vocabulary)
    assert len(found.steps) <= len(domain.witness.steps)
