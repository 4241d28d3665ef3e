"""Correct a trained skill's specification by what play shows.

Statistics come first and need no model. Then the model sees them with a trajectory and writes a corrected
specification; one that contradicts the measurements is rejected. Without a usable answer the statistics' own correction
is taken.
"""

from collections.abc import Sequence

from flowrl.analysis.findings import Findings, way_text
from flowrl.analysis.job import analyse_skill
from flowrl.analysis.repair import PARTS, Repair, consistent_with, repair
from flowrl.analysis.segments import statistics_text, trajectory_text
from flowrl.errors import LLMError, NotRecorded, PlanError, TrainingError
from flowrl.fluents import Vocabulary
from flowrl.knowledge.validate import problems_among, problems_of
from flowrl.library.catalog import known_skills, skill_of
from flowrl.llm.answers import RefineAnswer, RejectedError, SpecAnswer
from flowrl.llm.briefing import skill_lines
from flowrl.llm.context import FlowContext
from flowrl.llm.conversation import Conversation, StageFailedError
from flowrl.llm.prompts import load_prompt
from flowrl.planning.planner import plan
from flowrl.schema.home import SkillRecord
from flowrl.schema.skill import Skill, SkillSpec


def review(context: FlowContext, record: SkillRecord) -> SkillSpec | None:
    """The corrected specification of a skill. None if its own may stay.

    Raises:
        NotRecorded: a replayed transcript lacks the question.
        LLMError: it was stopped.
        TrainingError: the analysis failed.
    """
    context.tell_fn(f"{record.name}: analysing in play what it requires and yields")
    folder = context.library.skill_paths(record).analysis
    try:
        findings = analyse_skill(context.library, record.name, folder, lambda row: None, context.stopping.is_set)
    except TrainingError:
        _require_running(context)
        raise
    spec = _corrected(context, record, findings)
    _require_running(context)
    if spec == record.spec:
        return None
    skill = skill_of(context.library, record).model_copy(update={"spec": spec})
    if problems := problems_of(skill, context.vocabulary):
        context.tell_fn(f"{record.name}: its specification stays, the corrected one is invalid: {'; '.join(problems)}")
        return None
    old, new = SpecAnswer.of(record.spec).model_dump(), SpecAnswer.of(spec).model_dump()
    changes = "; ".join(f"{field} {old[field]} -> {new[field]}" for field in old if old[field] != new[field])
    context.tell_fn(f"{record.name}: its specification is corrected: {changes}")
    try:
        plan(skill.name, {**known_skills(context.library), skill.name: skill}, vocabulary=context.vocabulary)
    except PlanError as error:
        context.tell_fn(f"{record.name}: after the correction no plan of learned skills reaches it: {error}")
    return spec


def _require_running(context: FlowContext) -> None:
    """Raise LLMError after a stop. The findings may be incomplete."""
    if context.stopping.is_set():
        raise LLMError("It was stopped.")


def _corrected(context: FlowContext, record: SkillRecord, findings: Findings) -> SkillSpec:
    """The model's specification. The statistics' own if these are too few or no answer is usable."""
    suggested = repair(record.spec, findings)
    if findings.statistics is None:
        return suggested.spec
    others = [skill for name, skill in known_skills(context.library).items() if name != record.name]
    skill = skill_of(context.library, record)
    try:
        return refine(context.conversation, context.vocabulary, skill, others, findings, suggested)
    except NotRecorded:
        raise
    except (LLMError, StageFailedError) as error:
        _require_running(context)
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
    """The model's specification that agrees with the measurements.

    Args:
        others: skills that plans may use beside it.
        suggested: the correction that follows from the findings alone.

    Raises:
        StageFailedError: none of the answers agrees.
        LLMError: there is no answer.
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
        spec = answer.spec.spec(skill.name)
        changed = skill.model_copy(update={"spec": spec})
        problems = problems_of(changed, vocabulary) or problems_among([changed], others, vocabulary)
        problems = problems or [f"It contradicts what was measured: {each}" for each in consistent_with(spec, findings)]
        if problems:
            raise RejectedError("\n".join(problems))
        # Unmeasured parts stay, as the expert was trained with them.
        return skill.spec.model_copy(update={part: getattr(spec, part) for part in PARTS})

    return conversation.ask("refine", skill.name, prompt, RefineAnswer, judge)


def findings_text(findings: Findings) -> str:
    """The findings as lines for a model."""
    parts = [] if findings.statistics is None else [statistics_text(findings.statistics)]
    parts += [way_text(way) for way in findings.ways]
    return "\n".join([*parts, *findings.notes])
