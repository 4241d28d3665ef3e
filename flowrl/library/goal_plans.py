"""Plans for goals with a home's skills."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowrl.errors import PlanError
from flowrl.knowledge.base import KnowledgeBase, load_base
from flowrl.library.catalog import known_skills, learned_for, records_of, skill_of
from flowrl.library.home import SkillLibrary
from flowrl.planning.check import check
from flowrl.planning.frontier import Frontier, SkillStanding
from flowrl.planning.planner import plan
from flowrl.planning.symbolic import SymbolicState
from flowrl.schema.plan import Plan
from flowrl.schema.skill import Skill


@dataclass(frozen=True)
class Outlook:
    """A plan as people look at it.

    Attributes:
        after: what is held at least after each step.
        status: of each of its skills: "learned", "weak", or "unknown" where the library lacks it.
    """

    plan: Plan
    after: tuple[SymbolicState, ...]
    status: dict[str, str]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each step: skill, n, expert, why, status, floor and what is held after it."""
        return [
            step.model_dump() | {"status": self.status[step.skill], "floor": state.floor, "after": state.shown()}
            for step, state in zip(self.plan.steps, self.after, strict=True)
        ]


def plan_goal(base: KnowledgeBase, home: Path, goal: str, only_learned: bool = False) -> Outlook:
    """The plan for a goal, with the home's experts.

    Args:
        only_learned: use what the home has learned; else every skill of the base counts as known, so that a plan
            shows the way before anything is learned.

    Raises:
        UsageError: the goal is unknown.
        PlanError: no plan reaches it.
    """
    records = records_of(base.env, home)
    skills = learned_for(base.env, home) if only_learned else base.named()
    experts = {name: record.expert_idx for name, record in records.items()}
    found = plan(goal, skills, vocabulary=base.vocabulary, experts=experts, unlearned=base.named())
    status = {step.skill: records[step.skill].status if step.skill in records else "unknown" for step in found.steps}
    return Outlook(found, check(found, skills, vocabulary=base.vocabulary), status)


def frontier_of(base: KnowledgeBase, home: Path) -> list[SkillStanding]:
    """Where each skill of the base stands, in curriculum order."""
    return Frontier(learned_for(base.env, home), base.vocabulary, base.skills).judge_all(base.skills)


def plan_with_library(library: SkillLibrary, goal: str) -> tuple[Plan, dict[str, Skill]]:
    """A plan for a goal from the library's own skills.

    A weak skill may be the goal itself.

    Raises:
        UsageError, PlanError: the goal is unknown or out of the library's reach.
    """
    records = library.named()
    skills = known_skills(library)
    folded = {name.casefold(): name for name in records}
    goal = folded.get(goal.casefold(), goal)
    if goal in records:
        skills[goal] = skill_of(library, records[goal])
        if records[goal].is_module:
            return records[goal].plan, skills
    if not skills:
        raise PlanError(
            f"{library.paths.root} holds no learned skill. Grow one: {library.command('grow', '--skills', '1')}"
        )
    experts = {name: record.expert_idx for name, record in records.items()}
    vocabulary = load_base(library.description.env).vocabulary
    return plan(goal, skills, vocabulary=vocabulary, experts=experts), skills
