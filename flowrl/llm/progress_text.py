"""A library's progress in words for a model. What plans reach, and what failed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowrl.files import read_json
from flowrl.fluents import FLOOR, REACHED, Vocabulary, prefix_of
from flowrl.library.drafts import Failure
from flowrl.library.home import SkillLibrary
from flowrl.llm.answers import SpecAnswer
from flowrl.planning.frontier import Frontier
from flowrl.schema.home import SkillRecord
from flowrl.schema.run import TrainResult
from flowrl.schema.skill import Skill

_MAX_FAILURES = 12


@dataclass(frozen=True)
class SkillLine:
    """A skill in a prompt."""

    name: str
    text: str


def skill_lines(skills: Iterable[Skill]) -> list[SkillLine]:
    """The specification and description of each skill."""
    return [
        SkillLine(skill.name, f"{SpecAnswer.of(skill.spec).text()} {skill.description}".strip()) for skill in skills
    ]


def reach_text(frontier: Frontier, vocabulary: Vocabulary) -> tuple[str, str]:
    """What plans of known skills reach, and what not. As lists of fluents with amounts."""
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
    """Why runs failed, by skill."""
    results = {spec.skill: paths.result for paths, spec in library.runs() if paths.result.exists()}
    return {name: error for name, file in results.items() if (error := read_json(file, TrainResult).error)}
