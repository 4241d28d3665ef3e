"""What a model proposes at random reaches training only if it is feasible and novel, as another search sees it."""

import pytest

from benchmarks.tables.proposals import generated_proposals
from flowrl.planning.frontier import Frontier, SkillStanding
from flowrl.schema.skill import Skill


def test_none_of_two_hundred_generated_proposals_reaches_training_wrongly() -> None:
    reached, wrong = generated_proposals(200, seed=0)
    assert reached >= 20 and wrong == 0


def test_the_oracle_sees_what_a_lax_frontier_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Frontier, "_news", lambda self, skill: _ready(skill))
    _, wrong = generated_proposals(200, seed=0)
    assert wrong >= 2


def _ready(skill: Skill) -> SkillStanding:
    return SkillStanding(skill.name, "ready", "whatever")
