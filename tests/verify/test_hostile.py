"""Hostile and broken programs against the sandbox, one test each: refused where each says, with no harm done.

Three ways, by cost. Most are refused as text, by the sandbox itself, in milliseconds. Those that the allow-list lets
pass are no danger, so what its two processes do is done here in one, all but bombs. Then the walls behind the
allow-list are tried by themselves: the same programs with the allow-list switched off, each in a real sandbox.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.hostile import GOOD, PROGRAMS, Program, machine
from benchmarks.hostile.canary import Canary, leaks
from benchmarks.hostile.program import BREACH, CLASSIC
from flowrl.knowledge.base import load_base
from flowrl.skillcode.source import SkillSource, compose_module
from flowrl.verify.behaviour.judge import Judge
from flowrl.verify.behaviour.recordings import recorded, shapes_of
from flowrl.verify.isolation.resource_limits import MEBIBYTE, SandboxLimits
from flowrl.verify.text.check_text import read_skill_text
from flowrl.verify.tracing import Refused, traced_artefact
from flowrl.verify.verdict import Check, Verdict
from flowrl.verify.verify import verify

LIMITS = SandboxLimits(seconds=40, cpu_seconds=8, memory=1536 * MEBIBYTE)
"""Wide in wall time, for machines that are busy; endless loops end by processor time."""
SOON = SandboxLimits(seconds=9, cpu_seconds=6)
LATE_SECONDS = 2.0
TEXT_CHECKS = ("parse", "allow-list", "functions", "arguments")
BOMBS = ("calls that double",)
"""Honest to the allow-list, but to be run in a sandbox only."""
REPRESENTATIVE = ("plain", "select over conditions", "pays for being alive", "python if", "log of 0", "None")
"""Also done by the real sandbox, which must come to the same end."""
BATTERIES = {
    "battery of files": machine.FILE_ATTEMPTS,
    "battery of the network": machine.NETWORK_ATTEMPTS,
    "battery of processes": machine.PROCESS_ATTEMPTS,
    "battery of reading": machine.READ_ATTEMPTS,
    "battery of powers": machine.POWER_ATTEMPTS,
}
MAY_FAIL_FREELY = {"of the x32 table", "urllib", "trace", "namespaces", "clock", "bpf", "page faults in user space",
                   "performance events", "mount", "real time priority", "nice below zero", "extended attribute",
                   "kernel key ring", "io_uring", "its limits", "its memory read", "host name", "root folder", "vsock",
                   "openat2", "raw memory", "its scheduler", "message queue"}  # fmt: skip
"""What kernels and containers refuse without our help."""


def by_name(programs: Any) -> dict[str, Program]:
    return {program.name: program for program in programs}


TEXTS = by_name(p for p in PROGRAMS if p.stage in TEXT_CHECKS)
PAST = by_name(p for p in (*PROGRAMS, *GOOD) if p.stage not in TEXT_CHECKS and p.name not in BOMBS)
BELOW = by_name(p for p in PROGRAMS if p.below)
WALLS = ("battery of files", "battery of the network", "battery of processes", "battery of reading",
         "battery of powers", "system calls of 32 bits", "tells its environment", "forges the answer",
         "forges an artefact that calls C", "crashes the interpreter", "ignores signals for ever",
         "threads without end", "prints without end", "a message of a gigabyte", "an error that cannot be printed",
         "gigabyte of zeros, traced", "endless recursion in C", "a callback in every step", "a call into C",
         "another jax for the checks")  # fmt: skip
"""One program for each wall behind the allow-list; `flowrl bench verify` tries them all."""
ALL = by_name((*PROGRAMS, *GOOD))


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    with Canary(tmp_path_factory.mktemp("canary")) as made:
        yield made


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(recorded(CLASSIC))


def is_a_sentence(text: str) -> bool:
    """Whether an author can act on it: it is short, one line, and names a line or a function."""
    place = re.search(r"\bline \d+|\bis_done\b|\breward\b|\b[Tt]he (text|code|function|skill file)\b", text)
    return bool(place) and text.isprintable() and len(text) < 1_500 and text[-1] in ".?" and "/" + "tmp" not in text


def refused_by(verdict: Verdict) -> str:
    if verdict.ok:
        return "ok"
    failed = [check for check in verdict.checks if not check.passed]
    assert len(failed) == 1 and failed[0] is verdict.checks[-1] and failed[0].detail == verdict.error
    return failed[0].name


@pytest.mark.parametrize("name", TEXTS)
def test_refused_as_text(name: str, canary: Canary) -> None:
    program, start = TEXTS[name], time.monotonic()
    verdict = verify(canary.aimed(program), program.env, SOON)
    assert refused_by(verdict) == program.stage, verdict.error
    assert is_a_sentence(verdict.error), verdict.error
    assert re.search(program.says, verdict.error)
    assert not verdict.start_seconds and time.monotonic() - start < LATE_SECONDS
    assert not canary.harm()


def judged(program: Program, canary: Canary, judge: Judge) -> Check:
    """The check that decides, made in this process."""
    skill = canary.aimed(program)
    reading = read_skill_text(skill.code, program.env, load_base(program.env).vocabulary)
    assert not reading.problem
    request: Mapping[str, Any] = {
        "text": skill.code,
        "env": program.env,
        "trusted": False,
        "shapes": shapes_of(recorded(program.env)),
        "is_done_arguments": reading.is_done_arguments,
        "reward_arguments": reading.reward_arguments,
    }
    try:
        checks = [*judge.checks(traced_artefact(request), skill.spec, False)]
    except Refused as refused:
        return Check(name="trace", passed=False, detail=str(refused))
    return next((check for check in checks if not check.passed), checks[-1])


@pytest.mark.parametrize("name", PAST)
def test_past_the_allow_list(name: str, canary: Canary, judge: Judge) -> None:
    program = PAST[name]
    check = judged(program, canary, judge)
    assert ("ok" if check.passed else check.name) == program.stage, check.detail
    assert check.passed or is_a_sentence(check.detail), check.detail
    assert re.search(program.says, check.detail)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*REPRESENTATIVE, *BOMBS])
def test_the_sandbox_comes_to_the_same_end(name: str, canary: Canary) -> None:
    program = ALL[name]
    verdict = verify(canary.fresh(program), program.env, LIMITS)
    assert refused_by(verdict) == program.stage, verdict.error
    assert verdict.ok or is_a_sentence(verdict.error), verdict.error
    assert verdict.seconds < LIMITS.seconds + LATE_SECONDS
    assert not canary.harm() and not leaks(verdict)
    if verdict.ok and sys.platform == "linux":
        assert "no network" in " ".join(verdict.enforced)


@pytest.mark.slow
@pytest.mark.parametrize("name", WALLS)
def test_contained_without_the_allow_list(name: str, canary: Canary) -> None:
    program, start = BELOW[name], time.monotonic()
    limits = SOON if "time" in program.below_says else LIMITS
    free = psutil.virtual_memory().available
    verdict = verify(canary.fresh(program, trusted=True), program.env, limits)
    assert time.monotonic() - start < limits.seconds + LATE_SECONDS
    assert not canary.harm(), verdict
    assert not leaks(verdict), verdict
    assert program.below in ("any", refused_by(verdict)), verdict.error
    assert verdict.ok or (verdict.error.isprintable() and len(verdict.error) < 1_500), verdict.error
    assert re.search(program.below_says, verdict.error), verdict.error
    assert psutil.virtual_memory().available > free - 2 * limits.memory


@pytest.mark.slow
@pytest.mark.parametrize("name", BATTERIES)
def test_the_attacks_work_where_nothing_holds_them(name: str, tmp_path: Path) -> None:
    """Attacks that fail everywhere would show nothing."""
    with Canary(tmp_path) as target:
        code = target.aimed(ALL[name]).code
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
        found = re.search(f"{BREACH}: (.*)", done.stderr)
        assert found, done.stderr[-2000:]
        failed = BATTERIES[name].keys() - set(found[1].split(", "))
        assert failed <= MAY_FAIL_FREELY
        assert name in ("battery of powers", "battery of reading") or target.harm()


def test_names_that_flowrl_uses_are_no_danger() -> None:
    ours = SkillSource("skill_0", ALL["plain"].code)
    theirs = [
        SkillSource(f"skill_{i}", ALL[f"name of {what}"].code) for i, what in ((1, "a task"), (2, "another skill"))
    ]
    module = compose_module([ours, *theirs], [0, 1, 2], [0, 1, 2])
    lines = [line for line in module.split("\n") if re.match(r"(def )?(task_0_is_done|skill_0_reward)\b", line)]
    assert lines == ["def skill_0_reward(inventory, inventory_diff, n):", "task_0_is_done = skill_0_is_done"]


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len(PROGRAMS) >= 80 and len(ALL) == len(PROGRAMS) + len(GOOD)
    assert len(BELOW) >= 25 and len(GOOD) >= 15
