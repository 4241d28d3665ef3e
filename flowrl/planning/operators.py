"""Skills as the search sees them: the amounts at one n worked out, the relaxation that guides it."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from flowrl.fluents import FLOOR, PLACED, REACHED
from flowrl.planning.symbolic import SymbolicState
from flowrl.skill import Quantity, Skill


@dataclass(frozen=True)
class Operator:
    """A skill at one n.

    Attributes:
        needs: what must be held at the start, at least; `placed:` on the floor that it is done on.
        consumes, yields: amounts, zeros left out.
        beyond: n lies beyond the range that the skill trains on.
    """

    name: str
    n: int
    needs: Mapping[str, int]
    consumes: Mapping[str, int]
    yields: Mapping[str, int]
    floors: tuple[int, ...] | None
    to_floor: int | None
    stays: bool
    beyond: bool


def least_n(quantity: Quantity, amount: int) -> int | None:
    """Returns the least n from 1 on that yields at least ``amount``, None where no n does."""
    if quantity.at(1) >= amount:
        return 1
    if quantity.per_n <= 0:
        return None
    return -(-(amount - quantity.base) // quantity.per_n)


def operator(skill: Skill, n: int, wanted: bool) -> Operator:
    """Returns the skill at ``n``; one that is a goal itself (``wanted``) yields the fact that it was done."""
    spec = skill.spec
    yields = {f: q.at(n) for f, q in spec.yields.items() if q.at(n) > 0}
    if spec.to_floor is not None:
        yields[f"{REACHED}{spec.to_floor}"] = 1
    if wanted:
        yields[done(skill.name)] = n
    return Operator(
        name=skill.name,
        n=n,
        needs={f: amount for f, amount in spec.needed(n).items() if amount > 0},
        consumes={f: q.at(n) for f, q in spec.consumes.items() if q.at(n) > 0},
        yields=yields,
        floors=spec.floors,
        to_floor=spec.to_floor,
        stays=spec.stays and spec.to_floor is None,
        beyond=spec.n_range is not None and n > spec.n_range[1],
    )


def done(name: str) -> str:
    """Returns the fact that a skill was done, as goals of several skills need it."""
    return f"done:{name}"


class Relaxation:
    """What can be had when nothing is ever lost, and what any plan must do at least; worked out once a search.

    The bound on the steps that are left counts landmarks: sets of skills of which every plan does at least one, chosen
    pairwise disjoint, so that it never exceeds the true number. Landmarks by the fixpoint of Zhu and Givan 2003
    ("Landmark extraction via planning graph propagation"), counted as in Karpas and Domshlak 2009 ("Cost-optimal
    planning with landmarks"). A fluent has landmarks of its own at each level: 3 of a tool may have other makers
    than 1 of it.

    Args:
        operators: each skill at the least n it may be done with.
        tops: what each skill yields at the largest n, by name.
    """

    def __init__(self, operators: Iterable[Operator], tops: Mapping[str, Mapping[str, int]], start: SymbolicState):
        self.start, self._tops = start, tops
        self._held = {f.partition("@")[0]: amount for f, amount in start.facts} | {f"{FLOOR}{start.floor}": 1}
        usable = self._usable(list(operators))
        self._levels = self._levels_of(usable)
        self._masks = self._landmarks(usable)
        counted = self._disjoint()
        self._counts = {f: [mask & counted for mask in masks] for f, masks in self._masks.items()}

    def _usable(self, operators: list[Operator]) -> list[Operator]:
        """Returns the operators whose needs can be had at all."""
        had: dict[str, int] = dict(self._held)
        usable: list[Operator] = []
        while True:
            ready = [o for o in operators if self._can_begin(o, had)]
            if not ready:
                return usable
            usable += ready
            operators = [o for o in operators if not self._can_begin(o, had)]
            for o in ready:
                for fluent, amount in self._given(o):
                    had[fluent] = max(had.get(fluent, 0), amount)

    @staticmethod
    def _can_begin(operator: Operator, had: Mapping[str, int]) -> bool:
        if any(had.get(fluent, 0) < amount for fluent, amount in operator.needs.items()):
            return False
        return operator.floors is None or any(f"{FLOOR}{k}" in had for k in operator.floors)

    def _given(self, operator: Operator) -> list[tuple[str, int]]:
        moves = [] if operator.to_floor is None else [(f"{FLOOR}{operator.to_floor}", 1)]
        return [*self._tops[operator.name].items(), *moves]

    def _levels_of(self, usable: Sequence[Operator]) -> dict[str, list[int]]:
        """Returns for each fluent the amounts at which some skill drops out that yields no more of it."""
        levels: dict[str, set[int]] = {}
        for o in usable:
            for fluent, amount in self._given(o):
                levels.setdefault(fluent, set()).add(amount)
        return {fluent: sorted(amounts) for fluent, amounts in levels.items()}

    def _landmarks(self, usable: Sequence[Operator]) -> dict[str, list[int]]:
        """Returns for each fluent and level the landmarks of any plan for it, as the bits of a number."""
        facts = {
            (fluent, i): [o for o in usable if dict(self._given(o)).get(fluent, 0) >= amount]
            for fluent, levels in self._levels.items()
            for i, amount in enumerate(levels)
        }
        alone = {o.name: frozenset((o.name,)) for o in usable}
        makers = {fact: frozenset(o.name for o in operators) for fact, operators in facts.items()}
        self._sets = list(dict.fromkeys([*alone.values(), *makers.values()]))
        bit = {each: 1 << i for i, each in enumerate(self._sets)}
        everything = (1 << len(self._sets)) - 1
        masks = {fluent: [everything] * len(levels) for fluent, levels in self._levels.items()}
        changed = True
        while changed:
            changed = False
            of_operator = {o.name: bit[alone[o.name]] | self._before(o, masks) for o in usable}
            for (fluent, i), operators in facts.items():
                mask = bit[makers[fluent, i]] | reduce(int.__and__, (of_operator[o.name] for o in operators))
                if mask != masks[fluent][i]:
                    masks[fluent][i], changed = mask, True
        return masks

    def _before(self, operator: Operator, masks: Mapping[str, list[int]]) -> int:
        mask = 0
        for fluent, amount in operator.needs.items():
            if self._held.get(fluent, 0) < amount:
                mask |= masks[fluent][bisect_left(self._levels[fluent], amount)]
        if operator.floors is not None and self.start.floor not in operator.floors:
            ways = [masks[f][0] for k in operator.floors if (f := f"{FLOOR}{k}") in masks]
            mask |= reduce(int.__and__, ways)
        return mask

    def _disjoint(self) -> int:
        chosen, seen = 0, set[str]()
        for i, names in sorted(enumerate(self._sets), key=lambda item: len(item[1])):
            if not seen & names:
                chosen |= 1 << i
                seen |= names
        return chosen

    def steps_left(self, needs: Mapping[str, int], floor: int | None) -> int | None:
        """Returns a lower bound of the steps from the start to ``needs``, None where nothing leads there."""
        mask = 0
        for fluent, amount in needs.items():
            name = fluent.partition("@")[0] if fluent.startswith(PLACED) else fluent
            if self._held.get(name, 0) < amount:
                levels = self._levels.get(name)
                if levels is None or levels[-1] < amount:
                    return None
                mask |= self._counts[name][bisect_left(levels, amount)]
        if floor is not None and floor != self.start.floor:
            there = f"{FLOOR}{floor}"
            if there not in self._counts:
                return None
            mask |= self._counts[there][0]
        return mask.bit_count()
