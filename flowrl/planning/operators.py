"""Skills as the search sees them. The amounts at one n worked out, the relaxation that guides it."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowrl.fluents import FLOOR, INTRINSIC, NEAR, REACHED
from flowrl.planning.symbolic import SymbolicState, at_floor
from flowrl.schema.skill import Quantity, Skill

PASSING = (INTRINSIC, NEAR)
"""What is not carried from floor to floor."""


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


def min_n(quantity: Quantity, amount: int) -> int | None:
    """The least n that yields at least ``amount``. None where no n does."""
    if quantity.at(1) >= amount:
        return 1
    if quantity.per_n <= 0:
        return None
    return -(-(amount - quantity.base) // quantity.per_n)


def operator(skill: Skill, n: int, wanted: bool) -> Operator:
    """The skill at ``n``. A skill that is a goal itself (``wanted``) also yields the fact that it was done."""
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
    """The fact that a skill was done. Goals of several skills need it."""
    return f"done:{name}"


@dataclass(frozen=True)
class _Doing:
    """An operator on one floor. `placed:` in its needs and yields names a floor, too.

    Attributes:
        there, after: the floors that the player is on before and after it.
        yields: the most that it yields at any n.
    """

    name: str
    there: int
    after: int
    needs: Mapping[str, int]
    yields: Mapping[str, int]


def _doings(operator: Operator, tops: Mapping[str, int], floors: int) -> list[_Doing]:
    found = []
    for there in range(floors) if operator.floors is None else operator.floors:
        after = there if operator.to_floor is None else operator.to_floor
        needs = {at_floor(f, there): amount for f, amount in operator.needs.items()}
        found.append(_Doing(operator.name, there, after, needs, {at_floor(f, after): a for f, a in tops.items()}))
    return found


class Relaxation:
    """The problem without spending and its lower bound.

    What can be had when nothing is ever spent, and the steps that any plan needs at least; computed once a search.

    A fact is an amount of a fluent that is held while on a floor: made there, or carried there. So a floor from which
    no way leads on keeps what is only made on it.

    The bound on the steps that are left counts landmarks: sets of skills of which every plan does at least one, chosen
    pairwise disjoint, so that it never exceeds the true number. Landmarks by the fixpoint of Zhu and Givan 2003
    ("Landmark extraction via planning graph propagation"), counted as in Karpas and Domshlak 2009 ("Cost-optimal
    planning with landmarks"). A fluent has landmarks of its own at each level: 3 of a tool may have other makers
    than 1 of it.

    Args:
        operators: each skill at the least n it may be done with.
        tops: what each skill yields at the largest n, by name.
    """

    def __init__(
        self, operators: Iterable[Operator], tops: Mapping[str, Mapping[str, int]], start: SymbolicState, floors: int
    ):
        self.start, self._held = start, start.amounts()
        doings = [doing for o in operators for doing in _doings(o, tops[o.name], floors)]
        self._levels = _levels_of(doings)
        makers = {
            (fluent, i): frozenset(d.name for d in doings if d.yields.get(fluent, 0) >= amount)
            for fluent, levels in self._levels.items()
            for i, amount in enumerate(levels)
        }
        sets = list(dict.fromkeys([*(frozenset((d.name,)) for d in doings), *makers.values()]))
        self._bits = {each: 1 << i for i, each in enumerate(sets)}
        self._nowhere = 1 << len(sets)
        self._on = {start.floor: 0} | {d.after: 2 * self._nowhere - 1 for d in doings if d.after != start.floor}
        self._masks = {k: self._none_yet(k) for k in self._on}
        self._propagate(
            doings, {f: [self._bits[makers[f, i]] for i in range(len(of))] for f, of in self._levels.items()}
        )
        counted = _disjoint(sets) | self._nowhere
        self._on = {k: mask & counted for k, mask in self._on.items() if not mask & self._nowhere}
        self._counts = {k: {f: [m & counted for m in of] for f, of in self._masks[k].items()} for k in self._on}
        self._seen: dict[int, dict[tuple[str, int], int]] = {k: {} for k in self._on}

    def _none_yet(self, floor: int) -> dict[str, list[int]]:
        """Masks of all landmarks. Of none where the start holds enough."""
        everything = 2 * self._nowhere - 1
        held = self._held if floor == self.start.floor else {}
        return {f: [0 if held.get(f, 0) >= a else everything for a in levels] for f, levels in self._levels.items()}

    def _propagate(self, doings: Sequence[_Doing], of_makers: Mapping[str, list[int]]) -> None:
        """Intersect landmarks over all ways to a fixpoint."""
        carried = [fluent for fluent in self._levels if not fluent.startswith(PASSING)]
        changed = True
        while changed:
            changed = False
            for doing in doings:
                mask = self._before(doing)
                if mask & self._nowhere:
                    continue
                masks = self._masks[doing.after]
                for fluent, amount in doing.yields.items():
                    for i in range(bisect_right(self._levels[fluent], amount)):
                        changed |= _narrow(masks[fluent], i, mask | of_makers[fluent][i])
                if doing.there != doing.after:
                    changed |= self._on[doing.after] & ~mask != 0
                    self._on[doing.after] &= mask
                    for fluent in carried:
                        for i, there in enumerate(self._masks[doing.there][fluent]):
                            changed |= _narrow(masks[fluent], i, mask | there)

    def _before(self, doing: _Doing) -> int:
        """The landmarks of a skill on a floor."""
        mask = self._bits[frozenset((doing.name,))] | self._on.get(doing.there, self._nowhere)
        return mask | self._of(doing.needs, doing.there, self._masks)

    def _of(self, needs: Mapping[str, int], floor: int, masks: Mapping[int, Mapping[str, list[int]]]) -> int:
        """The landmarks of needs on a floor."""
        if floor not in masks:
            return self._nowhere
        mask, here = 0, masks[floor]
        for fluent, amount in needs.items():
            if self._held.get(fluent, 0) >= amount and (floor == self.start.floor or not fluent.startswith(PASSING)):
                continue
            levels = self._levels.get(fluent)
            if levels is None or levels[-1] < amount:
                return self._nowhere
            mask |= here[fluent][bisect_left(levels, amount)]
        return mask

    def steps_left(self, needs: Mapping[str, int], floor: int | None) -> int | None:
        """A lower bound of the steps to needs. None where no way leads there."""
        masks = [self._counted(needs, k) for k in (self._counts if floor is None else (floor,)) if k in self._counts]
        return min((mask.bit_count() for mask in masks if not mask & self._nowhere), default=None)

    def floors_of(self, fluent: str, amount: int) -> frozenset[int]:
        """The floors where the amount can be held."""
        if fluent.startswith(FLOOR):
            return frozenset({int(fluent.removeprefix(FLOOR))} & self._counts.keys())
        return frozenset(k for k in self._counts if self.steps_left({at_floor(fluent, k): amount}, k) is not None)

    def _counted(self, needs: Mapping[str, int], floor: int) -> int:
        mask, seen = self._on[floor], self._seen[floor]
        for need in needs.items():
            counted = seen.get(need)
            if counted is None:
                counted = seen[need] = self._of(dict((need,)), floor, self._counts)
            mask |= counted
        return mask


def _narrow(masks: list[int], i: int, mask: int) -> bool:
    """Intersect a mask with another. True if it changed."""
    before = masks[i]
    masks[i] = before & mask
    return masks[i] != before


def _levels_of(doings: Iterable[_Doing]) -> dict[str, list[int]]:
    """The amounts of each fluent at which some maker drops out."""
    levels: dict[str, set[int]] = {}
    for doing in doings:
        for fluent, amount in doing.yields.items():
            levels.setdefault(fluent, set()).add(amount)
    return {fluent: sorted(amounts) for fluent, amounts in levels.items()}


def _disjoint(sets: Sequence[frozenset[str]]) -> int:
    """Disjoint sets as the bits of a number. Small sets first."""
    chosen, seen = 0, set[str]()
    for i, names in sorted(enumerate(sets), key=lambda item: len(item[1])):
        if not seen & names:
            chosen |= 1 << i
            seen |= names
    return chosen
