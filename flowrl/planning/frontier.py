"""The frontier. Which skills can be learned next, given those that are learned, and why the others cannot.

Feasible: learned skills alone lead from a new world to what it needs. Novel: it yields a fluent, an amount or a floor
that no plan of learned skills reaches; what passes, as being near a table or on a floor, counts as new as well where
the skill leads there in fewer steps than learned skills do from where it begins. What a search could not find out is
said to be so, and never guessed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flowrl.errors import PlanError
from flowrl.fluents import FLOOR, INTRINSIC, NEAR, REACHED, Vocabulary
from flowrl.planning.explain import meets
from flowrl.planning.goals import Goal, Want
from flowrl.planning.operators import min_n
from flowrl.planning.search import ANY, Search
from flowrl.planning.symbolic import ANYTHING, SymbolicState, apply, gives, missing, new_world
from flowrl.schema.skill import Skill

Standing = Literal["learned", "ready", "out of reach", "not novel", "not settled"]
SECONDS = 2.0
"""How long one search may take; what the bases ask takes milliseconds."""


@dataclass(frozen=True)
class SkillStanding:
    """Where a skill stands.

    Attributes:
        standing: "learned", "ready" (feasible and novel), "out of reach", "not novel", or "not settled" where a search
            stopped at its limit.
        reason: why, as a sentence without its full stop.
    """

    skill: str
    standing: Standing
    reason: str


class Frontier:
    """Judges which skills can be learned next. One search serves all judgements.

    Args:
        others: skills of the game that may be learned some day, named where they would help.
    """

    def __init__(
        self,
        learned: Mapping[str, Skill],
        vocabulary: Vocabulary = ANYTHING,
        others: Iterable[Skill] = (),
        seconds: float = SECONDS,
    ):
        self.learned, self.vocabulary, self.others = dict(learned), vocabulary, tuple(others)
        self._search = Search(self.learned, vocabulary, new_world(vocabulary), lifted=True)
        self._seconds = seconds
        self._gives = {skill.name: gives(skill.spec, vocabulary) for skill in self.others}
        self._reached: dict[tuple[Want, ...], bool | None] = {}

    def judge(self, skill: Skill) -> SkillStanding:
        """Where ``skill`` stands."""
        if skill.name in self.learned:
            return SkillStanding(skill.name, "learned", "it is in the library")
        return self._infeasible(skill) or self._news(skill)

    def judge_all(self, skills: Iterable[Skill]) -> list[SkillStanding]:
        """Where each skill stands."""
        return [self.judge(skill) for skill in skills]

    def require(self, skill: Skill) -> None:
        """Require that a skill is feasible and novel. PlanError says why it is not."""
        verdict = self.judge(skill)
        if verdict.standing not in ("learned", "ready"):
            raise PlanError(f"{skill.name!r} cannot be learned now, it is {verdict.standing}: {verdict.reason}.")

    def most(self, fluent: str) -> int:
        """The largest reachable amount of a fluent. As far as searches settle it."""
        low, high = 0, self.vocabulary.most(fluent)
        while low < high:
            amount = high if low == 0 and high == self.vocabulary.most(fluent) else (low + high + 1) // 2
            if self._reaches((Want(fluent, amount, False),)):
                low = amount
            else:
                high = amount - 1
        return low

    def _reaches(self, wants: tuple[Want, ...]) -> bool | None:
        """Whether learned skills lead to the wants. None where that is not settled."""
        if wants not in self._reached:
            found = self._search.find(Goal("", wants), self._seconds, ANY)
            self._reached[wants] = None if self._search.obstacles.gave_up else found is not None
        return self._reached[wants]

    def _infeasible(self, skill: Skill) -> SkillStanding | None:
        """Why a skill cannot be begun. None where learned skills lead there."""
        top = _top(skill)
        floors: Sequence[int | None] = skill.spec.floors if skill.spec.floors is not None else (None,)
        ways = [self._reaches(_wants(skill.spec.needed(top), floor)) for floor in floors]
        if not any(ways):
            if None in ways:
                return _not_settled(skill, "what it needs can be had together")
            return SkillStanding(skill.name, "out of reach", self._what_is_lacking(skill, top))
        unlearned = [name for name, _ in skill.spec.practice if name not in self.learned]
        if unlearned:
            why = f"it is practised after {unlearned[0]!r}, which is not learned"
            return SkillStanding(skill.name, "out of reach", why)
        return None

    def _what_is_lacking(self, skill: Skill, n: int) -> str:
        """The first need that stays unmet. And the skill that would."""
        needs = [(fluent, amount) for fluent, amount in skill.spec.needed(n).items() if amount > 0]
        if skill.spec.floors is not None and 0 not in skill.spec.floors:
            needs += [(f"{FLOOR}{k}", 1) for k in skill.spec.floors[:1]]
        for fluent, amount in needs:
            if self._reaches((Want(fluent, amount, False),)) is False:
                asked = fluent if amount == 1 else f"{amount} {fluent}"
                return f"it needs {asked}, which {self._who_yields((fluent, amount), skill)}"
        return f"learned skills reach {', '.join(fluent for fluent, _ in needs)} one by one, but not together"

    def _who_yields(self, need: tuple[str, int], user: Skill) -> str:
        """Who would meet a need that learned skills do not meet."""
        for other in self.others:
            if other.name != user.name and other.name not in self.learned and meets(self._gives[other.name], need):
                return f"{other.name!r} yields but is not learned"
        return "no known skill yields"

    def _news(self, skill: Skill) -> SkillStanding:
        """What a skill yields beyond learned skills."""
        top = _top(skill)
        yields = {fluent: quantity.at(top) for fluent, quantity in skill.spec.yields.items() if quantity.at(top) > 0}
        lasting = yields if skill.spec.to_floor is None else yields | {f"{REACHED}{skill.spec.to_floor}": 1}
        ways = {fluent: self._reaches(_wants({fluent: amount}, None)) for fluent, amount in lasting.items()}
        for fluent, way in ways.items():
            if way is False:
                news = fluent if lasting[fluent] == 1 else f"{lasting[fluent]} {fluent}"
                return SkillStanding(skill.name, "ready", f"it brings {news}")
        passing = {fluent: amount for fluent, amount in yields.items() if fluent.startswith((NEAR, INTRINSIC))}
        if skill.spec.to_floor is not None:
            passing[f"{FLOOR}{skill.spec.to_floor}"] = 1
        for fluent, amount in passing.items():
            if self._is_shorter(skill, top, fluent, amount):
                return SkillStanding(skill.name, "ready", f"it brings {fluent} in fewer steps")
        if None in ways.values():
            return _not_settled(skill, "learned skills reach all that it yields")
        return SkillStanding(skill.name, "not novel", "learned skills reach all that it yields")

    def _is_shorter(self, skill: Skill, n: int, fluent: str, amount: int) -> bool:
        """Whether learned skills need several steps."""
        floors = range(self.vocabulary.floors) if skill.spec.floors is None else skill.spec.floors
        floor = next((k for k in floors if fluent != f"{FLOOR}{k}"), floors[0] if floors else 0)
        begin = SymbolicState.of(skill.spec.needed(n), floor)
        if apply(begin, skill.spec, n).amount(fluent) < amount or begin.amount(fluent) >= amount:
            return False
        return not any(self._leads(other, begin, fluent, amount) for other in self.learned.values())

    def _leads(self, skill: Skill, begin: SymbolicState, fluent: str, amount: int) -> bool:
        """Whether one skill alone leads to this much of a fluent."""
        quantity = skill.spec.yields.get(fluent)
        n = 1 if quantity is None else min_n(quantity, amount)
        if n is None or missing(begin, skill.spec, n, self.vocabulary):
            return False
        return apply(begin, skill.spec, n).amount(fluent) >= amount


def _not_settled(skill: Skill, question: str) -> SkillStanding:
    why = f"the search stopped at its limit before it knew whether {question}"
    return SkillStanding(skill.name, "not settled", why)


def _top(skill: Skill) -> int:
    return skill.spec.n_range[1] if skill.spec.n_range else 1


def _wants(amounts: Mapping[str, int], floor: int | None) -> tuple[Want, ...]:
    wants = [Want(fluent, amount, is_skill=False) for fluent, amount in sorted(amounts.items()) if amount > 0]
    return tuple(wants if floor is None else [*wants, Want(f"{FLOOR}{floor}", 1, is_skill=False)])
