"""Plans: which skills, in which order and with which amounts, lead from a new world to a goal.

`plan` searches backwards from the goal, over what must still hold; `check` replays a plan forwards, over what is held
at least, and shares no code with the search. A new world holds nothing.
"""

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flowrl.errors import PlanError, UsageError, nearest_names
from flowrl.fluents import Vocabulary
from flowrl.planning.explain import Obstacles, explain_failure, purpose_of
from flowrl.skill import Plan, PlanStep, Quantity, Skill

ANYTHING = Vocabulary()
STATION = "near:"
"""How the fluents of stations begin: they are lost by any skill that does not stay where it stands."""
_MOST_STATES = 20_000

Needs = Mapping[str, int]
Choice = tuple[str, int]


@dataclass(frozen=True)
class Goal:
    """What a plan is asked for.

    Attributes:
        text: how it is written in the plan.
        name: a skill, or a fluent.
        amount: n of that skill, or how much of that fluent.
        is_skill: which of the two.
    """

    text: str
    name: str
    amount: int
    is_skill: bool


def plan(
    goal: str,
    skills: Mapping[str, Skill],
    *,
    n: int | None = None,
    vocabulary: Vocabulary = ANYTHING,
    experts: Mapping[str, int] | None = None,
) -> Plan:
    """Returns the plan with the fewest steps, and of those the smallest amounts, that reaches ``goal``.

    Before all, it asks for amounts within the range that a skill trains on, where it can.

    Args:
        goal: a skill's name, or a fluent such as "wood_pickaxe", "wood=3" or "achievement:EAT_COW".
        skills: the skills that may be used, by name.
        n: the amount asked of the goal; None: what the goal says, else the top of the skill's range, else 1.
        capacity: how many of one item fit in hand.
        experts: the global expert of each skill that has one.

    Raises:
        UsageError: no skill or fluent is called ``goal``, or its amount makes no sense.
        PlanError: no plan of these skills reaches it; says what is missing.
    """
    wanted = parse_goal(goal, skills, n)
    search = _Search(skills, vocabulary.capacity)
    choices = search.find(wanted)
    if choices is None:
        raise PlanError(explain_failure(wanted.text, search.first_needs(wanted), skills, search.obstacles))
    steps = tuple(
        PlanStep(skill=name, n=amount, expert=(experts or {}).get(name), why=purpose_of(i, choices, skills))
        for i, (name, amount) in enumerate(choices)
    )
    found = Plan(goal=wanted.text, steps=steps)
    check(found, skills, vocabulary=vocabulary)
    return found


def parse_goal(goal: str, skills: Mapping[str, Skill], n: int | None = None) -> Goal:
    """Returns the goal that the text names.

    Raises:
        UsageError: nothing is called so, or the amount makes no sense.
    """
    name, equals, tail = goal.partition("=")
    name = name.strip()
    fluents = {fluent for skill in skills.values() for fluent in (*skill.spec.yields, *skill.spec.needed(1))}
    if name not in skills and name not in fluents:
        near = nearest_names(name, [*skills, *sorted(fluents)])
        raise UsageError(f"No skill, item or achievement {name!r} among the {len(skills)} known skills. {near}")
    if equals and not tail.strip().isdecimal():
        raise UsageError(f"{goal!r} asks for an amount that is no whole number; write for example '{name}=3'.")
    if equals and n not in (None, int(tail)):
        raise UsageError(f"{goal!r} and n={n} ask for different amounts; give one of them.")
    amount = int(tail) if equals else n
    if amount is not None and amount < 1:
        raise UsageError(f"The amount asked of {name!r} must be at least 1, not {amount}.")
    if name not in skills:
        amount = amount or 1
        return Goal(name if amount == 1 else f"{name}={amount}", name, amount, is_skill=False)
    return Goal(name, name, _own_amount(skills[name], amount), is_skill=True)


def _own_amount(skill: Skill, amount: int | None) -> int:
    if not skill.spec.scales:
        if amount not in (None, 1):
            raise UsageError(f"{skill.name!r} yields the same whatever n is; leave n={amount} out.")
        return 1
    return amount or (skill.spec.n_range[1] if skill.spec.n_range else 1)


def _least_n(quantity: Quantity, amount: int) -> int | None:
    """Returns the least n from 1 on that yields at least ``amount``, None where no n does."""
    if quantity.at(1) >= amount:
        return 1
    if quantity.per_n <= 0:
        return None
    return -(-(amount - quantity.base) // quantity.per_n)


def _is_beyond(skill: Skill, n: int) -> bool:
    return skill.spec.n_range is not None and n > skill.spec.n_range[1]


@dataclass(order=True)
class _Node:
    """A set of needs and the steps from there to the goal; the cheapest comes first, then the oldest."""

    beyond: int
    steps: int
    total: int
    number: int
    needs: dict[str, int] = field(compare=False)
    choices: tuple[Choice, ...] = field(compare=False)


class _Search:
    """Uniform-cost search over sets of needs, from the goal back to a world that holds nothing."""

    def __init__(self, skills: Mapping[str, Skill], capacity: int):
        self.skills, self.capacity = skills, capacity
        self.obstacles = Obstacles(capacity)

    def first_needs(self, goal: Goal) -> dict[str, int]:
        """Returns what must hold before the goal's own step, or the fluent that is the goal."""
        if not goal.is_skill:
            return {goal.name: goal.amount}
        return self._before({}, self.skills[goal.name], goal.amount) or {}

    def find(self, goal: Goal) -> tuple[Choice, ...] | None:
        """Returns the steps in order, None where there are none."""
        own: tuple[Choice, ...] = ((goal.name, goal.amount),) if goal.is_skill else ()
        if goal.is_skill and not self._fits(self.skills[goal.name], goal.amount):
            return None
        queue = [_Node(0, 0, 0, 0, self.first_needs(goal), own)]
        done: set[frozenset[tuple[str, int]]] = set()
        pushed = 0
        while queue and len(done) < _MOST_STATES:
            node = heapq.heappop(queue)
            if not node.needs:
                return node.choices
            state = frozenset(node.needs.items())
            if state in done:
                continue
            done.add(state)
            for needs, choice in self._predecessors(node.needs):
                pushed += 1
                beyond = node.beyond + _is_beyond(self.skills[choice[0]], choice[1])
                cost = (beyond, node.steps + 1, node.total + choice[1], pushed)
                heapq.heappush(queue, _Node(*cost, needs, (choice, *node.choices)))
        self.obstacles.gave_up = bool(queue)
        return None

    def _predecessors(self, needs: Needs) -> Iterator[tuple[dict[str, int], Choice]]:
        for skill in reversed(list(self.skills.values())):
            for amount in sorted(self._useful_amounts(needs, skill)):
                if self._fits(skill, amount):
                    before = self._before(needs, skill, amount)
                    if before is not None:
                        yield before, (skill.name, amount)

    def _useful_amounts(self, needs: Needs, skill: Skill) -> set[int]:
        found = {_least_n(skill.spec.yields[f], needs[f]) for f in skill.spec.yields.keys() & needs.keys()}
        return {amount for amount in found if amount is not None}

    def _fits(self, skill: Skill, n: int) -> bool:
        for name in ("requires", "consumes", "yields"):
            for fluent, quantity in getattr(skill.spec, name).items():
                if quantity.at(n) > self.capacity:
                    self.obstacles.too_much(skill.name, f"spec.{name}", fluent, quantity.at(n), n)
                    return False
        return True

    def _before(self, needs: Needs, skill: Skill, n: int) -> dict[str, int] | None:
        """Returns what must hold before the step so that ``needs`` hold after it, None where nothing does."""
        before = {fluent: amount for fluent, amount in skill.spec.needed(n).items() if amount > 0}
        for fluent, amount in needs.items():
            if fluent in skill.spec.yields and skill.spec.yields[fluent].at(n) >= amount:
                continue
            if fluent.startswith(STATION) and not skill.spec.stays:
                self.obstacles.left_behind.setdefault(fluent, skill.name)
                return None
            carried = amount + max(0, skill.spec.consumes.get(fluent, Quantity()).at(n))
            if carried > self.capacity:
                self.obstacles.crowded.setdefault(fluent, carried)
                return None
            before[fluent] = max(before.get(fluent, 0), carried)
        return before


def check(plan: Plan, skills: Mapping[str, Skill], *, vocabulary: Vocabulary = ANYTHING) -> None:
    """Replays ``plan`` from a world that holds nothing, counting what is held at least.

    Raises:
        PlanError: names the first step that lacks something, or says that the goal does not hold at the end.
    """
    held: dict[str, int] = {}
    for i, step in enumerate(plan.steps):
        where = f"Step {i + 1} of {len(plan.steps)} of the plan for {plan.goal!r}, {step.skill!r} with n={step.n},"
        if step.skill not in skills:
            raise PlanError(f"{where} is no known skill. {nearest_names(step.skill, skills)}")
        if step.n < 1:
            raise PlanError(f"{where} asks for less than 1.")
        _replay(where, step.n, skills[step.skill], held, vocabulary.capacity)
    _check_goal(plan, skills, held)


def _replay(where: str, n: int, skill: Skill, held: dict[str, int], capacity: int) -> None:
    spec = skill.spec
    for name, part in (("requires", spec.requires), ("consumes", spec.consumes)):
        for fluent, quantity in part.items():
            asked, there = quantity.at(n), held.get(fluent, 0)
            if asked > there:
                raise PlanError(f"{where} {name} {asked} {fluent}, but only {there} is there by then.")
    for fluent, quantity in spec.consumes.items():
        held[fluent] = held.get(fluent, 0) - max(0, quantity.at(n))
    if not spec.stays:
        for fluent in [f for f in held if f.startswith(STATION)]:
            del held[fluent]
    for fluent, quantity in spec.yields.items():
        if quantity.at(n) > capacity:
            raise PlanError(f"{where} yields {quantity.at(n)} {fluent}, but only {capacity} fit in hand.")
        held[fluent] = max(held.get(fluent, 0), quantity.at(n))


def _check_goal(plan: Plan, skills: Mapping[str, Skill], held: Mapping[str, int]) -> None:
    name, _, tail = plan.goal.partition("=")
    if name in skills:
        if not plan.steps or plan.steps[-1].skill != name:
            raise PlanError(f"The plan for {plan.goal!r} does not end with it.")
    elif held.get(name, 0) < int(tail or 1):
        raise PlanError(f"At the end of the plan for {plan.goal!r} only {held.get(name, 0)} {name} is there.")


def dependencies(plan: Plan) -> tuple[str, ...]:
    """Returns the distinct skills that come before the goal's own, in the order of their first use."""
    own = plan.steps[-1].skill
    return tuple(dict.fromkeys(step.skill for step in plan.steps if step.skill != own))


def next_skills(skills_in_order: Sequence[Skill], learned: Collection[str], *, vocabulary: Vocabulary = ANYTHING) -> list[str]:
    """Returns the skills not yet learned that a plan of learned skills reaches, in curriculum order."""
    known = {skill.name: skill for skill in skills_in_order if skill.name in learned}
    ready = []
    for skill in skills_in_order:
        if skill.name not in known:
            try:
                plan(skill.name, known | {skill.name: skill}, vocabulary=vocabulary)
            except PlanError:
                continue
            ready.append(skill.name)
    return ready


def curriculum_for(
    goal: str, skills_in_order: Sequence[Skill], *, n: int | None = None, vocabulary: Vocabulary = ANYTHING
) -> list[str]:
    """Returns the distinct skills that ``goal`` needs, its own included, in curriculum order.

    Raises:
        UsageError: nothing is called so.
        PlanError: no plan of these skills reaches it.
    """
    found = plan(goal, {skill.name: skill for skill in skills_in_order}, n=n, vocabulary=vocabulary)
    used = {step.skill for step in found.steps}
    return [skill.name for skill in skills_in_order if skill.name in used]
