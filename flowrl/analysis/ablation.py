"""What a way of doing a skill really needs. Everything is at hand, then one thing less at a time.

A *start* says how much there is of each thing: items by amount, stations by where they stand (`ABSENT`,
`OUT_OF_REACH`, `WITHIN_REACH`), under their `placed:` fluent. *Rich* is a start with everything at hand, *bare* one
with what is needed alone.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from flowrl.analysis.findings import ByN, Way
from flowrl.analysis.scripted_play import AnySkill, Bases, Script, ScriptedOutcome, Stepper
from flowrl.env.staging.scenes import AS_IT_IS, OUT_OF_REACH, WITHIN_REACH, Scene, stack_scenes
from flowrl.fluents import INTRINSIC, NEAR, PLACED

Start = Mapping[str, int]
_BY_CHANCE = 0.004
"""How likely it may be that a way works in none of the worlds although nothing that it needs is taken away."""
_SOME = 0.125
"""The share of worlds in which a way that is left to chance must work to count as working."""
NOT_FULL, EMPTY = 8, 0
"""Levels of the body."""
_PATIENCE = 5


@dataclass(frozen=True)
class Attempt:
    """A way of doing a skill to be tried.

    Attributes:
        action: index into the domain's actions.
        kind: what is put ahead of the player, index into the stage's kinds; `AS_IT_IS` for nothing.
        bases: the worlds that it is tried in.
        rows_of: for each n, which of these worlds count.
        steps: how often the action is made at most.
        rich: the start with everything at hand.
        spent: what was spent before these worlds began, for each n: part of what is needed and of what is consumed.
    """

    source: Literal["segments", "probing"]
    action: int
    kind: int
    bases: Bases
    rows_of: Mapping[int, Int[np.ndarray, "rows"]]
    steps: int
    rich: Start
    spent: Mapping[str, ByN]

    @property
    def ns(self) -> tuple[int, ...]:
        """The amounts that are tried."""
        return tuple(self.rows_of)


class Ablation:
    """Tries what a skill needs."""

    def __init__(self, stepper: Stepper, functions: AnySkill):
        self.stepper, self.functions = stepper, functions
        self.stage = stepper.stage

    def way_of(self, attempt: Attempt) -> Way | None:
        """The needs and effects of an attempt. None where it does not work even in rich worlds."""
        body = self._body(attempt)
        lacks = [(name, 0) for name, most in attempt.rich.items() if most > 0]
        worked, played = self._without(attempt, lacks, body)
        # Only where a way works often enough does failure everywhere mean that something is missing.
        ns = tuple(n for n in attempt.ns if (1.0 - worked[n][0].mean()) ** len(worked[n][0]) <= _BY_CHANCE)
        if not ns:
            return None
        steps = int(played.step[attempt.ns.index(ns[0]), : attempt.bases.size].max())
        attempt = dataclasses.replace(attempt, steps=min(attempt.steps, _PATIENCE * steps + _PATIENCE))
        needed = [name for i, (name, _) in enumerate(lacks) if not all(worked[n][1 + i].any() for n in ns)]
        least = self._least(attempt, needed, ns, body)
        successes, worlds = int(worked[ns[0]][0].sum()), len(worked[ns[0]][0])
        return self._with_bare(attempt, ns, least, steps, successes, worlds)

    def _without(
        self, attempt: Attempt, lacks: Sequence[tuple[str, int]], body: int
    ) -> tuple[dict[int, list[Bool[np.ndarray, "rows"]]], ScriptedOutcome]:
        """Where it worked by n. In rich worlds first, then with one thing limited."""
        starts = [attempt.rich, *({**attempt.rich, name: level} for name, level in lacks)]
        played = self.play(attempt, starts, body)
        return _worked(attempt, played, len(starts)), played

    def _least(self, attempt: Attempt, needed: Sequence[str], ns: Sequence[int], body: int) -> dict[str, ByN]:
        """The least amounts that suffice. All levels of what is needed are tried in one batch."""
        levels = [(name, level) for name in needed for level in range(attempt.rich[name])]
        worked, _ = self._without(attempt, levels, body)
        least: dict[str, ByN] = {name: dict.fromkeys(ns, 0) for name in attempt.rich}
        for name in needed:
            for n in ns:
                fits = [at for i, (of, at) in enumerate(levels) if of == name and worked[n][1 + i].any()]
                least[name][n] = min(fits, default=attempt.rich[name])
        return least

    def _body(self, attempt: Attempt) -> int:
        """The levels of the body: as they were in worlds of segments."""
        return NOT_FULL if attempt.kind != AS_IT_IS else AS_IT_IS

    def play(self, attempt: Attempt, starts: Sequence[Start], body: int) -> ScriptedOutcome:
        """Play the attempt from each start in each of its worlds. [A, starts * worlds]."""
        worlds = attempt.bases.size
        scenes = stack_scenes([self._scene(start, attempt, body) for start in starts])
        repeated = Scene(*(np.repeat(leaf, worlds, axis=0) for leaf in scenes))
        which = np.tile(np.arange(worlds), len(starts))
        script = Script(np.full(len(which), attempt.action, np.int32), repeated.kind)
        return self.stepper.play(self.functions, attempt.bases, which, repeated, script, attempt.ns, attempt.steps)

    def _scene(self, start: Start, attempt: Attempt, body: int) -> Scene:
        stations = {name: start[PLACED + name] for name in self.stage.stations}
        faced = self.stage.station_of(attempt.kind) if attempt.kind != AS_IT_IS else ""
        # A station that the player stands before is there only where there is to be one within reach.
        kind = 0 if faced and stations[faced] not in (WITHIN_REACH, AS_IT_IS) else attempt.kind
        levels = self.stage.domain.symbols.intrinsics
        # The first level is health: without it the game is over.
        full = {name: NOT_FULL if i == 0 and body != AS_IT_IS else body for i, name in enumerate(levels)}
        return self.stage.scene(start, stations, full, kind)

    def _with_bare(
        self, attempt: Attempt, ns: tuple[int, ...], least: dict[str, ByN], steps: int, successes: int, worlds: int
    ) -> Way:
        """The way with what it spends and leaves. Measured where only what it needs is there."""
        body = self._body(attempt)
        bare = self._bare(attempt, ns, least, body)
        if bare is None:
            least = self._one_after_another(attempt, ns, body)
            bare = self._bare(attempt, ns, least, body)
        hungry = self._bare(attempt, ns, least, EMPTY) if bare is not None and body != AS_IT_IS else None
        needed = {
            name: {n: by_n[n] + attempt.spent.get(name, {}).get(n, 0) for n in ns} for name, by_n in least.items()
        }
        return Way(
            source=attempt.source,
            action=self.stage.domain.actions[attempt.action],
            faced=self.stage.kinds[attempt.kind].name if attempt.kind != AS_IT_IS else "",
            steps=steps,
            worlds=worlds,
            successes=successes,
            ns=ns,
            least=self._as_fluents(needed, attempt.kind),
            is_bare=bare is not None,
            consumed=self._consumed(bare, attempt) if bare is not None else {},
            ended=self._ended(bare, hungry) if bare is not None else {},
            has_body=hungry is not None,
        )

    def _bare(
        self, attempt: Attempt, ns: Sequence[int], least: Mapping[str, ByN], body: int
    ) -> dict[int, ScriptedOutcome] | None:
        """Play with only what is needed. In the worlds that count for each n; None if it fails."""
        starts = [
            {name: AS_IT_IS if most == AS_IT_IS else least[name][n] for name, most in attempt.rich.items()} for n in ns
        ]
        played = self.play(attempt, starts, body)
        found = {}
        for i, n in enumerate(ns):
            at = attempt.ns.index(n)
            rows = i * attempt.bases.size + attempt.rows_of[n]
            rows = rows[played.done[at, rows]]
            if len(rows) < _SOME * len(attempt.rows_of[n]):
                return None
            only = slice(at, at + 1)
            found[n] = ScriptedOutcome(
                played.step[only, rows], played.start[rows], played.before[only, rows], played.end[only, rows]
            )
        return found

    def _one_after_another(self, attempt: Attempt, ns: Sequence[int], body: int) -> dict[str, ByN]:
        """Amounts that suffice together. As much as possible is taken away of one thing after another.

        This is for ways in which one thing can stand in for another, so that neither is needed by itself.
        """
        least: dict[str, ByN] = {name: dict.fromkeys(ns, max(most, 0)) for name, most in attempt.rich.items()}
        for n in ns:
            now = dict(attempt.rich)
            for name, most in attempt.rich.items():
                if most <= 0:
                    continue
                starts = [{**now, name: level} for level in range(most)]
                worked = _worked(attempt, self.play(attempt, starts, body), len(starts))[n]
                now[name] = min((level for level in range(most) if worked[level].mean() >= _SOME), default=most)
                least[name][n] = now[name]
        return least

    def _as_fluents(self, least: Mapping[str, ByN], kind: int) -> dict[str, ByN]:
        """The amounts under the names of fluents. Of a station that is faced, only that it has to be there."""
        faced = self.stage.station_of(kind) if kind != AS_IT_IS else ""
        found = {}
        for name, by_n in least.items():
            if not name.startswith(PLACED):
                found[name] = by_n
                continue
            found[name] = {n: int(level >= OUT_OF_REACH) for n, level in by_n.items()}
            station = name.removeprefix(PLACED)
            if station != faced or not any(by_n.values()):
                found[NEAR + station] = {n: int(level >= WITHIN_REACH) for n, level in by_n.items()}
        return found

    def _consumed(self, bare: Mapping[int, ScriptedOutcome], attempt: Attempt) -> dict[str, ByN]:
        found: dict[str, ByN] = {}
        for i, fluent in enumerate(self.stepper.fluents):
            if fluent not in self.stage.domain.items:
                continue
            lost = {n: int((played.start[:, i] - played.end[0, :, i]).max()) for n, played in bare.items()}
            spent = {n: max(0, by) + attempt.spent.get(fluent, {}).get(n, 0) for n, by in lost.items()}
            if any(spent.values()):
                found[fluent] = spent
        return found

    def _ended(
        self, bare: Mapping[int, ScriptedOutcome], hungry: Mapping[int, ScriptedOutcome] | None
    ) -> dict[str, ByN]:
        """The least final amount of everything that increased. In every world."""
        found: dict[str, ByN] = {}
        for i, fluent in enumerate(self.stepper.fluents):
            worlds = hungry if fluent.startswith(INTRINSIC) else bare
            if worlds is None:
                continue
            rose = all((played.end[0, :, i] > played.start[:, i]).all() for played in worlds.values())
            if rose:
                found[fluent] = {n: int(played.end[0, :, i].min()) for n, played in worlds.items()}
        return found


def _worked(attempt: Attempt, played: ScriptedOutcome, starts: int) -> dict[int, list[Bool[np.ndarray, "rows"]]]:
    """Where the skill was done by n and start. Among the worlds that count."""
    done = played.done.reshape(len(attempt.ns), starts, -1)
    return {n: [done[i, start, attempt.rows_of[n]] for start in range(starts)] for i, n in enumerate(attempt.ns)}


def every_row(ns: Sequence[int], count: int) -> dict[int, Int[np.ndarray, "rows"]]:
    """All of ``count`` worlds for each n."""
    return {n: np.arange(count) for n in ns}
