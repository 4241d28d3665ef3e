"""The second child's work. Judges an artefact by its answers to recorded and forced transitions, without its text."""

import math
import re
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from flowrl.errors import ModuleError
from flowrl.fluents import ACHIEVEMENT
from flowrl.schema.skill import SkillSpec
from flowrl.skillcode.artefact import load_artefact
from flowrl.verify.behaviour.recordings import Recording, read_recording
from flowrl.verify.behaviour.scenarios import ForcedPath, Rows, Scenario, scrambled
from flowrl.verify.isolation.resource_limits import MEBIBYTE
from flowrl.verify.verdict import Check

_MAX_DONE_AT_FIRST = 0.1
"""The share of first states in which a skill may happen to be done: a new world may have a lake at hand."""
_MAX_SHAPING = 0.75
"""The share of the reward of success that coming nearer may pay, for a skill that cannot be done in parts."""
_MAX_REWARD = 10.0
"""What success may pay: value networks do not learn returns far above 1."""


def _right(name: str, detail: str) -> Check:
    return Check(name=name, passed=True, detail=detail)


def _wrong(name: str, what: str, instead: str) -> Check:
    return Check(name=name, passed=False, detail=f"{what} {instead}")


@dataclass(frozen=True)
class FunctionAnswers:
    """The values of the functions on all rows.

    Attributes:
        done, reward: for each part: recorded play with each amount, first states with each amount, the forced paths,
            scrambled rows.
    """

    stage: Scenario
    paths: list[ForcedPath]
    done: list[np.ndarray]
    reward: list[np.ndarray]

    def played(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(done, reward) of recorded play, with the index-th amount."""
        return self.done[index], self.reward[index]

    def first(self, index: int) -> np.ndarray:
        """Done of the first states with the index-th amount."""
        return self.done[len(self.stage.amounts) + index]

    def forced(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(done, reward) along the index-th forced path."""
        at = 2 * len(self.stage.amounts) + index
        return self.done[at], self.reward[at]

    def paths_to(self, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """(done, reward) along each forced path to ``n``."""
        return [self.forced(i) for i, path in enumerate(self.paths) if path.n == n]


def findings(played: FunctionAnswers, trusted: bool) -> Iterator[Check]:
    """Yield the checks. A trusted skill is only checked for finite numbers."""
    yield _finite(played)
    if trusted:
        return
    for check in (_not_done_at_first, _reachable, _postconditions_hold, _success_pays, _farming):
        yield check(played)


def _finite(played: FunctionAnswers) -> Check:
    rows = sum(map(len, played.reward))
    bad = sum(int((~np.isfinite(reward)).sum()) for reward in played.reward)
    if bad:
        return _wrong(
            "finite",
            f"reward returns NaN or infinity in {bad} of {rows:,} tried transitions.",
            "Guard divisions and logarithms, for example with jnp.maximum(x, 1).",
        )
    return _right("finite", f"in {rows:,} transitions of random play, scripts and forced states")


def _not_done_at_first(played: FunctionAnswers) -> Check:
    amounts = played.stage.amounts
    for index, n in enumerate(amounts):
        done = played.first(index)
        if done.mean() > _MAX_DONE_AT_FIRST:
            return _wrong(
                "initial",
                f"is_done is true in {int(done.sum())} of {len(done)} states in which the skill begins (n={n}, what "
                "it needs is there, nothing has happened yet), so it would teach nothing.",
                f"Test for what it yields: {played.stage.end_note(n)}.",
            )
    listed = " and ".join(map(str, amounts))
    return _right("initial", f"not done in {len(played.first(0))} first states, n = {listed}")


def _reachable(played: FunctionAnswers) -> Check:
    stage = played.stage
    for n in stage.amounts:
        if not any(done[-1] for done, _ in played.paths_to(n)):
            return _wrong(
                "reachable",
                f"is_done stays false with n={n} although all that the spec yields holds ({stage.end_note(n)}), so "
                "it could never be finished.",
                "Test for exactly that.",
            )
    return _right("reachable", f"done once {stage.end_note(stage.amounts[-1])} is forced into the state")


def _postconditions_hold(played: FunctionAnswers) -> Check:
    """Look for done states without the postconditions."""
    stage = played.stage
    for i, path in enumerate(played.paths):
        early = np.flatnonzero(played.forced(i)[0][:-1])
        if early.size and stage.spec.scales:
            return _wrong(
                "promise",
                f"is_done is true with n={path.n} after step {early[0] + 1} of {len(played.forced(i)[0])}, before "
                f"what the spec yields holds ({stage.end_note(path.n)}).",
                "Compare the amounts with n.",
            )
    for index, n in enumerate(stage.amounts):
        for name, row in _first_done(played, index):
            if (broken := _broken_promise(stage, n, row)) is not None:
                return _wrong(
                    "promise", f"is_done is true with n={n} in a recorded state ({name}) where {broken}.", "Test that."
                )
    return _right("promise", "where it is done in recorded play, what the spec yields holds")


def _broken_promise(stage: Scenario, n: int, row: int) -> str | None:
    """A yield that a recorded row breaks. Achievements are left out, as a task may begin at any step."""
    for fluent, quantity in stage.spec.yields.items():
        if fluent in stage.fluents and not fluent.startswith(ACHIEVEMENT):
            there = int(stage.fluents[fluent][row])
            if there < quantity.at(n):
                return f"{fluent} is {there}, while the spec yields {quantity.at(n)}"
    return None


def _first_done(played: FunctionAnswers, index: int) -> Iterator[tuple[str, int]]:
    """Yield the trajectories that finish the skill. Each with the row in which it is done."""
    done, _ = played.played(index)
    for name, rows in _trajectories(played.stage):
        finished = np.flatnonzero(done[rows])
        if finished.size:
            yield name, int(rows[finished[0]])


def _trajectories(stage: Scenario) -> Iterator[tuple[str, np.ndarray]]:
    for number, name in enumerate(stage.names.trajectories):
        yield name, np.flatnonzero(stage.trajectory == number)


def _success(played: FunctionAnswers, n: int) -> tuple[float, float]:
    """The reward along the best forced path. In all, and in the last step."""
    best = max((reward for done, reward in played.paths_to(n) if done[-1]), key=lambda reward: float(reward.sum()))
    return float(best.sum()), float(best[-1])


def _success_pays(played: FunctionAnswers) -> Check:
    for n in played.stage.amounts:
        total, last = _success(played, n)
        if total <= 0 or last <= 0:
            return _wrong(
                "success pays",
                f"the reward at success is {last:.3g} (n={n}; {total:.3g} in all on the way); it must be above 0.",
                "Pay about 1 in all for what the spec yields, as gathered(amount, change, n) or achievements_diff do.",
            )
        if total > _MAX_REWARD:
            return _wrong(
                "success pays",
                f"the reward pays {total:.3g} in all on the way to success (n={n}), far more than 1.",
                "Pay about 1 in all: divide by what is paid now.",
            )
    return _right("success pays", f"{_success(played, played.stage.amounts[-1])[0]:.3g} in all")


class _Farmed(NamedTuple):
    """The most that an unfinished trajectory pays. ``share`` is of what is allowed."""

    share: float
    most: float
    name: str
    n: int


def _farming(played: FunctionAnswers) -> Check:
    """Look for unfinished play that pays like success."""
    # A script with a name tells an author more than random play.
    worst = max(_farmed(played), key=lambda f: (f.share >= 1 and not f.name.startswith("random"), f.share))
    if worst.share >= 1:
        return _wrong(
            "farming",
            f"the reward pays {worst.most:.3g} for {worst.name} (n={worst.n}), without the skill being done, and "
            f"{_success(played, worst.n)[0]:.3g} for success.",
            "Pay for progress and take as much back where it is lost: use gathered and approach of flowrl.env.shaping.",
        )
    scripts = len(played.stage.names.trajectories)
    most = f"at most {worst.most:.2g}, for {worst.name}" if worst.most > 0 else "nothing"
    return _right("farming", f"{scripts} scripts and random plays that do not finish it are paid {most}")


def _farmed(played: FunctionAnswers) -> Iterator[_Farmed]:
    """Yield the most that each trajectory pays unfinished. With each amount."""
    stage = played.stage
    for index, n in enumerate(stage.amounts):
        success, _ = _success(played, n)
        allowed = success if n > 1 and stage.spec.scales else _MAX_SHAPING * success
        done, reward = played.played(index)
        for name, rows in _trajectories(stage):
            finished = np.flatnonzero(done[rows])
            unfinished = reward[rows[: finished[0]]] if finished.size else reward[rows]
            most = float(np.max(np.cumsum(unfinished), initial=0.0))
            yield _Farmed(most / allowed, most, name, n)


_PARTS = 4
"""How many arrays of the largest size should fit into memory at once."""


def _too_large(error: Exception) -> str:
    """How far arrays must shrink if memory ran out. Empty for other errors."""
    said = str(error)[:2_000]
    if "RESOURCE_EXHAUSTED" not in said and not isinstance(error, MemoryError):
        return ""
    wanted = max(map(int, re.findall(r"(\d+) bytes", said)), default=0)
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    times = max(2, math.ceil(_PARTS * wanted / limit)) if limit > 0 else 2
    asked = f"one of {wanted / MEBIBYTE:,.0f} MiB was asked for, and " if wanted else ""
    return (
        f"The code's intermediate arrays are too large: {asked}all worlds that it is tried on do not fit into memory "
        f"at once. Make the largest array at least {times} times smaller, or reduce it before combining it with others."
    )


class Judge:
    """A recording that is read before artefacts arrive."""

    def __init__(self, file: Path):
        self.recording: Recording = read_recording(file)

    def checks(self, artefact: bytes, spec: SkillSpec, trusted: bool) -> Iterator[Check]:
        """Yield the checks of an artefact up to the first failure."""
        start = time.monotonic()
        leaves = {**self.recording.leaves, "n": np.ones(len(self.recording.trajectory), np.int32)}
        try:
            skill = load_artefact(artefact, {name: leaf[:1] for name, leaf in leaves.items()})
        except ModuleError as error:
            yield Check(name="artefact", passed=False, detail=str(error), seconds=time.monotonic() - start)
            return
        size = f"{len(artefact):,} bytes of array operations, all on the list"
        yield Check(name="artefact", passed=True, detail=size, seconds=time.monotonic() - start)
        start = time.monotonic()
        try:
            answers = self._evaluate(skill.outcomes, spec)
        except Exception as error:  # a compiler's, on an artefact of unknown origin
            said = _too_large(error) or f"What was exported cannot be run: {type(error).__name__}: {str(error)[:300]}"
            yield Check(name="evaluation", passed=False, detail=said, seconds=time.monotonic() - start)
            return
        for check in findings(answers, trusted):
            yield check.model_copy(update={"seconds": time.monotonic() - start})
            start = time.monotonic()
            if not check.passed:
                return

    def _evaluate(self, outcomes_fn: Callable[[Mapping[str, Any]], Any], spec: SkillSpec) -> FunctionAnswers:
        """Call the functions once on all rows together."""
        stage = Scenario(self.recording, spec)
        parts: list[Rows] = [stage.recorded(n) for n in stage.amounts]
        parts += [stage.first(n) for n in stage.amounts]
        paths = [path for n in stage.amounts for path in stage.paths(n)]
        parts += [path.rows for path in paths]
        parts.append(scrambled(parts[0]))
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        done, reward = jax.device_get(jax.jit(outcomes_fn)(joined))
        ends = np.cumsum([len(part["n"]) for part in parts])[:-1]
        return FunctionAnswers(stage, paths, np.split(np.asarray(done), ends), np.split(np.asarray(reward), ends))
