"""Planning over the whole base of the full game: large goals, floors that nothing leads back from, and reasons."""

import random
import time

import pytest

from flowrl.errors import PlanError
from flowrl.knowledge.base import load_base
from flowrl.planning.check import check
from flowrl.planning.planner import plan
from flowrl.schema.plan import Plan
from tests.support.small_domains import plays

BASE = load_base("Craftax-Symbolic-v1")
SKILLS = BASE.named()
EVENTS = sorted({f for skill in BASE.skills for f in skill.spec.yields if f.startswith("achievement:")})
GEMS = "armour=4, sapphire=9, ruby=9, pickaxe=4, sword=4, bow"
EIGHT = "EAT_BAT, EAT_SNAIL, EAT_PLANT, EAT_COW, DEFEAT_GNOME_ARCHER, FIRE_BOW, COLLECT_RUBY, MAKE_TORCH"
SECONDS = 4.0
"""Of the processor, for a large goal: half a second on an idle core."""


def planned(goal: str) -> Plan:
    """A plan found in good time, which a reading of the specifications by single tokens can play."""
    begin = time.process_time()
    found = plan(goal, SKILLS, vocabulary=BASE.vocabulary, seconds=120)
    assert time.process_time() - begin < SECONDS
    assert plays(found, SKILLS, BASE.vocabulary)
    return found


@pytest.mark.parametrize(("goal", "witness"), [(GEMS, 30), (EIGHT, 35), (", ".join(EVENTS), 60)])
def test_large_goals_are_reached(goal: str, witness: int) -> None:
    assert len(planned(goal).steps) <= witness


@pytest.mark.parametrize("seed", range(20))
def test_any_events_together_are_reached(seed: int) -> None:
    rng = random.Random(seed)
    planned(", ".join(rng.sample(EVENTS, rng.randint(2, len(EVENTS)))))


def test_what_cannot_be_carried_to_a_floor_is_known_at_once() -> None:
    begin = time.process_time()
    with pytest.raises(PlanError):
        plan(", ".join([*EVENTS, "floor:0"]), SKILLS, vocabulary=BASE.vocabulary)
    assert time.process_time() - begin < 1


def test_no_plan_has_a_step_that_it_can_do_without() -> None:
    found = plan(GEMS, SKILLS, vocabulary=BASE.vocabulary)
    for i in range(len(found.steps)):
        fewer = found.model_copy(update={"steps": found.steps[:i] + found.steps[i + 1 :]})
        assert not plays(fewer, SKILLS, BASE.vocabulary)
        with pytest.raises(PlanError):
            check(fewer, SKILLS, vocabulary=BASE.vocabulary)


def test_a_search_that_ran_out_of_time_says_so() -> None:
    with pytest.raises(PlanError, match="stopped at its limit"):
        plan(EIGHT, SKILLS, vocabulary=BASE.vocabulary, seconds=0)
