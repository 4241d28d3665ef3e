"""Skills as the search sees them: the amounts at one n worked out, the relaxation that guides it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

from flowrl.fluents import FLOOR, PLACED, REACHED, Vocabulary
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
    planning with landmarks").

    Args:
        operators: each skill at the least n it may be done with.
        most: for each fluent, the largest amount that any of the skills yields.
    """

    def __init__(
        self, operators: Iterable[Operator], most: Mapping[str, int], start: SymbolicState, vocabulary: Vocabulary
    ):
        self.start, self.most = start, most
        self._held = {f.partition("@")[0]: amount for f, amount in start.facts}
        self._floor = f"{FLOOR}{start.floor}"
        self._all_floors = tuple(f"{FLOOR}{k}" for k in range(vocabulary.floors))
        self.operators = self._usable(list(operators))
        self._masks = self._landmarks()
        self._counted = self._disjoint()

    def _has(self, fluent: str, amount: int) -> bool:
        return fluent == self._floor if fluent.startswith(FLOOR) else self._held.get(fluent, 0) >= amount

    def _usable(self, operators: list[Operator]) -> list[Operator]:
        """Returns the operators whose needs can be had at all."""
        had: dict[str, int] = dict(self._held) | {self._floor: 1}
        usable: list[Operator] = []
        waiting = operators
        while True:
            ready = [
                o for o in waiting if all(had.get(f, 0) >= a for f, a in o.needs.items()) and self._any_floor(o, had)
            ]
            if not ready:
                self.had = had
                return usable
            usable += ready
            waiting = [o for o in waiting if o not in ready]
            for o in ready:
                for fluent in o.yields:
                    had[fluent] = max(had.get(fluent, 0), self.most.get(fluent, 1))
                if o.to_floor is not None:
                    had[f"{FLOOR}{o.to_floor}"] = 1

    @staticmethod
    def _any_floor(operator: Operator, had: Mapping[str, int]) -> bool:
        return operator.floors is None or any(f"{FLOOR}{k}" in had for k in operator.floors)

    def _landmarks(self) -> dict[str, int]:
        """Returns for each fluent the landmarks of any plan for it, as the bits of a number."""
        providers: dict[str, set[str]] = {}
        for o in self.operators:
            for fluent in (*o.yields, *([f"{FLOOR}{o.to_floor}"] if o.to_floor is not None else [])):
                providers.setdefault(fluent, set()).add(o.name)
        self.sets: list[frozenset[str]] = list(
            dict.fromkeys([*(frozenset((o.name,)) for o in self.operators), *map(frozenset, providers.values())])
        )
        bit = {each: 1 << i for i, each in enumerate(self.sets)}
        everything = (1 << len(self.sets)) - 1
        masks = dict.fromkeys(providers, everything)
        changed = True
        while changed:
            of_operator = {o.name: bit[frozenset((o.name,))] | self._before(o, masks) for o in self.operators}
            changed = False
            for fluent, names in providers.items():
                mask = bit[frozenset(names)] | reduce(int.__and__, (of_operator[name] for name in names))
                if mask != masks[fluent]:
                    masks[fluent], changed = mask, True
        return masks

    def _before(self, operator: Operator, masks: Mapping[str, int]) -> int:
        mask = 0
        for fluent, amount in operator.needs.items():
            if not self._has(fluent, amount):
                mask |= masks[fluent]
        if operator.floors is not None and self.start.floor not in operator.floors:
            mask |= reduce(int.__and__, (masks[f] for k in operator.floors if (f := f"{FLOOR}{k}") in masks))
        return mask

    def _disjoint(self) -> int:
        chosen, seen = 0, set[str]()
        for i, names in sorted(enumerate(self.sets), key=lambda item: len(item[1])):
            if not seen & names:
                chosen |= 1 << i
                seen |= names
        return chosen

    def steps_left(self, needs: Mapping[str, int], floor: int | None) -> int | None:
        """Returns a lower bound of the steps from the start to ``needs``, None where nothing leads there."""
        mask = 0
        held, masks, most = self._held, self._masks, self.had
        for fluent, amount in needs.items():
            name = fluent.partition("@")[0] if fluent.startswith(PLACED) else fluent
            if held.get(name, 0) < amount:
                if most.get(name, 0) < amount:
                    return None
                mask |= masks[name]
        if floor is not None and floor != self.start.floor:
            there = f"{FLOOR}{floor}"
            if there not in masks:
                return None
            mask |= masks[there]
        return (mask & self._counted).bit_count()
