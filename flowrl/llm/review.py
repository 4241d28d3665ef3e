"""After training: a skill's specification held against what playing and experimenting with it shows, and corrected.

Statistics come first and need no model. Then the model sees them, with a trajectory to read, and writes the
specification as it should be; what contradicts the measurements is sent back, and if it finds nothing better, the
statistics' own correction holds.
"""

from collections.abc import Sequence

from flowrl.analysis.findings import Findings, way_text
from flowrl.analysis.job import analyse_skill
from flowrl.analysis.repair import PARTS, Repair, consistent_with, repair
from flowrl.analysis.segments import trajectory_text
from flowrl.analysis.statistics import statistics_text
from flowrl.errors import LLMError, NotRecorded, PlanError, SpecError, TrainingError
from flowrl.fluents import Vocabulary
from flowrl.knowledge.validate import problems_among, problems_of
from flowrl.library.catalog import known_skills, skill_of
from flowrl.llm.answers import RefineAnswer, SpecAnswer
from flowrl.llm.context import FlowContext
from flowrl.llm.conversation import Conversation, RejectedError, StageFailedError
from flowrl.llm.progress_text import skill_lines
from flowrl.llm.prompts import load_prompt
from flowrl.planning.planner import plan
from flowrl.schema.home import SkillRecord
from flowrl.schema.skill import Skill, SkillSpec


def review(context: FlowContext, record: SkillRecord) -> SkillSpec | None:
    """Returns the corrected specification of a skill, None where the one that it has may stay.

    Raises:
        NotRecorded: a transcript that is replayed lacks the question.
        LLMError: it was stopped.
        TrainingError: the analysis failed.
    """
    context.tell_fn(f"{record.name}: what it needs and brings is looked at in play")
    folder = context.library.skill_paths(record).analysis
    try:
        findings = analyse_skill(
            context.library, record.name, folder, lambda row: None, stop_fn=context.stopping.is_set
        )
    except TrainingError:
        _require_going_on(context)
        raise
    suggested = repair(record.spec, findings)
    spec = suggested.spec if findings.statistics is None else _refined(context, record, findings, suggested)
    _require_going_on(context)
    skill = skill_of(context.library, record).model_copy(update={"spec": spec})
    if spec == record.spec:
        return None
    if problems := problems_of(skill, context.vocabulary):
        context.tell_fn(f"{record.name}: what was measured makes no specification, so it stays: {'; '.join(problems)}")
        return None
    context.tell_fn(f"{record.name}: its specification is corrected: {_difference(record.spec, spec)}")
    if (obstacle := _obstacle(context, skill)) is not None:
        context.tell_fn(f"{record.name}: with it no plan of learned skills leads there any more: {obstacle}")
    return spec


def _require_going_on(context: FlowContext) -> None:
    """Raises LLMError if nobody waits any more: what was found out may be half of it."""
    if context.stopping.is_set():
        raise LLMError("It was stopped.")


def _obstacle(context: FlowContext, skill: Skill) -> str | None:
    """Returns why no plan of learned skills leads to a skill, None where one does."""
    try:
        plan(skill.name, {**known_skills(context.library), skill.name: skill}, vocabulary=context.vocabulary)
    except PlanError as error:
        return str(error)
    return None


def _refined(context: FlowContext, record: SkillRecord, findings: Findings, suggested: Repair) -> SkillSpec:
    """Returns the specification as the model sees it, or the statistics' own where it finds none that will do."""
    others = [skill for name, skill in known_skills(context.library).items() if name != record.name]
    try:
        return refine(
            context.conversation, context.vocabulary, skill_of(context.library, record), others, findings, suggested
        )
    except NotRecorded:
        raise
    except (LLMError, StageFailedError) as error:
        _require_going_on(context)
        context.tell_fn(f"{record.name}: the statistics decide alone, as the model does not: {error}")
        return suggested.spec


def refine(
    conversation: Conversation,
    vocabulary: Vocabulary,
    skill: Skill,
    others: Sequence[Skill],
    findings: Findings,
    suggested: Repair,
) -> SkillSpec:
    """Returns the specification of a skill as the model sees it, which agrees with what was measured.

    Args:
        others: skills that plans may use beside it.
        suggested: what follows from the findings alone.

    Raises:
        StageFailedError: none of its answers agrees.
        LLMError: it gives no answer.
    """
    prompt = load_prompt("refine").render(
        name=skill.name,
        description=skill.description,
        spec=SpecAnswer.of(skill.spec).text(),
        learned=skill_lines(others),
        statistics=findings_text(findings),
        trajectory="\n\n".join(trajectory_text(each) for each in findings.trajectories[:1]) or "none was recorded",
        suggestion="; ".join(map(str, suggested.changes)) or "nothing has to change",
    )

    def judge(answer: RefineAnswer) -> SkillSpec:
        try:
            spec = answer.spec.spec(skill.name)
        except SpecError as error:
            raise RejectedError(str(error)) from None
        changed = skill.model_copy(update={"spec": spec})
        problems = problems_of(changed, vocabulary) or problems_among([changed], others, vocabulary)
        problems = problems or [f"It contradicts what was measured: {each}" for each in consistent_with(spec, findings)]
        if problems:
            raise RejectedError("\n".join(problems))
        # What was not measured stays: the expert was trained with it.
        return skill.spec.model_copy(update={part: getattr(spec, part) for part in PARTS})

    return conversation.ask("refine", skill.name, prompt, RefineAnswer, judge)


def findings_text(findings: Findings) -> str:
    """Returns what was found out, as lines for a model."""
    parts = [] if findings.statistics is None else [statistics_text(findings.statistics)]
    parts += [way_text(way) for way in findings.ways]
    return "\n".join([*parts, *findings.notes])


def _difference(before: SkillSpec, after: SkillSpec) -> str:
    old, new = SpecAnswer.of(before).model_dump(), SpecAnswer.of(after).model_dump()
    return "; ".join(f"{field} {old[field]} -> {new[field]}" for field in old if old[field] != new[field])
