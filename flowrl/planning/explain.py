"""Plans and failures to plan, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flowrl.skill import Quantity, Skill, SkillSpec

THE_GOAL = "the goal itself"


@dataclass
class Obstacles:
    """What stood in the way of a search.

    Attributes:
        capacity: how many of one item fit in hand.
        demands: the amounts of single skills that exceed the capacity, in words.
        crowded: fluents that would have to be carried beyond the capacity, with the amount.
        left_behind: stations that were needed later, with the last skill that would have left them.
        gave_up: whether the search stopped at its limit.
    """

    capacity: int
    demands: list[str] = field(default_factory=list)
    crowded: dict[str, int] = field(default_factory=dict)
    left_behind: dict[str, str] = field(default_factory=dict)
    gave_up: bool = False

    def too_much(self, skill: str, part: str, fluent: str, amount: int, n: int) -> None:
        """Notes that a skill's own demand or yield does not fit in hand."""
        self.demands.append(f"{skill!r} at n={n} has {amount} {fluent} in {part}, but only {self.capacity} fit in hand")


def amount_of(fluent: str, quantity: Quantity, n: int) -> str:
    """Returns the fluent with its amount before it, where there could be another."""
    return f"{quantity.at(n)} {fluent}" if quantity.per_n or quantity.at(n) != 1 else fluent


def purpose_of(step: int, choices: Sequence[tuple[str, int]], skills: Mapping[str, Skill]) -> str:
    """Returns what the step's yields are for, e.g. "3 wood: 2 for Place Table, 1 for Make Wood Pickaxe"."""
    if step == len(choices) - 1:
        return THE_GOAL
    name, n = choices[step]
    parts = []
    for fluent, quantity in skills[name].spec.yields.items():
        users = _users(fluent, choices[step + 1 :], skills)
        if users:
            parts.append(_shares(amount_of(fluent, quantity, n), users))
    return "; ".join(parts) or THE_GOAL


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


def _shares(what: str, users: Mapping[str, int]) -> str:
    if len(users) == 1 or not any(users.values()):
        return f"{what} for {', '.join(users)}"
    shares = ", ".join(f"{taken} for {name}" if taken else f"for {name}" for name, taken in users.items())
    return f"{what}: {shares}"


def explain_failure(goal: str, needs: Mapping[str, int], skills: Mapping[str, Skill], obstacles: Obstacles) -> str:
    """Returns a sentence that says why no plan reaches ``goal``, and what would help."""
    reason = _missing(goal, needs, skills) or _in_the_way(needs, skills, obstacles)
    return f"No plan of the {len(skills)} known skills reaches {goal!r}: {reason}."


def _missing(goal: str, needs: Mapping[str, int], skills: Mapping[str, Skill]) -> str | None:
    """Returns the chain from the goal to a fluent that nothing yields, None where every fluent can be had alone."""
    within_reach = _reachable(skills)
    chain: list[tuple[str, str]] = []
    user = goal if goal in skills else ""
    open_needs = [fluent for fluent in needs if fluent not in within_reach]
    while open_needs:
        fluent = open_needs[0]
        if fluent in [earlier for _, earlier in chain]:
            loop = [f"{name!r} needs {f}" for name, f in [*chain, (user, fluent)] if name]
            return f"the skills wait for each other: {', '.join(dict.fromkeys(loop))}"
        chain.append((user, fluent))
        providers = [skill for skill in skills.values() if fluent in skill.spec.yields]
        if not providers:
            path = [f"{name!r} needs {f}" for name, f in chain if name]
            because = f"; {', '.join(path)}" if path else ""
            return f"no known skill yields {fluent}{because}; a skill that yields {fluent} has to be learned first"
        user = providers[0].name
        open_needs = [f for f in _asked(providers[0].spec) if f not in within_reach]
    return None


def _asked(spec: SkillSpec) -> list[str]:
    return [fluent for fluent, amount in spec.needed(1).items() if amount > 0]


def _reachable(skills: Mapping[str, Skill]) -> set[str]:
    """Returns the fluents that can be had when amounts and places are left aside."""
    reached: set[str] = set()
    while True:
        more = {f for s in skills.values() if reached.issuperset(_asked(s.spec)) for f in s.spec.yields}
        if more <= reached:
            return reached
        reached |= more


def _in_the_way(needs: Mapping[str, int], skills: Mapping[str, Skill], obstacles: Obstacles) -> str:
    if obstacles.gave_up:
        return "the search stopped at its limit; ask for a nearer goal first"
    if obstacles.demands:
        return obstacles.demands[0]
    for fluent, amount in needs.items():
        most = max((s.spec.yields[fluent].base for s in skills.values() if fluent in s.spec.yields), default=0)
        if amount > most and not any(s.spec.yields[fluent].per_n for s in skills.values() if fluent in s.spec.yields):
            return f"{amount} {fluent} is asked for, but no skill yields more than {most}"
    for fluent, amount in obstacles.crowded.items():
        return f"{amount} {fluent} would have to be carried at once, but only {obstacles.capacity} fit in hand"
    for fluent, skill in obstacles.left_behind.items():
        return f"{fluent} is needed after {skill!r}, which leaves it; no known skill leads back to it"
    return "the skills wait for each other"
