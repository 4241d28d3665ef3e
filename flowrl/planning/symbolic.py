"""Symbolic states and skills as operators on them. What is held at least, before and after a skill.

    missing(state, spec, n)    what the skill still needs; nothing: it is applicable
    apply(state, spec, n)      what is held at least when it is done
    gives(spec, vocabulary)    the most that it can leave behind at any n

All are pure; `check` replays plans with them, and shares nothing with the search.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flowrl.fluents import FLOOR, INTRINSIC, NEAR, PLACED, REACHED, Vocabulary
from flowrl.schema.skill import SkillSpec

ANYTHING = Vocabulary()
"""Takes every name; 9 of one item fit in hand."""


def at_floor(fluent: str, floor: int) -> str:
    """The fluent as states keep it. What is placed belongs to the floor that it stands on."""
    return f"{fluent}@{floor}" if fluent.startswith(PLACED) else fluent


@dataclass(frozen=True)
class SymbolicState:
    """What is held at least.

    Attributes:
        facts: (fluent, amount) in order, amounts above zero only; what is placed with its floor, as `placed:table@0`.
        floor: the floor that the player is on.
    """

    facts: tuple[tuple[str, int], ...] = ()
    floor: int = 0

    @classmethod
    def of(cls, amounts: Mapping[str, int], floor: int = 0) -> "SymbolicState":
        """The state with these amounts. `placed:` without a floor stands on the present one."""
        held = {(f if "@" in f else at_floor(f, floor)): amount for f, amount in amounts.items() if amount > 0}
        return cls(tuple(sorted(held.items())), floor)

    def amounts(self) -> dict[str, int]:
        """The facts by name."""
        return dict(self.facts)

    def amount(self, fluent: str) -> int:
        """How much of a fluent is held. `placed:` means on the present floor."""
        if fluent.startswith(FLOOR):
            return int(fluent == f"{FLOOR}{self.floor}")
        return self.amounts().get(at_floor(fluent, self.floor), 0)

    def shown(self) -> dict[str, int]:
        """The facts of the present floor for readers. `placed:table` without its floor."""
        here = f"@{self.floor}"
        return {f.removesuffix(here): amount for f, amount in self.facts if "@" not in f or f.endswith(here)}


def new_world(vocabulary: Vocabulary = ANYTHING) -> SymbolicState:
    """The state that every episode begins in. The first floor, empty hands, a healthy body."""
    levels = {f"{INTRINSIC}{name}": vocabulary.full for name in vocabulary.intrinsics}
    return SymbolicState.of({f"{REACHED}0": 1, **levels})


@dataclass(frozen=True)
class Lack:
    """One obstacle of a skill.

    Attributes:
        part: which part of the spec asks: "requires", "consumes", "yields" (what does not fit in hand), "floors" or
            "max_n".
        there: how much is there; for "yields", how much fits; for "max_n", the largest n.
    """

    part: str
    fluent: str
    asked: int
    there: int


def missing(state: SymbolicState, spec: SkillSpec, n: int, vocabulary: Vocabulary = ANYTHING) -> list[Lack]:
    """The obstacles of a skill in a state. An empty list: it is applicable."""
    lacks = [
        Lack(part, fluent, quantity.at(n), state.amount(fluent))
        for part, amounts in (("requires", spec.requires), ("consumes", spec.consumes))
        for fluent, quantity in amounts.items()
        if quantity.at(n) > state.amount(fluent)
    ]
    if spec.floors is not None and state.floor not in spec.floors:
        lacks.append(Lack("floors", " or ".join(map(str, spec.floors)), 1, 0))
    for fluent, quantity in spec.yields.items():
        if quantity.at(n) > vocabulary.most(fluent):
            lacks.append(Lack("yields", fluent, quantity.at(n), vocabulary.most(fluent)))
    if spec.max_n is not None and n > spec.max_n:
        lacks.append(Lack("max_n", "n", n, spec.max_n))
    return lacks


def largest_n(spec: SkillSpec, vocabulary: Vocabulary = ANYTHING) -> int:
    """The largest n that game and hands allow. Below 1 where there is none."""
    amounts = [*spec.requires.items(), *spec.consumes.items(), *spec.yields.items()]
    bounds = [(vocabulary.most(f) - q.base) // q.per_n for f, q in amounts if q.per_n > 0]
    return min(bounds + ([] if spec.max_n is None else [spec.max_n]), default=1)


def gives(spec: SkillSpec, vocabulary: Vocabulary = ANYTHING) -> dict[str, int]:
    """The most that a skill yields of each fluent. The floor that it leads to is among them."""
    top = max(1, largest_n(spec, vocabulary))
    made = {fluent: quantity.at(top) for fluent, quantity in spec.yields.items() if quantity.at(top) > 0}
    if spec.to_floor is not None:
        made |= {f"{FLOOR}{spec.to_floor}": 1, f"{REACHED}{spec.to_floor}": 1}
    return made


def apply(state: SymbolicState, spec: SkillSpec, n: int) -> SymbolicState:
    """What is held after an applicable skill."""
    held = state.amounts()
    for fluent, quantity in spec.consumes.items():
        key = at_floor(fluent, state.floor)
        held[key] = held.get(key, 0) - max(0, quantity.at(n))
    moved = spec.to_floor is not None
    floor = state.floor if spec.to_floor is None else spec.to_floor
    gone = (INTRINSIC,) if spec.stays and not moved else (INTRINSIC, NEAR)
    held = {fluent: amount for fluent, amount in held.items() if not fluent.startswith(gone)}
    for fluent, quantity in spec.yields.items():
        key = at_floor(fluent, floor)
        held[key] = max(held.get(key, 0), quantity.at(n))
    if moved:
        held[f"{REACHED}{floor}"] = 1
    return SymbolicState.of(held, floor)
