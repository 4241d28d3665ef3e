"""How a skill gets done without being told. Every action is tried on everything, with everything at hand."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from flowrl.analysis.ablation import NOT_FULL, Ablation, Attempt, Start, every_row
from flowrl.analysis.findings import Way
from flowrl.analysis.scripted_play import MAX_STEPS, AnySkill, Bases, Script, Stepper
from flowrl.analysis.segments import Segment
from flowrl.env.staging.scenes import ABSENT, AS_IT_IS, WITHIN_REACH, Scene, stack_scenes
from flowrl.fluents import NEAR, PLACED, Vocabulary
from flowrl.schema.skill import SkillSpec

NS = (1, 2, 3)
"""The amounts that are tried."""
WORLDS = 8
"""In how many worlds a way is tried."""
_MORE_WORLDS = 32
_PROBES = 2
_MAX_WAYS = 4


class Probing:
    """Finds the ways in which a skill gets done in one game.

    Args:
        vocabulary: how much of each item there can be.
        spec: what is believed of the skill; it only says what to lower first where a rich world is done at once.
    """

    def __init__(self, stepper: Stepper, functions: AnySkill, vocabulary: Vocabulary, spec: SkillSpec, key: jax.Array):
        self.stepper, self.functions, self.spec = stepper, functions, spec
        self.stage, self.vocabulary = stepper.stage, vocabulary
        self.ablation = Ablation(stepper, functions)
        self._key, first_key = jax.random.split(key)
        self.bases = stepper.plain_bases(first_key, WORLDS)
        self.notes: list[str] = []

    def everything(self) -> dict[str, int]:
        """The start with as much of everything as there can be."""
        items = {item: self.vocabulary.most(item) for item in self.stage.domain.items}
        return items | {PLACED + name: WITHIN_REACH for name in self.stage.stations}

    def rich(self) -> Start | None:
        """Start state with everything except what completes the skill immediately. None if there is no such state.

        What the skill itself yields is so kept at what it was.
        """
        start: dict[str, int] = self.everything()
        if not self._is_done_at_once([start])[0]:
            return start
        yielded = [name for name in map(_name_in_start, self.spec.yields) if name in start]
        names = list(dict.fromkeys([*yielded, *start]))
        lowered = [(name, level) for name in names for level in reversed(range(start[name])) if _is_useful(name, level)]
        done = self._is_done_at_once([{**start, name: level} for name, level in lowered])
        for (name, level), at_once in zip(lowered, done, strict=True):
            if not at_once:
                return {**start, name: level}
        start |= dict.fromkeys(yielded, ABSENT)
        if not self._is_done_at_once([start])[0]:
            return start
        self.notes.append("It counts as done in every staged world, so that nothing can be tried.")
        return None

    def ways(self) -> list[Way]:
        """The ways that work, the quickest first."""
        rich = self.rich()
        if rich is None:
            return []
        # What is left to chance may need another try in more worlds.
        candidates = self._probe(rich, _PROBES) or self._probe(rich, WORLDS)
        found = [self._way(action, kind, rich) for action, kind in candidates]
        ways = [way for way in found if way is not None]
        if not ways:
            tried = f"No action repeated up to {MAX_STEPS} times before any kind of thing"
            self.notes.append(f"{tried} gets it done in staged worlds.")
        return ways

    def _way(self, action: int, kind: int, rich: Start) -> Way | None:
        """The way that an attempt found. One left to chance is tried in more worlds, where few say too little."""
        attempt = self.attempt(action, kind, rich)
        way = self.ablation.way_of(attempt)
        if way is not None and (way.ns == NS or way.successes == way.worlds):
            return way
        more = self.stepper.plain_bases(self._key, _MORE_WORLDS)
        again = dataclasses.replace(attempt, bases=more, rows_of=every_row(NS, _MORE_WORLDS))
        return self.ablation.way_of(again) or way

    def attempt(self, action: int, kind: int, rich: Start) -> Attempt:
        """An action made before a kind of thing in plain worlds."""
        rows = every_row(NS, self.bases.size)
        return Attempt("probing", action, kind, self.bases, rows, MAX_STEPS, rich, {})

    def _is_done_at_once(self, starts: Sequence[Start]) -> list[bool]:
        """Whether waiting one step completes the skill. For any n."""
        first = jax.tree.map(lambda leaf: leaf[:1], self.bases)
        attempt = Attempt("probing", 0, 0, first, every_row(NS, 1), 1, {}, {})
        done = self.ablation.play(attempt, starts, NOT_FULL).done
        return [bool(done[:, i].any()) for i in range(len(starts))]

    def _probe(self, rich: Start, worlds: int) -> list[tuple[int, int]]:
        """The actions that complete the skill once. Each with the thing that it is best done in front of."""
        actions, kinds = len(self.stage.domain.actions), self._kinds_to_face(rich)
        stations = {name: rich[PLACED + name] for name in self.stage.stations}
        scenes = stack_scenes([self.stage.scene(rich, stations, NOT_FULL, kind) for kind in kinds])
        kind, action, world = np.indices((len(kinds), actions, worlds)).reshape(3, -1).astype(np.int32)
        placed = Scene(*(leaf[kind] for leaf in scenes))
        script = Script(action, placed.kind)
        step = self.stepper.play(self.functions, self.bases, world, placed, script, NS[:1]).step[0]
        step = step.reshape(len(kinds), actions, worlds)
        share, slowest = (step > 0).mean(axis=2), step.max(axis=2)
        best = []
        for act in np.flatnonzero(share.max(axis=0) > 0):
            at = min(np.flatnonzero(share[:, act] > 0), key=lambda k: (-share[k, act], slowest[k, act], k))
            best.append((slowest[at, act] / share[at, act], int(act), kinds[at]))
        return [(act, kind) for _, act, kind in sorted(best)[:_MAX_WAYS]]

    def _kinds_to_face(self, rich: Start) -> list[int]:
        """The kinds of things to face. Without stations that must not be near."""
        near = [kind for kind in range(len(self.stage.kinds)) if self.stage.station_of(kind)]
        out = [kind for kind in near if rich[PLACED + self.stage.station_of(kind)] != WITHIN_REACH]
        return [kind for kind in range(len(self.stage.kinds)) if kind not in out]


def _name_in_start(fluent: str) -> str:
    return PLACED + fluent.removeprefix(NEAR) if fluent.startswith(NEAR) else fluent


def _is_useful(name: str, level: int) -> bool:
    """Whether a lowered level leaves something to do. For items, none of it."""
    return name.startswith(PLACED) or level == 0


def segment_attempt(
    segments: Sequence[Segment], bases: Bases, stepper: Stepper, rich: Start, spent: Mapping[str, dict[int, int]]
) -> Attempt | None:
    """Repeat the last step of segments in the worlds just before it. None where most end with different actions.

    Args:
        bases: the world just before the last step of each segment.
        rich: the start with everything at hand but what the skill yields, of which there is what there was.
    """
    actions = [each.action for each in segments]
    common = max(sorted(set(actions)), key=actions.count)
    rows = np.array([i for i, action in enumerate(actions) if action == common])
    if 2 * len(rows) <= len(segments):
        return None
    chosen: Any = jax.tree.map(lambda leaf: leaf[rows], bases)
    rows_of = {
        n: np.array([k for k, row in enumerate(rows) if segments[row].n == n])
        for n in sorted({segments[row].n for row in rows})
    }
    action = stepper.stage.domain.actions.index(common)
    return Attempt("segments", action, AS_IT_IS, chosen, rows_of, 1, rich, spent)
