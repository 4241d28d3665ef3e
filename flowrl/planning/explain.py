"""Plans and failures to plan, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flowrl.fluents import FLOOR, REACHED, Vocabulary
from flowrl.planning.goals import Goal
from flowrl.planning.symbolic import SymbolicState
from flowrl.skill import Quantity, Skill, SkillSpec

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
    """

    vocabulary: Vocabulary
    demands: list[str] = field(default_factory=list)
    crowded: dict[str, int] = field(default_factory=dict)
    left_behind: dict[str, str] = field(default_factory=dict)
    gave_up: bool = False

    def too_much(self, skill: str, part: str, fluent: str, amount: int, n: int) -> None:
        """Notes that a skill's own demand or yield does not fit in hand."""
        fits = self.vocabulary.most(fluent)
        sentence = f"{skill!r} at n={n} has {amount} {fluent} in {part}, but only {fits} fit in hand"
        if sentence not in self.demands:
            self.demands.append(sentence)


def amount_of(fluent: str, quantity: Quantity, n: int) -> str:
    """Returns the fluent with its amount before it, where there could be another."""
    return f"{quantity.at(n)} {fluent}" if quantity.per_n or quantity.at(n) != 1 else fluent


def purpose_of(step: int, choices: Sequence[tuple[str, int]], skills: Mapping[str, Skill]) -> str:
    """Returns what the step's yields are for, e.g. "3 wood: 2 for Place Table, 1 for Make Wood Pickaxe"."""
    if step == len(choices) - 1:
        return THE_GOAL
    name, n = choices[step]
    spec = skills[name].spec
    parts = []
    for fluent, quantity in spec.yields.items():
        users = _users(fluent, choices[step + 1 :], skills)
        if users:
            parts.append(_shares(amount_of(fluent, quantity, n), users))
    if spec.to_floor is not None and (here := _users_of_floor(spec.to_floor, choices[step + 1 :], skills)):
        parts.append(f"{FLOOR}{spec.to_floor} for {', '.join(here)}")
    return "; ".join(parts) or _practice(step, choices, skills)


def _practice(step: int, choices: Sequence[tuple[str, int]], skills: Mapping[str, Skill]) -> str:
    """Returns what a step is for whose yields nobody needs: a goal of its own, or practice for the last step."""
    last = choices[-1][0]
    practised = [name for name, _ in skills[last].spec.practice]
    at_the_end = step >= len(choices) - 1 - len(practised)
    return f"practice: {last} is learned from afar" if at_the_end and choices[step][0] in practised else THE_GOAL


def _users(fluent: str, later: Sequence[tuple[str, int]], skills: Mapping[str, Skill]) -> dict[str, int]:
    """Returns what later steps take of the fluent (0: they need but keep it), until a step yields it anew."""
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
    goal: Goal,
    skills: Mapping[str, Skill],
    unlearned: Mapping[str, Skill],
    start: SymbolicState,
    obstacles: Obstacles,
) -> str:
    """Returns a sentence that says why no plan of ``skills`` reaches ``goal``, and what would help."""
    reason = _missing(goal, skills, unlearned, start) or _in_the_way(goal, skills, obstacles)
    return f"No plan of the {len(skills)} known skills reaches {goal.text!r}: {reason}."


def _missing(
    goal: Goal, skills: Mapping[str, Skill], unlearned: Mapping[str, Skill], start: SymbolicState
) -> str | None:
    """Returns the chain from the goal to what nothing yields, None where every fluent can be had alone."""
    others = {name: skill for name, skill in unlearned.items() if name not in skills}
    within_reach = _reachable(skills, start)
    chain: list[tuple[str, str]] = []
    for want in goal.wants:
        if want.is_skill and want.name in others:
            spec = others[want.name].spec
            if all(_is_within(f, within_reach) for f in _asked(spec, want.amount)):
                return f"{want.name!r} is not learned; what it needs can be had, so it can be learned next"
    user, open_needs = _first_lacking(goal, {**others, **skills}, within_reach)
    while open_needs:
        fluent = open_needs[0]
        if fluent in [earlier for _, earlier in chain]:
            loop = [f"{name!r} needs {f}" for name, f in [*chain, (user, fluent)] if name]
            return f"the skills wait for each other: {', '.join(dict.fromkeys(loop))}"
        chain.append((user, fluent))
        path = "".join(f"; {name!r} needs {f}" for name, f in chain if name)
        providers = [skill for skill in skills.values() if fluent in given(skill.spec)]
        if not providers:
            return f"no known skill yields {fluent}{path}; {_who_would(fluent, others, within_reach)}"
        user = providers[0].name
        open_needs = [f for f in _asked(providers[0].spec) if not _is_within(f, within_reach)]
    return None


def _first_lacking(goal: Goal, skills: Mapping[str, Skill], within_reach: set[str]) -> tuple[str, list[str]]:
    """Returns the first part of the goal that cannot be had, as (the skill or nothing, what it lacks)."""
    for want in goal.wants:
        needs = _asked(skills[want.name].spec, want.amount) if want.is_skill else [want.name]
        lacking = [f for f in needs if not _is_within(f, within_reach)]
        if lacking:
            return want.name if want.is_skill else "", lacking
    return "", []


def _who_would(fluent: str, others: Mapping[str, Skill], within_reach: set[str]) -> str:
    """Returns which skill that is not learned yields the fluent, what it lacks itself, and so on to one that can be
    learned next."""
    parts, lacking, seen = [], fluent, set[str]()
    while lacking not in seen:
        seen.add(lacking)
        teacher = next((skill for skill in others.values() if lacking in given(skill.spec)), None)
        if teacher is None:
            parts.append(f"a skill that yields {lacking} has to be learned first")
            break
        needs = [f for f in _asked(teacher.spec) if not _is_within(f, within_reach)]
        if not needs:
            parts.append(f"{teacher.name!r} yields {lacking} but is not learned; it can be learned next")
            break
        parts.append(f"{teacher.name!r} yields {lacking} but is not learned, and needs {needs[0]}")
        lacking = needs[0]
    return "; ".join(parts)


def _is_within(fluent: str, within_reach: set[str]) -> bool:
    """Whether it is within reach; floors with "or" between ask for any one of them."""
    return any(part in within_reach for part in fluent.split(" or "))


def _asked(spec: SkillSpec, n: int = 1) -> list[str]:
    asked = [fluent for fluent, amount in spec.needed(n).items() if amount > 0]
    return asked if spec.floors is None else [*asked, " or ".join(f"{FLOOR}{k}" for k in spec.floors)]


def given(spec: SkillSpec) -> list[str]:
    """Returns the fluents that a skill yields, the floor that it leads to among them."""
    moves = [] if spec.to_floor is None else [f"{FLOOR}{spec.to_floor}", f"{REACHED}{spec.to_floor}"]
    return [*spec.yields, *moves]


def _reachable(skills: Mapping[str, Skill], start: SymbolicState) -> set[str]:
    """Returns the fluents that can be had when amounts and places are left aside."""
    reached = {fluent.partition("@")[0] for fluent in start.amounts()} | {f"{FLOOR}{start.floor}"}
    while True:
        ready = [s.spec for s in skills.values() if all(_is_within(f, reached) for f in _asked(s.spec))]
        more = {fluent for spec in ready for fluent in given(spec)}
        if more <= reached:
            return reached
        reached |= more


def _in_the_way(goal: Goal, skills: Mapping[str, Skill], obstacles: Obstacles) -> str:
    if obstacles.gave_up:
        return "the search stopped at its limit; ask for a nearer goal first, or for its parts one by one"
    if obstacles.demands:
        return obstacles.demands[0]
    for want in goal.wants:
        specs = [s.spec for s in skills.values() if want.name in s.spec.yields]
        most = max((spec.yields[want.name].base for spec in specs), default=0)
        if not want.is_skill and want.amount > most and not any(spec.yields[want.name].per_n for spec in specs):
            return f"{want.amount} {want.name} is asked for, but no skill yields more than {most}"
    for fluent, amount in obstacles.crowded.items():
        fits = obstacles.vocabulary.most(fluent)
        return f"{amount} {fluent} would have to be carried at once, but only {fits} fit in hand"
    for fluent, skill in obstacles.left_behind.items():
        return f"{fluent} is needed after {skill!r}, which leaves it; no known skill leads back to it"
    return "the skills wait for each other"
