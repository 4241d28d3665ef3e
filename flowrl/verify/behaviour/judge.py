"""The second child's work. Evaluates an artefact on recorded and forced transitions, without the skill's text."""

import math
import re
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flowrl.errors import ModuleError
from flowrl.schema.skill import SkillSpec
from flowrl.skillcode.artefact import load_artefact
from flowrl.verify.behaviour.checks import FunctionAnswers, findings
from flowrl.verify.behaviour.recordings import Recording, read_recording
from flowrl.verify.behaviour.scenarios import Rows, Scenario, scrambled
from flowrl.verify.isolation.resource_limits import MEBIBYTE
from flowrl.verify.verdict import Check

_PARTS = 4
"""How many arrays of the largest size should fit into memory at once."""


def _too_large(error: Exception) -> str:
    """By how much arrays must shrink if memory ran out. Empty for other errors."""
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
    """A recording, read before the artefact arrives."""

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
        for name, passed, detail in findings(answers, trusted):
            yield Check(name=name, passed=passed, detail=detail, seconds=time.monotonic() - start)
            start = time.monotonic()
            if not passed:
                return

    def _evaluate(self, outcomes_fn: Callable[[Mapping[str, Any]], Any], spec: SkillSpec) -> FunctionAnswers:
        """Call the functions once, on all rows together."""
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
