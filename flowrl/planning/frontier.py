"""The frontier: which skills can be learned next, given those that are learned, and why the others cannot.

Feasible: learned skills alone lead from a new world to what it needs. Novel: it yields a fluent, an amount or a floor
that no plan of learned skills reaches; what passes, as being near a table, counts as new as well where the skill leads
there in fewer steps than learned skills do from where it begins.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flowrl.errors import PlanError
from flowrl.fluents import FLOOR, INTRINSIC, NEAR, REACHED, Vocabulary
from flowrl.planning.explain import given
from flowrl.planning.goals import Goal, Want
from flowrl.planning.search import Search
from flowrl.planning.symbolic import ANYTHING, SymbolicState, apply, new_world
from flowrl.skill import Skill

Standing = Literal["learned", "ready", "out of reach", "not novel"]
SECONDS = 2.0


@dataclass(frozen=True)
class Verdict:
    """Where a skill stands.

    Attributes:
        standing: "learned", "ready" (feasible and novel), "out of reach" or "not novel".
        reason: why, as a sentence without its full stop.
    """

    skill: str
    standing: Standing
    reason: str


class Frontier:
    """Judges skills against those that are learned; one search serves all judgements.

    Args:
        others: skills of the game that may be learned some day, named where they would help.
    """

    def __init__(
        self,
        learned: Mapping[str, Skill],
        vocabulary: Vocabulary = ANYTHING,
        others: Iterable[Skill] = (),
    ):
        self.learned, self.vocabulary, self.others = dict(learned), vocabulary, tuple(others)
        self.start = new_world(vocabulary)
        self._search = Search(self.learned, vocabulary, self.start, lifted=True)
        self._reached: dict[tuple[Want, ...], int | None] = {}

    def judge(self, skill: Skill) -> Verdict:
        """Returns where ``skill`` stands."""
        if skill.name in self.learned:
            return Verdict(skill.name, "learned", "it is in the library")
        if (lacking := self._infeasible(skill)) is not None:
            return Verdict(skill.name, "out of reach", lacking)
        news = self._news(skill)
        if news is None:
            return Verdict(skill.name, "not novel", "learned skills reach all that it yields")
        return Verdict(skill.name, "ready", f"it brings {news}")

    def judge_all(self, skills: Iterable[Skill]) -> list[Verdict]:
        """Returns where each skill stands, in their order."""
        return [self.judge(skill) for skill in skills]

    def require(self, skill: Skill) -> None:
        """Raises PlanError unless ``skill`` is feasible and novel; says why it is not."""
        verdict = self.judge(skill)
        if verdict.standing in ("out of reach", "not novel"):
            raise PlanError(f"{skill.name!r} cannot be learned now, it is {verdict.standing}: {verdict.reason}.")

    def _steps_to(self, wants: tuple[Want, ...], search: Search | None = None) -> int | None:
        """Returns how many learned steps lead to the wants, None where none do."""
        if search is not None:
            found = search.find(Goal("", wants), SECONDS)
            return None if found is None else len(found.choices)
        if wants not in self._reached:
            found = self._search.find(Goal("", wants), SECONDS)
            self._reached[wants] = None if found is None else len(found.choices)
        return self._reached[wants]

    def _infeasible(self, skill: Skill) -> str | None:
        """Returns what keeps the skill from being begun, None where learned skills lead there."""
        top = _top(skill)
        floors: Sequence[int | None] = skill.spec.floors if skill.spec.floors is not None else (None,)
        for floor in floors:
            if self._steps_to(_wants(skill.spec.needed(top), floor)) is not None:
                break
        else:
            return self._what_is_lacking(skill, top)
        unlearned = [name for name, _ in skill.spec.practice if name not in self.learned]
        return f"it is practised after {unlearned[0]!r}, which is not learned" if unlearned else None

    def _what_is_lacking(self, skill: Skill, n: int) -> str:
        """Returns the first need of the skill that learned skills do not meet, and who would."""
        needs = [(fluent, (Want(fluent, amount, False),)) for fluent, amount in skill.spec.needed(n).items() if amount]
        if skill.spec.floors is not None and 0 not in skill.spec.floors:
            needs += [(f"{FLOOR}{k}", (Want(f"{FLOOR}{k}", 1, False),)) for k in skill.spec.floors[:1]]
        for fluent, wants in needs:
            if self._steps_to(wants) is None:
                teachers = [s.name for s in self.others if s.name != skill.name and fluent in given(s.spec)]
                whose = (
                    f", which {teachers[0]!r} yields but is not learned"
                    if teachers
                    else ", which no known skill yields"
                )
                amount = "" if wants[0].amount == 1 else f"{wants[0].amount} "
                return f"it needs {amount}{fluent}{whose}"
        return f"learned skills reach {', '.join(fluent for fluent, _ in needs)} one by one, but not together"

    def _news(self, skill: Skill) -> str | None:
        """Returns what the skill yields that learned skills do not reach, None where there is nothing."""
        top = _top(skill)
        yields = {fluent: quantity.at(top) for fluent, quantity in skill.spec.yields.items()}
        if skill.spec.to_floor is not None:
            yields[f"{REACHED}{skill.spec.to_floor}"] = 1
        for fluent, amount in yields.items():
            if amount > 0 and self._steps_to(_wants({fluent: amount}, None)) is None:
                return fluent if amount == 1 else f"{amount} {fluent}"
        for fluent, amount in yields.items():
            if fluent.startswith((NEAR, INTRINSIC)) and self._is_shorter(skill, top, fluent, amount):
                return f"{fluent} in fewer steps"
        return None

    def _is_shorter(self, skill: Skill, n: int, fluent: str, amount: int) -> bool:
        """Whether learned skills need more than one step to a passing fluent from what the skill itself begins with."""
        floor = skill.spec.floors[0] if skill.spec.floors else 0
        begin = SymbolicState.of(skill.spec.needed(n), floor)
        if apply(begin, skill.spec, n).amount(fluent) < amount:
            return False
        steps = self._steps_to(
            _wants({fluent: amount}, None), Search(self.learned, self.vocabulary, begin, lifted=True)
        )
        return steps is None or steps > 1


def _top(skill: Skill) -> int:
    return skill.spec.n_range[1] if skill.spec.n_range else 1


def _wants(amounts: Mapping[str, int], floor: int | None) -> tuple[Want, ...]:
    wants = [Want(fluent, amount, is_skill=False) for fluent, amount in sorted(amounts.items()) if amount > 0]
    return tuple(wants if floor is None else [*wants, Want(f"{FLOOR}{floor}", 1, is_skill=False)])
