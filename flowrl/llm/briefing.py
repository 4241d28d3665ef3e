"""What a model is told of game and library.

All but the game's manual is generated from the code it describes, so that it cannot drift.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from flowrl.errors import PlatformError
from flowrl.files import read_json
from flowrl.fluents import ACHIEVEMENT, FLOOR, INTRINSIC, KILLS, NEAR, PLACED, REACHED, Vocabulary, prefix_of
from flowrl.knowledge.base import manual_of
from flowrl.library.drafts import Failure
from flowrl.library.home import SkillLibrary
from flowrl.llm.answers import SpecAnswer
from flowrl.llm.prompts import load_prompt
from flowrl.llm.transport.client import Message
from flowrl.planning.frontier import Frontier
from flowrl.schema.home import SkillRecord
from flowrl.schema.run import TrainResult
from flowrl.schema.skill import Skill
from flowrl.skillcode.inputs import SKILL_INPUTS, GameSignature
from flowrl.skillcode.skill_file import read_user_file

_SECONDS = 120
_MAX_FAILURES = 12


def briefing(env: str, vocabulary: Vocabulary, manual: Path | None = None) -> Message:
    """The system message for a game.

    Args:
        manual: a file that replaces the game's own manual.

    Raises:
        UsageError: the manual cannot be read.
        PlatformError: the game cannot be loaded.
    """
    signature = read_signature(env)
    return load_prompt("system").render(
        env=env,
        manual=(manual_of(env) if manual is None else read_user_file(manual)).strip(),
        fluents=_fluents(vocabulary),
        inputs=inputs_text(signature),
        achievements=_numbered(signature.achievements),
        blocks=_numbered(signature.blocks),
        actions=", ".join(signature.actions),
    )


def read_signature(env: str) -> GameSignature:
    """The inputs of a game's skill code. From a child process, as the game needs jax.

    Raises:
        PlatformError: the game cannot be loaded; shows the end of the child's output.
    """
    command = [sys.executable, "-P", "-m", "flowrl.env.skill_inputs", env]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        return GameSignature.model_validate_json(done.stdout)
    except (subprocess.SubprocessError, ValidationError) as error:
        said = "\n".join((getattr(error, "stderr", None) or str(error)).splitlines()[-5:])
        raise PlatformError(f"{env} does not tell the inputs of skill code. Run: flowrl doctor\n{said}") from error


def inputs_text(signature: GameSignature) -> str:
    """The arguments of skill functions as lines. With fields, shapes and types."""
    lines = []
    for name, what in SKILL_INPUTS.items():
        prefix = f"{name}."
        fields = {leaf.removeprefix(prefix): k for leaf, k in signature.leaves.items() if leaf.startswith(prefix)}
        if name in signature.leaves:
            lines.append(f"- `{name}`: {_kind(signature.leaves[name])}; {what}")
        elif fields:
            listed = ", ".join(f"{field} {_kind(kind)}" for field, kind in sorted(fields.items()))
            lines.append(f"- `{name}`: a struct; {what}. Fields: {listed}")
    return "\n".join(lines)


def shaping_text() -> str:
    """Signatures and summaries of the helpers of `flowrl.env.shaping`."""
    text = (resources.files("flowrl.env") / "shaping.py").read_text(encoding="utf-8")
    lines = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            summary = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
            lines.append(f"- {node.name}({ast.unparse(_without_types(node.args))}): {summary}")
    return "\n".join(lines)


def _without_types(arguments: ast.arguments) -> ast.arguments:
    for argument in [*arguments.args, *arguments.kwonlyargs, *([arguments.vararg] if arguments.vararg else [])]:
        argument.annotation = None
    return arguments


def _kind(leaf: tuple[tuple[int, ...], str]) -> str:
    shape, dtype = leaf
    return f"{dtype}{list(shape) if shape else ''}"


def _numbered(names: tuple[str, ...]) -> str:
    return ", ".join(f"{i} {name}" for i, name in enumerate(names))


def _fluents(vocabulary: Vocabulary) -> str:
    plain = [f"{item} (at most {vocabulary.most(item)})" for item in vocabulary.items if item not in vocabulary.tiers]
    tiers = [f"{item} (a tier, 0 to {most})" for item, most in vocabulary.tiers.items()]
    lines = [
        f"- items in hand: {', '.join([*plain, *tiers])}",
        f"- stations: {', '.join(f'{NEAR}{s}, {PLACED}{s}' for s in vocabulary.stations)}",
        f"- what has happened in this episode: {', '.join(ACHIEVEMENT + name for name in vocabulary.achievements)}",
        f"- the body, 0 to {vocabulary.full}, sure only straight after what raised it: "
        + ", ".join(INTRINSIC + name for name in vocabulary.intrinsics),
    ]
    if vocabulary.floors > 1:
        last = vocabulary.floors - 1
        lines.append(
            f"- floors that were visited: {REACHED}0 to {REACHED}{last}; kills per floor: {KILLS}0 to {KILLS}{last}"
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class SkillLine:
    """A skill in a prompt."""

    name: str
    text: str


def skill_lines(skills: Iterable[Skill]) -> list[SkillLine]:
    """The specification and description of each skill."""
    return [SkillLine(s.name, f"{SpecAnswer.of(s.spec).text()} {s.description}".strip()) for s in skills]


def reach_text(frontier: Frontier, vocabulary: Vocabulary) -> tuple[str, str]:
    """What plans reach and what not. As lists of fluents with amounts."""
    reached, unreached = [], []
    names = vocabulary.names() + [f"{REACHED}{k}" for k in range(1, vocabulary.floors)]
    for fluent in names:
        most, there = vocabulary.most(fluent), frontier.most(fluent)
        if there:
            reached.append(fluent if most == 1 else f"{there} {fluent}")
        if there < most and prefix_of(fluent) != FLOOR:
            unreached.append(fluent if there == 0 else f"more than {there} {fluent}")
    return ", ".join(reached) or "nothing", ", ".join(unreached) or "nothing"


def success_texts(records: Mapping[str, SkillRecord]) -> dict[str, str]:
    """The measured success of each skill."""
    return {
        name: f"{r.status}, step success {r.evaluation.step_success}, of whole plans {r.evaluation.success}"
        for name, r in records.items()
    }


def failures_text(
    failures: Sequence[Failure],
    weak: Mapping[str, SkillRecord],
    ended: Mapping[str, str],
    reasons: Mapping[str, str],
    waiting: Mapping[str, str],
) -> str:
    """What failed, a line each, the latest last.

    Args:
        weak: trained skills of too little success.
        ended: how given-up skills ended.
        reasons: why runs failed, where known.
        waiting: drafts out of reach, and why.
    """
    lines = [f"- {f.name or 'a proposal'}: {' '.join(f.reason.split())}" for f in failures[-_MAX_FAILURES:]]
    for name, outcome in ended.items():
        if name in weak:
            measured, frames = weak[name].evaluation, weak[name].frames
            causes = ", ".join(f"{cause} {count}" for cause, count in measured.causes.items() if count)
            lines.append(
                f"- {name}: weak after {frames:,} frames, step success {measured.step_success}; "
                f"episodes failed by: {causes or 'nothing that is known'}"
            )
        else:
            lines.append(f"- {name}: {outcome}{': ' + ' '.join(reasons[name].split()) if name in reasons else ''}")
    lines += [f"- {name}: written and not begun: {reason}" for name, reason in waiting.items()]
    return "\n".join(lines) or "- nothing yet"


def failed_runs(library: SkillLibrary) -> dict[str, str]:
    """Why runs failed by skill."""
    results = {spec.skill: paths.result for paths, spec in library.runs() if paths.result.exists()}
    return {name: error for name, file in results.items() if (error := read_json(file, TrainResult).error)}
