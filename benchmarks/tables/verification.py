"""Verification: its cost, a corpus of hostile programs against it, and what the analysis and the model's checks do."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.hostile import GOOD, PROGRAMS, Program
from benchmarks.hostile.canary import Canary, leaks
from benchmarks.tables.measure import Row, row, tell
from benchmarks.tables.planted import planted_errors
from benchmarks.tables.proposals import measure as proposals
from flowrl.knowledge.base import load_base
from flowrl.verify.behaviour.recordings import recorded
from flowrl.verify.isolation.resource_limits import SandboxLimits
from flowrl.verify.verify import verify_anew

TABLE = "verify"
ENV = "Craftax-Classic-Symbolic-v1"
SKILLS = ("Collect Wood", "Place Table", "Make Iron Pickaxe", "Return To Table", "Wake Up")
LIMITS = SandboxLimits(seconds=30, cpu_seconds=10)
LATE_SECONDS = 2.0


def measure(slow: bool = True) -> list[Row]:
    """Returns the rows of the table; without ``slow``, those of the corpus from every fourth program."""
    programs = PROGRAMS if slow else PROGRAMS[::4]
    below = [program for program in programs if program.below]
    return [*_cost(), *_corpus(programs), _without_the_allow_list(below), *planted_errors(), *proposals()]


def _cost() -> list[Row]:
    """Returns what the verification of one good skill costs, transitions recorded before."""
    recorded(ENV)
    base = load_base(ENV)
    verdicts = [verify_anew(base.skill(name).model_copy(update={"trusted": False}), ENV) for name in SKILLS]
    if wrong := [verdict.error for verdict in verdicts if not verdict.ok]:
        raise RuntimeError(f"A skill that ships does not pass verification: {wrong[0]}")
    return [
        row(TABLE, "verification of one good skill, wall", [v.seconds for v in verdicts], "s", at_most=15),
        row(TABLE, "of which until the children are ready", [v.start_seconds for v in verdicts], "s", at_most=5),
    ]


def _corpus(programs: Sequence[Program]) -> list[Row]:
    """Returns how many of these hostile programs are contained, and how late the latest verdict was."""
    tell(f"  {len(programs)} hostile programs")
    with TemporaryDirectory() as folder, Canary(Path(folder)) as canary:
        hostile = [_try(program, canary) for program in programs]
        honest = [_try(program, canary) for program in GOOD]
    contained = sum(held for held, _ in hostile)
    late = max(seconds - LIMITS.seconds for _, seconds in [*hostile, *honest])
    passed = sum(not held for held, _ in honest)
    return [
        row(TABLE, f"hostile corpus contained, of {len(hostile)}", [contained], "programs", at_least=len(hostile)),
        row(TABLE, "latest verdict, after its time limit", [max(0.0, late)], "s", at_most=LATE_SECONDS),
        row(TABLE, f"honest programs let through, of {len(honest)}", [passed], "programs", at_least=len(honest)),
    ]


def _without_the_allow_list(programs: Sequence[Program]) -> Row:
    """Counts the programs that the walls behind the allow-list contain by themselves."""
    tell(f"  {len(programs)} of them without the allow-list")
    with TemporaryDirectory() as folder, Canary(Path(folder)) as canary:
        contained = sum(_holds_below(program, canary) for program in programs)
    name = f"contained with the allow-list off, of {len(programs)}"
    return row(TABLE, name, [contained], "programs", at_least=len(programs))


def _holds_below(program: Program, canary: Canary) -> bool:
    verdict = verify_anew(canary.aimed(program, trusted=True), program.env, LIMITS)
    ended_by = "ok" if verdict.ok else verdict.checks[-1].name
    as_foreseen = program.below in ("any", ended_by) and re.search(program.below_says, verdict.error) is not None
    if not as_foreseen:
        tell(f"  {program.name}: {ended_by}, {verdict.error}")
    return as_foreseen and not canary.harm() and not leaks(verdict)


def _try(program: Program, canary: Canary) -> tuple[bool, float]:
    """Returns whether a program is kept from what it aims at, and refused if it is to be; and the seconds it took."""
    start = time.monotonic()
    verdict = verify_anew(canary.aimed(program), program.env, LIMITS)
    seconds = time.monotonic() - start
    refused = not verdict.ok or (program.stage == "ok" and program not in GOOD)
    return refused and not canary.harm() and not leaks(verdict), seconds
