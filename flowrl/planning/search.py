"""The search for plans. A* by regression, over what must still hold, from the goal back to the start.

Going backwards, amounts come out as the least that serve; a state is the set of needs that the steps already chosen
leave open. The relaxation bounds the steps that are left, and never by too much: with weight 1 the first plan found has
the fewest steps. Where that takes too many states the search starts anew with a weight that trusts the bound more, and
the plan has at most that many times the fewest steps.
"""

import heapq
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import le
from typing import NamedTuple

from flowrl.fluents import FLOOR, INTRINSIC, NEAR, PLACED, Vocabulary, prefix_of
from flowrl.planning.explain import Obstacles
from flowrl.planning.goals import Goal
from flowrl.planning.operators import Operator, Relaxation, done, min_n, operator
from flowrl.planning.symbolic import SymbolicState, at_floor, largest_n
from flowrl.schema.skill import Skill

Needs = dict[str, int]
Choice = tuple[str, int]

Phases = tuple[tuple[float, int], ...]
"""(weight, most states) of one attempt after the other."""
FEWEST: Phases = ((1.0, 5_000), (2.0, 5_000), (4.0, 20_000), (8.0, 200_000))
"""For plans with the fewest steps where the search stays small."""
ANY: Phases = ((4.0, 20_000), (8.0, 200_000))
"""For whether there is a plan at all."""
_BEYOND = 3
"""What a step beyond the range that its skill trains on costs on top, in steps, where such steps are allowed."""


@dataclass(frozen=True)
class Found:
    """What a search brought.

    Attributes:
        choices: the steps in order, as (skill, n).
        weight: the plan has at most this multiple of the fewest steps.
        states: how many sets of needs were met, over all attempts.
    """

    choices: tuple[Choice, ...]
    weight: float
    states: int


@dataclass(order=True)
class _Node:
    """A set of needs and the steps from there to the goal. Ordered by estimate, steps left, amounts, age.

    Attributes:
        amounts: those of ``needs``, in an order that all nodes with needs of the same names share.
        outdone: another node asks for no more, in as few steps.
    """

    estimate: float
    left: int
    total: int
    number: int
    cost: int = field(compare=False)
    needs: Needs = field(compare=False)
    floor: int | None = field(compare=False)
    choice: Choice | None = field(compare=False)
    after: "_Node | None" = field(compare=False)
    amounts: list[int] = field(default_factory=list, compare=False)
    outdone: bool = field(default=False, compare=False)


class _Look(NamedTuple):
    """What is known of a fluent. Its name without its floor, that floor, its kind, its largest amount."""

    name: str
    floor: int | None
    kind: str
    most: int


class Search:
    """Searches for plans from one start. What it computes of the skills serves all its goals.

    Args:
        wanted: the skills that are goals themselves.
        lifted: amounts may lie beyond the ranges that skills train on.
    """

    def __init__(
        self,
        skills: Mapping[str, Skill],
        vocabulary: Vocabulary,
        start: SymbolicState,
        wanted: frozenset[str] = frozenset(),
        lifted: bool = False,
    ):
        self.skills, self.vocabulary, self.start, self.lifted = skills, vocabulary, start, lifted
        self.obstacles = Obstacles(vocabulary)
        self._wanted = wanted
        self._operators: dict[Choice, Operator | None] = {}
        self._looks: dict[str, _Look] = {}
        self._rank = {name: -i for i, name in enumerate(skills)}
        self._yielders: dict[str, list[Skill]] = {}
        for skill in reversed(list(skills.values())):
            yields = list(skill.spec.yields) + ([done(skill.name)] if skill.name in wanted else [])
            if skill.spec.to_floor is not None:
                yields += [f"reached:{skill.spec.to_floor}", f"{FLOOR}{skill.spec.to_floor}"]
            for fluent in yields:
                self._yielders.setdefault(fluent, []).append(skill)
        smallest = [o for skill in skills.values() if (o := self._useful(skill, self._low(skill))) is not None]
        tops = {o.name: self._top(skills[o.name]) for o in smallest}
        self.relaxation = Relaxation(smallest, tops, start, vocabulary.floors)
        self.obstacles.floors_of = self.relaxation.floors_of

    @staticmethod
    def _low(skill: Skill) -> int:
        return skill.spec.n_range[0] if skill.spec.n_range else 1

    def _top(self, skill: Skill) -> Mapping[str, int]:
        """The skill's yields at its largest n."""
        top = self._operator(skill, max(self._low(skill), self._largest_n(skill)))
        return top.yields if top else {}

    def _largest_n(self, skill: Skill) -> int:
        """The largest n of a skill. Within its trained range unless that is lifted."""
        top, within = largest_n(skill.spec, self.vocabulary), skill.spec.n_range
        counts = within is not None and not self.lifted and skill.name not in self._wanted
        return min(top, within[1]) if within is not None and counts else top

    def _operator(self, skill: Skill, n: int) -> Operator | None:
        """The skill at ``n``. None beyond its range, or where its amounts exceed what can be held."""
        choice = (skill.name, n)
        if choice not in self._operators:
            within = self.lifted or skill.spec.n_range is None or n <= skill.spec.n_range[1]
            allowed = skill.spec.max_n is None or n <= skill.spec.max_n
            fits = allowed and (within or skill.name in self._wanted) and not list(self._excesses(skill, n))
            self._operators[choice] = operator(skill, n, skill.name in self._wanted) if fits else None
        return self._operators[choice]

    def _excesses(self, skill: Skill, n: int) -> Iterator[tuple[str, str, int]]:
        for part in ("requires", "consumes", "yields"):
            for fluent, quantity in getattr(skill.spec, part).items():
                if quantity.at(n) > self.vocabulary.most(fluent):
                    yield part, fluent, quantity.at(n)

    def _useful(self, skill: Skill, n: int) -> Operator | None:
        """The skill at ``n``. Notes an obstacle where its own amounts exceed what can be held."""
        step = self._operator(skill, n)
        if step is None:
            for part, fluent, amount in self._excesses(skill, n):
                self.obstacles.too_much(skill.name, f"spec.{part}", fluent, amount, n)
        return step

    # From needs to the needs before a step

    def _before(self, needs: Needs, floor: int | None, step: Operator) -> Iterator[tuple[Needs, int | None]]:
        """The needs before a step for each possible floor."""
        if step.to_floor is not None and floor not in (None, step.to_floor):
            return
        for there in self._floors_before(needs, floor, step):
            after = there if step.to_floor is None else step.to_floor
            before = self._carried(needs, step, after)
            if before is not None:
                for fluent, amount in step.needs.items():
                    key = fluent if there is None else at_floor(fluent, there)
                    before[key] = max(before.get(key, 0), amount)
                yield before, there

    def _floors_before(self, needs: Needs, floor: int | None, step: Operator) -> list[int | None]:
        """The floors where a step may be done. None: any."""
        if self.vocabulary.floors == 1:
            return [0] if step.floors is None or 0 in step.floors else []
        if step.to_floor is None and floor is not None:
            return [floor] if step.floors is None or floor in step.floors else []
        if step.floors is not None:
            return list(step.floors)
        if any(f.startswith(PLACED) for f in (*step.needs, *step.consumes)):
            return list(range(self.vocabulary.floors))
        here = {int(f.partition("@")[2]) for f in needs if "@" in f and f.partition("@")[0] in step.yields}
        return [None, *sorted(here)] if step.to_floor is None else [None]

    def _carried(self, needs: Needs, step: Operator, after: int | None) -> Needs | None:
        """The needs that a step does not provide. None where it cannot leave them whole."""
        before: Needs = {}
        for fluent, amount in needs.items():
            look = self._looks.get(fluent) or self._look(fluent)
            if step.yields.get(look.name, 0) >= amount and look.floor in (None, after):
                continue
            if look.kind == INTRINSIC or (look.kind == NEAR and not step.stays):
                self.obstacles.left_behind.setdefault(fluent, step.name)
                return None
            carried = amount + step.consumes.get(look.name, 0)
            if carried > look.most:
                self.obstacles.crowded.setdefault(fluent, carried)
                return None
            before[fluent] = carried
        return before

    def _look(self, fluent: str) -> "_Look":
        name, _, floor = fluent.partition("@")
        look = _Look(name, int(floor) if floor else None, prefix_of(name), self.vocabulary.most(name))
        return self._looks.setdefault(fluent, look)

    def _providers(self, needs: Needs, floor: int | None) -> Iterator[Operator]:
        """The skills that provide a need in the least amounts."""
        open_needs = {f.partition("@")[0]: amount for f, amount in needs.items()}
        if floor is not None:
            open_needs[f"{FLOOR}{floor}"] = 1
        chosen: dict[Choice, None] = {}
        for fluent, amount in open_needs.items():
            for skill in self._yielders.get(fluent, ()):
                n = self._serving(skill, fluent, amount)
                if n is not None:
                    chosen[skill.name, n] = None
        for name, n in sorted(chosen, key=lambda choice: (self._rank[choice[0]], choice[1])):
            step = self._useful(self.skills[name], n)
            if step is not None:
                yield step

    def _serving(self, skill: Skill, fluent: str, amount: int) -> int | None:
        if fluent == done(skill.name):
            return amount
        quantity = skill.spec.yields.get(fluent)
        n = 1 if quantity is None else min_n(quantity, amount)
        return None if n is None else max(n, self._low(skill))

    # The search itself

    def first(self, goal: Goal) -> list[_Node]:
        """The nodes to begin with. Steps that the goal itself gives are regressed already."""
        floors = [int(want.name.removeprefix(FLOOR)) for want in goal.wants if want.name.startswith(FLOOR)]
        needs = {(done(w.name) if w.is_skill else w.name): w.amount for w in goal.wants if not w.name.startswith(FLOOR)}
        floor = floors[0] if floors else (0 if self.vocabulary.floors == 1 else None)
        if goal.own is None:
            return self._localised(needs, floor)
        skill = self.skills[goal.own.name]
        nodes = [_Node(0, 0, 0, 0, 0, {}, floor, None, None)]
        practice = [(name, n) for name, n in skill.spec.practice if name in self.skills]
        for name, n in reversed([*practice, (goal.own.name, goal.own.amount)]):
            step = self._useful(self.skills[name], n)
            nodes = [
                self._node(b, f, step, at) for at in nodes if step for b, f in self._before(at.needs, at.floor, step)
            ]
        return nodes

    def _localised(self, needs: Needs, floor: int | None) -> list[_Node]:
        """The goal's needs with floors. A placed station is wanted on the goal's floor, or on any one."""
        anywhere = floor is None and any(f.startswith(PLACED) for f in needs)
        floors = range(self.vocabulary.floors) if anywhere else [floor]
        return [
            _Node(0, 0, 0, 0, 0, {f if k is None else at_floor(f, k): a for f, a in needs.items()}, k, None, None)
            for k in floors
        ]

    def _node(self, needs: Needs, floor: int | None, step: Operator, after: _Node) -> _Node:
        cost = after.cost + 1 + _BEYOND * step.beyond
        return _Node(0, 0, after.total + step.n, 0, cost, needs, floor, (step.name, step.n), after)

    def find(self, goal: Goal, seconds: float, phases: Phases = FEWEST) -> Found | None:
        """A plan's steps or None.

        Where states or time ran out it returns None as well, and ``obstacles.gave_up`` says so.
        """
        deadline = time.monotonic() + seconds
        states, self.obstacles.gave_up = 0, False
        for weight, most in phases:
            end, looked_at, exhausted = self._attempt(self.first(goal), weight, most, deadline)
            states += looked_at
            if end is not None:
                return Found(_choices(end), weight, states)
            if exhausted:
                return None
        self.obstacles.gave_up = True
        return None

    def _attempt(self, nodes: list[_Node], weight: float, most: int, deadline: float) -> tuple[_Node | None, int, bool]:
        """One search at one weight. (the node that the start fulfils, states met, whether the space was exhausted)."""
        queue: list[_Node] = []
        met = _Met()
        for node in nodes:
            self._push(queue, met, node, weight)
        while queue:
            node = heapq.heappop(queue)
            if node.left == 0 and self._fulfilled(node):
                return node, met.count, False
            if node.outdone:
                continue
            if met.count > most or time.monotonic() > deadline:
                return None, met.count, False
            for step in self._providers(node.needs, node.floor):
                for needs, floor in self._before(node.needs, node.floor, step):
                    self._push(queue, met, self._node(needs, floor, step, node), weight)
        return None, met.count, True

    def _push(self, queue: list[_Node], met: "_Met", node: _Node, weight: float) -> None:
        left = self.relaxation.steps_left(node.needs, node.floor)
        if left is not None and met.takes(node):
            node.left, node.estimate, node.number = left, node.cost + weight * left, met.count
            heapq.heappush(queue, node)

    def _fulfilled(self, node: _Node) -> bool:
        if node.floor not in (None, self.start.floor):
            return False
        held = self.start.amounts()
        here = {f if "@" in f else at_floor(f, self.start.floor): amount for f, amount in node.needs.items()}
        return all(held.get(fluent, 0) >= amount for fluent, amount in here.items())


class _Met:
    """The sets of needs met without outdone ones.

    A node outdoes another with as many steps or fewer, and no amount larger. Whatever leads to the larger amounts leads
    to the smaller ones, so nothing is missed.
    """

    def __init__(self) -> None:
        self.count = 0
        self._alike: dict[tuple[int | None, frozenset[str]], tuple[list[str], list[_Node]]] = {}

    def takes(self, node: _Node) -> bool:
        """Take in a node unless another outdoes it. Marks those that it outdoes."""
        fluents, others = self._alike.setdefault((node.floor, frozenset(node.needs)), (list(node.needs), []))
        node.amounts = [node.needs[fluent] for fluent in fluents]
        if any(_outdoes(other, node) for other in others):
            return False
        for other in others:
            other.outdone = _outdoes(node, other)
        others[:] = [*(other for other in others if not other.outdone), node]
        self.count += 1
        return True


def _outdoes(node: _Node, other: _Node) -> bool:
    return node.cost <= other.cost and all(map(le, node.amounts, other.amounts))


def _choices(node: _Node) -> tuple[Choice, ...]:
    steps: list[Choice] = []
    at: _Node | None = node
    while at is not None and at.choice is not None:
        steps.append(at.choice)
        at = at.after
    return tuple(steps)
