"""Proposers: choose the next skill to learn, from the knowledge base or as one given skill."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from flowrl.config import GateConfig
from flowrl.errors import PlanError, UsageError
from flowrl.knowledge.base import KnowledgeBase
from flowrl.library.catalog import known_skills
from flowrl.library.home import SkillLibrary
from flowrl.parallel.scheduler import NothingToPropose, Proposal, Proposed, Respecified
from flowrl.planning.frontier import Frontier
from flowrl.planning.planner import curriculum_for, dependencies, plan
from flowrl.schema.evaluation import is_learned
from flowrl.schema.home import SkillRecord
from flowrl.schema.skill import Skill


class Proposer(Protocol):
    """Proposes feasible, novel skills, given what is learned or in progress.

    Attributes:
        in_background: it may take long and is called in its own thread.
    """

    in_background: bool

    def stop(self) -> None:
        """Cut short a call in progress. There will be no other."""

    def propose(
        self, learned_or_pending: Collection[str], given_up: Mapping[str, str]
    ) -> Proposed | NothingToPropose | Respecified:
        """Propose the next skill, or say why there is none.

        Args:
            learned_or_pending: skills that are learned, running or queued.
            given_up: outcome of skills that ended unlearned; nothing may build on them.
        """


class _Prompt:
    """A proposer that needs no background thread."""

    in_background = False

    def stop(self) -> None:
        """Do nothing: a call takes no time."""


class KnowledgeProposer(_Prompt):
    """Proposes the first feasible and novel skill of a base.

    Runs in progress count as learned, so that order and plans do not depend on how long each run takes.

    Args:
        goal: only skills that it needs are proposed; None: any skill of the base.
    """

    def __init__(self, base: KnowledgeBase, library: SkillLibrary, goal: str | None = None):
        self.base, self.library, self.goal = base, library, goal

    def propose(self, learned_or_pending: Collection[str], given_up: Mapping[str, str]) -> Proposed | NothingToPropose:
        """Propose the next skill of the base, or say why there is none."""
        learned = known_skills(self.library)
        if self.goal is not None and self._is_reached(learned):
            return NothingToPropose(f"{self.goal} is learned", complete=True)
        known = {skill.name: skill for skill in self.base.skills if skill.name in learned_or_pending} | learned
        frontier, unsettled = Frontier(known, self.base.vocabulary, self.base.skills), ""
        for name in self._wanted(given_up, learned):
            skill = self.base.skill(name)
            if name in learned_or_pending or name in given_up:
                continue
            verdict = frontier.judge(skill)
            if verdict.standing == "ready":
                return Proposed(Proposal(name, self._needs(skill, known)))
            if verdict.standing == "not settled":
                unsettled = unsettled or f"whether {name} can be learned is undecided: {verdict.reason}"
        return NothingToPropose(unsettled or self._why_stuck(given_up, learned))

    def _wanted(self, given_up: Mapping[str, str], learned: Mapping[str, Skill]) -> list[str]:
        """The skills that the goal needs, in curriculum order. Without those that were given up."""
        if self.goal is None:
            return [skill.name for skill in self.base.skills]
        usable = [learned.get(s.name, s) for s in self.base.skills if s.name not in given_up]
        try:
            return curriculum_for(self.goal, usable, vocabulary=self.base.vocabulary)
        except (PlanError, UsageError):  # the latter if the goal itself was given up
            return []

    def _needs(self, skill: Skill, known: Mapping[str, Skill]) -> frozenset[str]:
        """The skills of its plan. Preferably only those before it in the base's order."""
        order = [each.name for each in self.base.skills]
        before = {name: each for name, each in known.items() if name in order[: order.index(skill.name)]}
        for usable in (before, known):
            try:
                found = plan(skill.name, {**usable, skill.name: skill}, vocabulary=self.base.vocabulary)
            except PlanError:
                continue
            return frozenset(dependencies(found))
        raise PlanError(f"{skill.name!r} was called feasible, but no plan of {sorted(known)} leads to it.")

    def _is_reached(self, learned: Mapping[str, Skill]) -> bool:
        """Whether learned skills alone reach the goal, in any way."""
        try:
            plan(str(self.goal), learned, vocabulary=self.base.vocabulary, unlearned=self.base.named())
        except PlanError:
            return False
        return True

    def _why_stuck(self, given_up: Mapping[str, str], learned: Mapping[str, Skill]) -> str:
        wanted = self._wanted({}, learned)
        lost = [(name, given_up[name]) for name in wanted if name in given_up]
        if not lost:
            return "no skill of the knowledge base can be learned next"
        name, how = lost[0]
        again = self.library.command(*(["train", name] if how == "weak" else ["runs", "retry", name]))
        return f"{name} is {how}, and the remaining skills build on it. To continue: {again}"


class ChainGoals(_Prompt):
    """Proposes goals as runs that train their whole plans, interrupted ones first.

    A goal is learned if its plan succeeds, however well its own step does: that is what it is trained for.
    """

    def __init__(self, goals: Sequence[Proposal], library: SkillLibrary, gate: GateConfig):
        self.goals, self.library, self.gate = tuple(goals), library, gate

    def propose(self, learned_or_pending: Collection[str], given_up: Mapping[str, str]) -> Proposed | NothingToPropose:
        """Propose the next goal, or report whether all are learned."""
        records = self.library.named()
        begun = {spec.skill for paths, spec in self.library.runs() if not paths.result.exists()}
        # A goal that another's run has brought in as a member is not done while its own run goes on.
        lacking = [g for g in self.goals if g.name in begun or not self._is_learned(g, records.get(g.name))]
        for goal in sorted(lacking, key=lambda goal: goal.name not in begun):
            if goal.name not in learned_or_pending and goal.name not in given_up:
                return Proposed(goal)
        if lacking:
            name = lacking[0].name
            return NothingToPropose(
                f"{name} is {given_up.get(name, 'not learned')}. The same command goes on from here"
            )
        names = [goal.name for goal in self.goals]
        return NothingToPropose(f"{', '.join(names)} {'are' if names[1:] else 'is'} learned", complete=True)

    def _is_learned(self, goal: Proposal, record: SkillRecord | None) -> bool:
        if record is None or record.status != "learned" or record.evaluation.amount < goal.n:
            return False
        return is_learned(self.gate, record.evaluation)


class OneSkill(_Prompt):
    """Proposes one skill and is complete once it is learned."""

    def __init__(self, proposal: Proposal, library: SkillLibrary):
        self.proposal, self.library = proposal, library
        self.asked = False

    def propose(self, learned_or_pending: Collection[str], given_up: Mapping[str, str]) -> Proposed | NothingToPropose:
        """Propose the skill the first time, then report whether it is learned."""
        if not self.asked:
            self.asked = True
            return Proposed(self.proposal)
        record = self.library.named().get(self.proposal.name)
        learned = record is not None and record.status == "learned"
        return NothingToPropose(f"{self.proposal.name} is {'learned' if learned else 'not learned'}", complete=learned)
