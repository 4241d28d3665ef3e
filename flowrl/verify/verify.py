"""Verification of a skill's code. Read as text, traced in one sandboxed process, judged by another, cached.

    the text        parsed, checked against the allow-list, functions and arguments; nothing runs
    first child     runs the text: loads it, traces it, checks the primitives, exports it
    second child    never sees the text: judges the export, which is what workers run

Both children have limits on time, memory and files and, where the kernel supports it, no network, no new processes and
no writable files (`isolation/`); `isolation/child_main.py` lists what is not covered.
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowrl.errors import PlatformError
from flowrl.knowledge.base import load_base
from flowrl.schema.skill import Skill
from flowrl.skillcode.artefact_cache import store_artefact
from flowrl.verify.behaviour.recordings import recorded, shapes_of
from flowrl.verify.isolation.child_process import Child, ChildAnswer
from flowrl.verify.isolation.resource_limits import SandboxLimits
from flowrl.verify.text.check_text import Reading, read_skill_text
from flowrl.verify.verdict import Check, Verdict
from flowrl.verify.verdict_cache import find_verdict, store_verdict, verdict_key

DEFAULT_LIMITS = SandboxLimits()
_MAX_CHARACTERS = 400
"""Of a sentence from a child."""


def verify(skill: Skill, env: str, limits: SandboxLimits = DEFAULT_LIMITS) -> Verdict:
    """Verify a skill's code or look up its verdict.

    The first verification for a game records transitions of it, which takes a minute or two.

    Raises:
        PlatformError: transitions cannot be recorded, or the sandbox does not work here.
    """
    start = time.monotonic()
    verdict = None if skill.is_module else find_verdict(verdict_key(skill, env))
    if verdict is None:
        return verify_anew(skill, env, limits)
    return verdict.model_copy(update={"seconds": time.monotonic() - start})


def verify_anew(skill: Skill, env: str, limits: SandboxLimits = DEFAULT_LIMITS) -> Verdict:
    """Verify a skill's code without earlier verdicts."""
    start = time.monotonic()
    if skill.is_module:
        return Verdict(ok=False, error=f"{skill.name!r} is a whole task module; only skill files are verified.")
    reading = read_skill_text(skill.code, env, load_base(env).vocabulary, skill.trusted)
    if reading.problem:
        return Verdict(ok=False, error=reading.problem, checks=reading.checks, seconds=time.monotonic() - start)
    verdict, artefact, final = _run_children(skill, env, reading, recorded(env), limits)
    if verdict.ok:
        verdict = verdict.model_copy(update={"artefact": store_artefact(skill, env, artefact).meta.key})
    if final:
        store_verdict(verdict_key(skill, env), verdict)
    return verdict.model_copy(update={"seconds": time.monotonic() - start})


def _run_children(
    skill: Skill, env: str, reading: Reading, recording: Path, limits: SandboxLimits
) -> tuple[Verdict, bytes, bool]:
    """Trace and judge in the two children.

    Gives the verdict, the artefact, and whether both children finished: an outcome that depends on how busy the
    machine was is not cached.
    """
    deadline = time.monotonic() + limits.seconds
    shared = {"recording": str(recording), "trusted": skill.trusted, "limits": dataclasses.asdict(limits)}
    with Child("trace", limits, deadline) as tracer, Child("judge", limits, deadline) as judge:
        tracer.ask({**shared, **_trace_request(skill, env, reading, recording)})
        tracer.give()
        judge.ask({**shared, "spec": skill.spec.model_dump(mode="json")})
        traced = tracer.answer()
        check = _trace_check(traced)
        checks, enforced = (*reading.checks, check), _enforced(traced)
        if check.passed:
            judge.give(traced.data)
            judged = judge.answer()
            checks, enforced = (*checks, *_judge_checks(judged)), _enforced(judged)
    problem = next((check.detail for check in checks if not check.passed), "")
    verdict = Verdict(
        ok=not problem, error=problem, checks=checks, enforced=enforced, start_seconds=traced.start_seconds
    )
    finished = not traced.problem and not (check.passed and judged.problem)
    return verdict, traced.data, finished


def _trace_request(skill: Skill, env: str, reading: Reading, recording: Path) -> dict[str, Any]:
    arguments = {"is_done_arguments": reading.is_done_arguments, "reward_arguments": reading.reward_arguments}
    return {"text": skill.code, "env": env, **arguments, "shapes": shapes_of(recording)}


def _trace_check(answer: ChildAnswer) -> Check:
    """The first child's check. Its words may be the code's own."""
    problem = _unanswered(answer, "run and traced") or _line(answer.header.get("problem", ""))
    if "crash" in answer.header:
        problem = f"The code cannot be traced: {_line(answer.header['crash'])}. Write it more plainly."
    detail = "runs under jit and vmap, returns one number a world, uses only primitives on the list"
    return Check(name="trace", passed=not problem, detail=problem or detail)


def _judge_checks(answer: ChildAnswer) -> tuple[Check, ...]:
    """The second child's checks."""
    problem = _unanswered(answer, "evaluated")
    if "crash" in answer.header:
        raise PlatformError(f"The sandbox failed: {answer.header['crash']}\n{answer.header.get('traceback', '')}")
    if problem:
        return (Check(name="evaluation", passed=False, detail=problem),)
    checks = map(Check.model_validate, _list_of(answer.header, "checks"))
    # An artefact's words may be in there, and all of it may be shown to a model's provider.
    return tuple(c.model_copy(update={"name": _line(c.name), "detail": _line(c.detail)}) for c in checks)


def _unanswered(answer: ChildAnswer, verb: str) -> str:
    """Why a child gave no answer. A sentence for the code's author; empty if it gave one."""
    if not answer.start_seconds and not answer.late:
        why = answer.problem or _line(answer.header.get("crash", "its child did not say why"))
        raise PlatformError(f"The sandbox could not start: {why}. Look at this machine: flowrl doctor")
    if not answer.problem:
        return ""
    return f"The code could not be {verb}: {answer.problem}. Write it smaller and more plainly."


def _enforced(answer: ChildAnswer) -> tuple[str, ...]:
    return tuple(map(_line, _list_of(answer.header, "enforced")))


def _list_of(header: Mapping[str, Any], name: str) -> list[Any]:
    value = header.get(name)
    return value if isinstance(value, list) else []


def _line(text: object) -> str:
    """A child's words as one bounded line."""
    line = "".join(c if c.isprintable() else " " for c in str(text)[: _MAX_CHARACTERS + 1])
    return line if len(line) <= _MAX_CHARACTERS else line[: _MAX_CHARACTERS - 4] + " ..."
