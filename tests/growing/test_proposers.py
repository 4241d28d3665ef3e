"""Goals that are trained as whole plans: which is proposed next, and when all are learned."""

from pathlib import Path

import pytest

from flowrl.config import GateConfig
from flowrl.files import write_json
from flowrl.growing.proposers import ChainGoals
from flowrl.library.home import SkillLibrary
from flowrl.parallel.scheduler import NothingToPropose, Proposal, Proposed
from flowrl.schema.plan import Plan
from flowrl.schema.run import RunSpec
from flowrl.stats import Share
from tests.support.homes import SMALL, add_skill, empty_home

GATE = GateConfig(on="plan", min_episodes=100)
WOOD, TABLE = Proposal("Collect Wood", chain=True, n=1), Proposal("Place Table", chain=True)


@pytest.fixture
def library(tmp_path: Path) -> SkillLibrary:
    library = empty_home(tmp_path / "home")
    add_skill(library, "Collect Wood", 0, status="learned")
    return library


def begin(library: SkillLibrary, name: str, expert: int) -> None:
    """Leaves a run of a skill that was set up and not finished."""
    spec = RunSpec(
        skill=name,
        config=SMALL,
        tasks=(),
        plan=Plan(goal=name, steps=()),
        local_to_global=(expert,),
        trained=(0,),
        own=0,
    )
    write_json(library.paths.run(expert, name).config, spec)


def test_goals_are_proposed_until_all_are_learned(library: SkillLibrary) -> None:
    goals = ChainGoals([WOOD, TABLE], library, GATE)
    assert goals.propose({"Collect Wood"}, {}) == Proposed(TABLE), "what is learned is not trained again"
    waiting = goals.propose({"Place Table"}, {})
    assert isinstance(waiting, NothingToPropose) and not waiting.complete
    weak = goals.propose((), {"Place Table": "weak"})
    assert weak == NothingToPropose("Place Table is weak. The same command goes on from here")
    add_skill(library, "Place Table", 1, status="learned")
    assert goals.propose((), {}) == NothingToPropose("Collect Wood, Place Table are learned", complete=True)


def test_more_than_was_learned_is_trained_for(library: SkillLibrary) -> None:
    more = Proposal("Collect Wood", chain=True, goal="wood=3", n=3)
    assert ChainGoals([more], library, GATE).propose((), {}) == Proposed(more)


def test_a_goal_is_judged_by_its_plan(library: SkillLibrary) -> None:
    record = library.record("Collect Wood")
    apart = record.evaluation.model_copy(update={"success": Share(successes=140, total=200)})
    write_json(library.skill_paths(record).record, record.model_copy(update={"evaluation": apart}))
    assert ChainGoals([WOOD], library, GATE).propose((), {}) == Proposed(WOOD), "its step is learned, its plan fails"


def test_an_interrupted_run_goes_first_and_is_waited_for(library: SkillLibrary) -> None:
    """Another goal's run may have put the skill into the library as a member meanwhile."""
    begin(library, "Collect Wood", 0)
    goals = ChainGoals([TABLE, WOOD], library, GATE)
    assert goals.propose((), {}) == Proposed(WOOD)
    add_skill(library, "Place Table", 1, status="learned")
    waiting = goals.propose({"Collect Wood"}, {})
    assert isinstance(waiting, NothingToPropose) and not waiting.complete
