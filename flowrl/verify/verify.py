"""Verification of a skill's code: read, traced in one sandboxed process, judged by another, cached.

    read the text          parse, allow-list, functions, arguments; nothing is run
    first child            runs the text: loads it, traces it, checks the primitives, exports it
    second child           never sees the text: judges what was exported, which is what workers run

Both children have limits on time, memory and files and, where the kernel can, no network, no new processes and nothing
to write to (`limits.py`); `child.py` says what is not covered.
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowrl.errors import PlatformError
from flowrl.knowledge.base import load_base
from flowrl.schema.skill import Skill
from flowrl.skillcode.artefact_cache import meta_of, store_artefact
from flowrl.verify.behaviour.recordings import recorded, shapes_of
from flowrl.verify.isolation.child_process import Child, ChildAnswer
from flowrl.verify.isolation.resource_limits import SandboxLimits
from flowrl.verify.text.check_text import Reading, read_skill_text
from flowrl.verify.verdict import Check, Verdict
from flowrl.verify.verdict_cache import find_verdict, store_verdict, verdict_key

USUAL = SandboxLimits()
_LONGEST = 400
"""Characters of a sentence that a child says."""


def verify(skill: Skill, env: str, limits: SandboxLimits = USUAL) -> Verdict:
    """Returns what verification finds out about a skill's code; what is wrong with it is in there, never raised.

    A verdict that was reached before is remembered. The first verification for a game records transitions of it, which
    takes a minute or two; they are kept.

    Raises:
        PlatformError: transitions cannot be recorded, or the sandbox cannot do its work.
    """
    start = time.monotonic()
    verdict = None if skill.is_module else find_verdict(verdict_key(skill, env))
    if verdict is None:
        return verify_anew(skill, env, limits)
    return verdict.model_copy(update={"seconds": time.monotonic() - start})


def verify_anew(skill: Skill, env: str, limits: SandboxLimits = USUAL) -> Verdict:
    """Returns the same without a look at earlier verdicts."""
    start = time.monotonic()
    if skill.is_module:
        return Verdict(ok=False, error=f"{skill.name!r} is a whole task module; only skill files are verified.")
    reading = read_skill_text(skill.code, env, load_base(env).vocabulary, skill.trusted)
    if reading.problem:
        return Verdict(ok=False, error=reading.problem, checks=reading.checks, seconds=time.monotonic() - start)
    verdict, artefact, lasting = _judged(skill, env, reading, recorded(env), limits)
    if verdict.ok:
        meta = meta_of(skill, env, artefact)
        store_artefact(meta.key, artefact, meta)
        verdict = verdict.model_copy(update={"artefact": meta.key})
    if lasting:
        # One that hung on how busy this machine was is not kept.
        store_verdict(verdict_key(skill, env), verdict)
    return verdict.model_copy(update={"seconds": time.monotonic() - start})


def _judged(
    skill: Skill, env: str, reading: Reading, recording: Path, limits: SandboxLimits
) -> tuple[Verdict, bytes, bool]:
    """Returns the verdict of both children, the artefact if all is well, and whether both came to an end."""
    deadline = time.monotonic() + limits.seconds
    with Child("trace", limits, deadline) as tracer, Child("judge", limits, deadline) as judge:
        held = dataclasses.asdict(limits)
        tracer.ask(_question(skill, env, reading, recording) | {"limits": held})
        tracer.give()
        judge.ask(
            {
                "recording": str(recording),
                "spec": skill.spec.model_dump(mode="json"),
                "trusted": skill.trusted,
                "limits": held,
            }
        )
        traced = tracer.answer()
        check = _traced(traced)
        checks, enforced = (*reading.checks, check), _enforced(traced)
        if check.passed:
            judge.give(traced.data)
            judged = judge.answer()
            checks, enforced = (*checks, *_judgement(judged)), _enforced(judged)
    problem = next((check.detail for check in checks if not check.passed), "")
    verdict = Verdict(
        ok=not problem, error=problem, checks=checks, enforced=enforced, start_seconds=traced.start_seconds
    )
    ended = not traced.problem and not (check.passed and judged.problem)
    return verdict, traced.data, ended


def _question(skill: Skill, env: str, reading: Reading, recording: Path) -> dict[str, Any]:
    return {
        "text": skill.code,
        "env": env,
        "trusted": skill.trusted,
        "is_done_arguments": reading.is_done_arguments,
        "reward_arguments": reading.reward_arguments,
        "shapes": shapes_of(recording),
        "recording": str(recording),
    }


def _traced(answer: ChildAnswer) -> Check:
    """Returns the check that the first child stands for; what it says may be the code's own word."""
    problem = _unanswered(answer, "run and traced") or _line(answer.header.get("problem", ""))
    if "crash" in answer.header:
        problem = f"The code cannot be traced: {_line(answer.header['crash'])}. Write it more plainly."
    detail = "runs under jit and vmap, returns one number a world, computes with primitives of the list only"
    return Check(name="trace", passed=not problem, detail=problem or detail)


def _judgement(answer: ChildAnswer) -> tuple[Check, ...]:
    """Returns the checks of the second child.

    Raises:
        PlatformError: it failed, which no code can make it do.
    """
    problem = _unanswered(answer, "evaluated")
    if "crash" in answer.header:
        raise PlatformError(f"The sandbox failed: {answer.header['crash']}\n{answer.header.get('traceback', '')}")
    if problem:
        return (Check(name="evaluation", passed=False, detail=problem),)
    checks = map(Check.model_validate, _list_of(answer.header, "checks"))
    # An artefact's words may be in there, and all of it may be shown to a model's provider.
    return tuple(
        check.model_copy(update={"name": _line(check.name), "detail": _line(check.detail)}) for check in checks
    )


def _unanswered(answer: ChildAnswer, what: str) -> str:
    """Returns why a child gave no answer, as a sentence for the code's author, empty if it gave one.

    Raises:
        PlatformError: it ended before it came to the code.
    """
    if not answer.start_seconds and not answer.late:
        why = answer.problem or _line(answer.header.get("crash", "its child did not say why"))
        raise PlatformError(f"The sandbox could not start: {why}. Look at this machine: flowrl doctor")
    if not answer.problem:
        return ""
    return f"The code could not be {what}: {answer.problem}. Write it smaller and more plainly."


def _enforced(answer: ChildAnswer) -> tuple[str, ...]:
    """Returns what held a child in, as it says; the second one's word counts where there is one."""
    return tuple(_line(line) for line in _list_of(answer.header, "enforced"))


def _list_of(header: Mapping[str, Any], name: str) -> list[Any]:
    value = header.get(name)
    return value if isinstance(value, list) else []


def _line(text: object) -> str:
    """Returns what a child said as one line of bounded length."""
    line = "".join(c if c.isprintable() else " " for c in str(text)[: _LONGEST + 1])
    return line if len(line) <= _LONGEST else line[: _LONGEST - 4] + " ..."
