"""A specification's states forced into skill inputs. A skill's start and its end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from flowrl.env.block_memory import UNKNOWN
from flowrl.fluents import ACHIEVEMENT, INTRINSIC, KILLS, NEAR, PLACED, prefix_of
from flowrl.schema.skill import SkillSpec
from flowrl.skillcode.inputs import DRAWN
from flowrl.verify.behaviour.recordings import Recording

Rows = dict[str, np.ndarray]
MAX_STEPS = 64
"""Of a forced path: up to this many, items come one by one."""
_SCRAMBLED = 256
_FULL = 9
_DISTANCES = (2, UNKNOWN)
"""How far a station is at the start: two steps, or unknown."""
_PIECES = 2
"""The largest amount of one kind of an item that is stored by kind: a piece of diamond armour counts 2."""


@dataclass(frozen=True)
class ForcedPath:
    """A forced path to a finished skill.

    Attributes:
        rows: one transition each; all yields hold after the last.
    """

    rows: Rows
    n: int


class Scenario:
    """Rows for one specification from a recording."""

    def __init__(self, recording: Recording, spec: SkillSpec):
        self.recording, self.spec, self._piled = recording, spec, False
        low, high = spec.n_range or (1, 1)
        self.amounts = tuple(dict.fromkeys((low, high)))
        self.names = recording.names
        first = recording.trajectory < 0
        self._first = {name: leaf[first] for name, leaf in recording.leaves.items()}
        self._played = {name: leaf[~first] for name, leaf in recording.leaves.items()}
        self.trajectory = recording.trajectory[~first]
        self.fluents = {name: value[~first] for name, value in recording.fluents.items()}

    def recorded(self, n: int) -> Rows:
        """All recorded play with ``n`` wanted."""
        return {**self._played, "n": np.full(len(self.trajectory), n, np.int32)}

    def first(self, n: int) -> Rows:
        """First states in which the skill may begin. Its needs are met, nothing has happened yet."""
        rows = self._begin(n)
        return _transition(rows, rows, np.zeros_like(rows["achievements"]), n)

    def paths(self, n: int) -> Iterator[ForcedPath]:
        """Yield forced paths to success. A correct skill finishes at least one."""
        nears = any(fluent.startswith(NEAR) for fluent in self.spec.yields)
        spreads = any(np.ndim(self._first.get(f"inventory.{fluent}", 0)) > 1 for fluent in self.spec.yields)
        for distance in _DISTANCES if nears else _DISTANCES[:1]:
            for early in (False, True):
                for self._piled in (False, True) if spreads else (False,):
                    yield self._path(n, distance, early)
        self._piled = False

    def _path(self, n: int, distance: int, early: bool) -> ForcedPath:
        """A path in steps of one. Achievements come with each step if ``early``, else with the last."""
        ends = self._ends(n)
        states, events = [self._before(n, ends, distance)], []
        steps = self._steps(states[0], ends)
        for k in range(1, steps + 1):
            after = {name: value.copy() for name, value in states[-1].items()}
            self._advance(after, states[0], ends, n, k, steps)
            happened = np.zeros_like(after["achievements"])
            if early or k == steps:
                happened[:, [self._achievement(fluent) for fluent in ends if fluent.startswith(ACHIEVEMENT)]] = 1
            after["achievements"] = np.maximum(after["achievements"], happened)
            states.append(after)
            events.append(happened)
        parts = [_transition(a, b, e, n) for a, b, e in zip(states, states[1:], events, strict=False)]
        return ForcedPath({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, n)

    def _before(self, n: int, ends: Mapping[str, int], distance: int) -> Rows:
        """A state to begin in without any yield."""
        begin = {name: value[:1].copy() for name, value in self._begin(n).items()}
        for fluent, amount in ends.items():
            if fluent.startswith(NEAR):
                self._force(begin, fluent, 1, distance)
            elif fluent.startswith(INTRINSIC):
                self._force(begin, fluent, min(self.amount(begin, fluent), max(0, amount - 1)))
        return begin

    def _steps(self, begin: Rows, ends: Mapping[str, int]) -> int:
        """How many steps it takes if items come one by one."""
        counted = [f for f in ends if not f.startswith((ACHIEVEMENT, PLACED, NEAR, INTRINSIC))]
        return min(MAX_STEPS, max([1, *(ends[f] - self.amount(begin, f) for f in counted)]))

    def _advance(self, after: Rows, begin: Rows, ends: Mapping[str, int], n: int, k: int, steps: int) -> None:
        """The state after ``k`` of ``steps`` steps. Achievements apart."""
        for fluent, amount in ends.items():
            if fluent.startswith((NEAR, PLACED)):
                if k == steps:
                    self._force(after, fluent, 1, 1)
            elif not fluent.startswith(ACHIEVEMENT):
                start = self.amount(begin, fluent)
                self._force(after, fluent, start + (amount - start) * k // steps)
        for fluent in self.spec.consumes.keys() - self.spec.yields.keys():
            start, spent = self.amount(begin, fluent), max(0, self.spec.consumes[fluent].at(n))
            self._force(after, fluent, max(0, start - spent * k // steps))
        if k == steps and self.spec.to_floor is not None and "player_level" in after:
            after["player_level"][:] = self.spec.to_floor

    def _ends(self, n: int) -> dict[str, int]:
        """The amounts at the end. A level of the body is full."""
        ends = {fluent: quantity.at(n) for fluent, quantity in self.spec.yields.items()}
        return {f: max(_FULL, amount) if f.startswith(INTRINSIC) else amount for f, amount in ends.items()}

    def _begin(self, n: int) -> Rows:
        rows = {name: value.copy() for name, value in self._first.items()}
        for fluent, amount in self.spec.needed(n).items():
            if amount > 0:
                self._force(rows, fluent, amount, 1 if fluent.startswith(NEAR) else 4)
        if self.spec.floors and "player_level" in rows:
            rows["player_level"][:] = self.spec.floors[0]
        return rows

    def amount(self, rows: Rows, fluent: str) -> int:
        """The amount of a fluent in the first row. 0 if skill code cannot see it."""
        kind = prefix_of(fluent)
        name = fluent.removeprefix(kind)
        if not kind and (leaf := rows.get(f"inventory.{name}")) is not None:
            return int(leaf[0].sum())
        if kind == INTRINSIC and name in self.names.intrinsics:
            return int(rows["player_intrinsics"][0, self.names.intrinsics.index(name)])
        if kind == KILLS and "monsters_killed" in rows:
            return int(rows["monsters_killed"][0, int(name)])
        if kind == ACHIEVEMENT:
            return int(rows["achievements"][0, self._achievement(fluent)])
        return 0

    def _achievement(self, fluent: str) -> int:
        return self.names.achievements.index(fluent.removeprefix(ACHIEVEMENT))

    def _force(self, rows: Rows, fluent: str, amount: int, distance: int = 1) -> None:
        """Give the fluent this amount in every row. Stations the given distance."""
        kind = prefix_of(fluent)
        name = fluent.removeprefix(kind)
        if not kind and (leaf := rows.get(f"inventory.{name}")) is not None:
            leaf[:] = _spread(amount, leaf, self._piled)
        elif kind == INTRINSIC and name in self.names.intrinsics:
            rows["player_intrinsics"][:, self.names.intrinsics.index(name)] = amount
        elif kind == KILLS and "monsters_killed" in rows:
            rows["monsters_killed"][:, int(name)] = amount
        elif kind in (NEAR, PLACED):
            row = self.names.blocks.index(self.names.stations[name][0])
            closest = rows["closest_blocks"]
            offset = (UNKNOWN, UNKNOWN) if distance >= UNKNOWN else (0, distance)
            # A station that is known already only moves for `near:`.
            if kind == NEAR or (np.abs(closest[:, row, :, 0]).sum(axis=1) >= 2 * UNKNOWN).all():
                closest[:, row, :, 0] = offset

    def end_note(self, n: int) -> str:
        """What holds at a forced end for messages."""
        held = [f"{fluent} = {quantity.at(n)}" for fluent, quantity in self.spec.yields.items()]
        if self.spec.to_floor is not None:
            held.append(f"floor = {self.spec.to_floor}")
        return ", ".join(held)


def _spread(amount: int, leaf: np.ndarray, piled: bool) -> np.ndarray:
    """An amount as the item's array stores it. Armour and potions by kind, spread evenly or piled up."""
    if leaf.ndim == 1:
        return np.full_like(leaf, amount)
    kinds = np.arange(leaf.shape[-1])
    by_kind = np.clip(amount - _PIECES * kinds, 0, _PIECES) if piled else (amount + kinds[::-1]) // len(kinds)
    return np.broadcast_to(by_kind, leaf.shape).astype(leaf.dtype)


def _transition(before: Rows, after: Rows, events: np.ndarray, n: int) -> Rows:
    """Skill inputs between two forced states."""
    rows = dict(after.items())
    for name in after:
        if name.startswith("inventory."):
            diff = name.replace("inventory.", "inventory_diff.", 1)
            rows[diff] = (after[name].astype(np.int64) - before[name]).astype(after[diff].dtype)
    for name in ("player_intrinsics", "player_level", "monsters_killed"):
        if name in after:
            rows[f"{name}_diff"] = after[name] - before[name]
    rows["intrinsics_diff"] = rows["player_intrinsics_diff"]
    rows["closest_blocks_prev"] = before["closest_blocks"]
    rows["achievements_diff"] = events
    rows["env_reward"] = events.sum(axis=1).astype(after["env_reward"].dtype)
    rows["health_penalty"] = np.zeros_like(after["health_penalty"])
    rows["n"] = np.full(len(events), n, np.int32)
    return rows


def scrambled(rows: Mapping[str, np.ndarray]) -> Rows:
    """Transitions with every number drawn at random. To find where a reward is not finite."""
    rng = np.random.default_rng(0)
    drawn: Rows = {}
    for name, leaf in rows.items():
        low, high = DRAWN.get(name.partition(".")[0], (-1, 1))
        drawn[name] = rng.integers(low, high + 1, (_SCRAMBLED, *leaf.shape[1:])).astype(leaf.dtype)
    return drawn
