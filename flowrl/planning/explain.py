"""Plans and failures to plan in words."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flowrl.fluents import FLOOR, Vocabulary
from flowrl.planning.goals import Goal
from flowrl.planning.symbolic import SymbolicState, gives
from flowrl.schema.skill import Quantity, Skill, SkillSpec

FluentNeed = tuple[str, int]
FloorsOf = Callable[[str, int], frozenset[int]]

THE_GOAL = "the goal itself"


@dataclass
class Obstacles:
    """What stood in the way of a search.

    Attributes:
        vocabulary: says how much of each fluent can be held.
        demands: the amounts of single skills that exceed what can be held, in words.
        crowded: fluents that would have to be carried beyond what can be held, with the amount.
        left_behind: stations that were needed later, with the last skill that would have left them.
        gave_up: whether the search stopped at its limit.
        floors_of: the floors on which that amount of a fluent can be held.
    """

    vocabulary: Vocabulary
    demands: list[str] = field(default_factory=list)
    crowded: dict[str, int] = field(default_factory=dict)
    left_behind: dict[str, str] = field(default_factory=dict)
    gave_up: bool = False
    floors_of: FloorsOf = lambda fluent, amount: frozenset()

    def too_much(self, skill: str, part: str, fluent: str, amount: int, n: int) -> None:
        """Note that a skill's own amount does not fit in hand."""
        fits = self.vocabulary.most(fluent)
        sentence = f"{skill!r} at n={n} has {amount} {fluent} in {part}, but only {fits} fit in hand"
        if sentence not in self.demands:
            self.demands.append(sentence)


def amount_of(fluent: str, quantity: Quantity, n: int) -> str:
    """The fluent with its amount before it, where there could be another."""
    return f"{quantity.at(n)} {fluent}" if quantity.per_n or quantity.at(n) != 1 else fluent


def purpose_of(step: int, choices: Sequence[tuple[str, int]], skills: Mapping[str, Skill]) -> str:
    """What a step's yields are for. For example "3 wood: 2 for Place Table, 1 for Make Wood Pickaxe"."""
    if step == len(choices) - 1:
        return THE_GOAL
    name, n = choices[step]
    spec = skills[name].spec
    parts = []
    for fluent, quantity in spec.yields.items():
        if users := _users(fluent, choices[step + 1 :], skills):
            parts.append(_shares(amount_of(fluent, quantity, n), users))
    if spec.to_floor is not None and (here := _users_of_floor(spec.to_floor, choices[step + 1 :], skills)):
        parts.append(f"{FLOOR}{spec.to_floor} for {', '.join(here)}")
    return "; ".join(parts) or _practice(step, choices, skills)


def _practice(step: int, choices: Sequence[tuple[str, int]], skills: Mapping[str, Skill]) -> str:
    """What a step without users is for. A goal of its own, or practice for the last step."""
    last = choices[-1][0]
    practised = [name for name, _ in skills[last].spec.practice]
    at_the_end = step >= len(choices) - 1 - len(practised)
    return f"practice: {last} is learned from afar" if at_the_end and choices[step][0] in practised else THE_GOAL


def _users(fluent: str, later: Sequence[tuple[str, int]], skills: Mapping[str, Skill]) -> dict[str, int]:
    """What later steps take of a fluent, until one yields it anew. 0: they need but keep it."""
    users: dict[str, int] = {}
    for name, n in later:
        spec = skills[name].spec
        if spec.needed(n).get(fluent, 0) > 0:
            taken = spec.consumes[fluent].at(n) if fluent in spec.consumes else 0
            users[name] = users.get(name, 0) + taken
        if fluent in spec.yields:
            break
    return users


def _users_of_floor(floor: int, later: Sequence[tuple[str, int]], skills: Mapping[str, Skill]) -> list[str]:
    users = []
    for name, _ in later:
        spec = skills[name].spec
        if spec.floors is not None and floor in spec.floors:
            users.append(name)
        if spec.to_floor is not None:
            break
    return list(dict.fromkeys(users))


def _shares(what: str, users: Mapping[str, int]) -> str:
    if len(users) == 1 or not any(users.values()):
        return f"{what} for {', '.join(users)}"
    shares = ", ".join(f"{taken} for {name}" if taken else f"for {name}" for name, taken in users.items())
    return f"{what}: {shares}"


def explain_failure(
    goal: Goal, skills: Mapping[str, Skill], unlearned: Mapping[str, Skill], start: SymbolicState, obstacles: Obstacles
) -> str:
    """Why no plan reaches the goal and what helps."""
    missing = _missing(goal, skills, unlearned, start, obstacles.vocabulary)
    reason = missing or _in_the_way(goal, skills, obstacles)
    return f"No plan of the {len(skills)} known skills reaches {goal.text!r}: {reason}."


def _missing(
    goal: Goal,
    skills: Mapping[str, Skill],
    unlearned: Mapping[str, Skill],
    start: SymbolicState,
    vocabulary: Vocabulary,
) -> str | None:
    """The chain from the goal to a fluent that no skill yields. None where every amount can be had alone."""
    others = {name: skill for name, skill in unlearned.items() if name not in skills}
    view = _View(skills, others, vocabulary, start)
    for want in goal.wants:
        if want.is_skill and want.name in others and not view.lacking(others[want.name].spec, want.amount):
            return f"{want.name!r} is not learned; what it needs can be had, so it can be learned next"
    user, open_needs = _first_lacking(goal, {**others, **skills}, view)
    chain: list[tuple[str, FluentNeed]] = []
    while open_needs:
        need = open_needs[0]
        if need in [earlier for _, earlier in chain]:
            loop = [f"{name!r} needs {_told(each)}" for name, each in [*chain, (user, need)] if name]
            helper = next((f"; {view.who_would(each)}" for _, each in chain if view.teachers(each)), "")
            return f"the skills wait for each other: {', '.join(dict.fromkeys(loop))}{helper}"
        chain.append((user, need))
        path = "".join(f"; {name!r} needs {_told(each)}" for name, each in chain if name)
        providers = [skill for skill in skills.values() if view.reaches(skill, need)]
        if not providers:
            return _unyieldable(need, path, view)
        user = providers[0].name
        open_needs = view.lacking(providers[0].spec)
    return None


def _unyieldable(need: FluentNeed, path: str, view: "_View") -> str:
    fluent, amount = need
    most = max((gives(s.spec, view.vocabulary).get(fluent, 0) for s in view.everyone), default=0)
    if 0 < most < amount:
        return f"{_told(need)} is asked for, but no skill yields more than {most}{path}"
    return f"no known skill yields {_told(need)}{path}; {view.who_would(need)}"


def _first_lacking(goal: Goal, skills: Mapping[str, Skill], view: "_View") -> tuple[str, list[FluentNeed]]:
    """The first unreachable part of the goal. As (the skill, or nothing; what it lacks)."""
    for want in goal.wants:
        if want.is_skill and (lacking := view.lacking(skills[want.name].spec, want.amount)):
            return want.name, lacking
        if not want.is_skill and not view.has((want.name, want.amount)):
            return "", [(want.name, want.amount)]
    return "", []


class _View:
    """What known skills reach if nothing is spent. And which skills would yield the rest.

    A need is a fluent and an amount; floors with "or" between ask for any one of them.
    """

    def __init__(
        self, skills: Mapping[str, Skill], others: Mapping[str, Skill], vocabulary: Vocabulary, start: SymbolicState
    ):
        self.vocabulary, self.others, self.everyone = vocabulary, others, [*skills.values(), *others.values()]
        self._within = {fluent.partition("@")[0]: amount for fluent, amount in start.facts}
        self._within[f"{FLOOR}{start.floor}"] = 1
        waiting = list(skills.values())
        while ready := [skill for skill in waiting if not self.lacking(skill.spec)]:
            waiting = [skill for skill in waiting if skill not in ready]
            for skill in ready:
                for fluent, amount in gives(skill.spec, vocabulary).items():
                    self._within[fluent] = max(self._within.get(fluent, 0), amount)

    def has(self, need: FluentNeed) -> bool:
        """Whether it is within reach."""
        return meets(self._within, need)

    def lacking(self, spec: SkillSpec, n: int = 1) -> list[FluentNeed]:
        """The unreachable needs of a skill. Amounts are capped at what fits in hand."""
        asked = [(f, min(amount, self.vocabulary.most(f))) for f, amount in spec.needed(n).items() if amount > 0]
        floors = [] if spec.floors is None else [(" or ".join(f"{FLOOR}{k}" for k in spec.floors), 1)]
        return [need for need in [*asked, *floors] if not self.has(need)]

    def reaches(self, skill: Skill, need: FluentNeed) -> bool:
        """Whether a skill meets a need."""
        return meets(gives(skill.spec, self.vocabulary), need)

    def teachers(self, need: FluentNeed) -> list[Skill]:
        """The unlearned skills that would meet a need."""
        return [skill for skill in self.others.values() if self.reaches(skill, need)]

    def who_would(self, need: FluentNeed) -> str:
        """The chain of unlearned skills that would yield a need. It ends at one that can be learned next."""
        parts, seen = [], set[FluentNeed]()
        while need not in seen:
            seen.add(need)
            teachers = self.teachers(need)
            if not teachers:
                parts.append(f"a skill that yields {_told(need)} has to be learned first")
                break
            teacher = min(teachers, key=lambda skill: bool(self.lacking(skill.spec)))
            lacking = self.lacking(teacher.spec)
            if not lacking:
                parts.append(f"{teacher.name!r} yields {_told(need)} but is not learned; it can be learned next")
                break
            parts.append(f"{teacher.name!r} yields {_told(need)} but is not learned, and needs {_told(lacking[0])}")
            need = lacking[0]
        return "; ".join(parts)


def _told(need: FluentNeed) -> str:
    fluent, amount = need
    return fluent if amount == 1 else f"{amount} {fluent}"


def meets(amounts: Mapping[str, int], need: FluentNeed) -> bool:
    """Whether the amounts meet a need."""
    return any(amounts.get(part, 0) >= need[1] for part in need[0].split(" or "))


def _in_the_way(goal: Goal, skills: Mapping[str, Skill], obstacles: Obstacles) -> str:
    if obstacles.gave_up:
        return "the search stopped at its limit; ask for a nearer goal first, or for its parts one by one"
    if obstacles.demands:
        return obstacles.demands[0]
    if (apart := _apart(goal, skills, obstacles.floors_of)) is not None:
        return apart
    for fluent, amount in obstacles.crowded.items():
        fits = obstacles.vocabulary.most(fluent)
        return f"{amount} {fluent} would have to be carried at once, but only {fits} fit in hand"
    for fluent, skill in obstacles.left_behind.items():
        return f"{fluent} is needed after {skill!r}, which leaves it; no known skill leads back to it"
    return "the skills wait for each other"


def _apart(goal: Goal, skills: Mapping[str, Skill], floors_of_fn: FloorsOf) -> str | None:
    """Two wanted things on unconnected floors."""
    wants = [(want.name, want.amount) for want in goal.wants if not want.is_skill]
    own = None if goal.own is None else skills[goal.own.name].spec
    needs = [*wants, *(own.needed(goal.wants[0].amount).items() if own else [])]
    parts = [(_told(each), floors_of_fn(*each)) for each in needs]
    if own is not None and own.floors is not None:
        parts.append((f"{goal.wants[0].name!r}", frozenset(own.floors)))
    for (first, here), (second, there) in itertools.combinations(parts, 2):
        if here and there and not here & there:
            mine, theirs = (" or ".join(map(str, sorted(floors))) for floors in (here, there))
            return (
                f"{first} can be had on floor {mine} only, {second} on floor {theirs} only, and no known skill leads "
                "from the one to the other"
            )
    return None
