"""A plan as the task module and the tasks of a run."""

from collections.abc import Mapping

from flowrl.paths import slug
from flowrl.schema.plan import Plan
from flowrl.schema.run import TaskSpec
from flowrl.schema.skill import Skill
from flowrl.skillcode.source import SkillSource, compose_module, default_amount, outline


def source_of(skill: Skill) -> SkillSource:
    """The functions that belong to a skill: those of a task module's last task, or the only ones."""
    prefix = slug(skill.name).lower()
    if not skill.is_module:
        return SkillSource(prefix, skill.code)
    last = outline(skill.code, skill.name).tasks - 1
    return SkillSource(prefix, skill.code, f"task_{last}_is_done", f"task_{last}_reward")


def compose_plan(plan: Plan, skills: Mapping[str, Skill], experts: Mapping[str, int]) -> str:
    """The task module of a plan, with global experts as network numbers."""
    names = list(dict.fromkeys(step.skill for step in plan.steps))
    sources = [source_of(skills[name]) for name in names]
    order = [names.index(step.skill) for step in plan.steps]
    return compose_module(sources, order, [experts[step.skill] for step in plan.steps])


def tasks_of(plan: Plan, skills: Mapping[str, Skill], own: str) -> list[TaskSpec]:
    """The tasks of a plan. The trained skill draws its amount from its whole range."""
    tasks = []
    for i, step in enumerate(plan.steps):
        spec = skills[step.skill].spec
        is_own = i == len(plan.steps) - 1 and step.skill == own
        low, high = spec.n_range if is_own and spec.n_range else (step.n, step.n)
        if (fixed := default_amount(source_of(skills[step.skill]))) is not None:
            low = high = fixed  # workers read it from the signature too
        tasks.append(TaskSpec(skill=step.skill, low=low, high=high, item=spec.item, seeks=spec.seeks))
    return tasks
