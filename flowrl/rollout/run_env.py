"""The environment of a run, built from its folder."""

from flowrl.config import PPOConfig
from flowrl.env.code_parser import bind_tasks, load_module
from flowrl.env.domain import Domain
from flowrl.env.dry_run import TaskNames, check_module_arguments
from flowrl.env.exported_tasks import exported_tasks
from flowrl.env.flow_env import FlowEnv, TaskAmounts
from flowrl.env.interrupts import Interrupt
from flowrl.env.registry import domain_named
from flowrl.env.side_rewards import SideRewards
from flowrl.env.symbolic_state import postconditions
from flowrl.errors import ModuleError, nearest_names
from flowrl.paths import PlayPaths
from flowrl.schema.run import RunSpec
from flowrl.schema.skill import InterruptSpec
from flowrl.skillcode.functions import TaskModule


def build_env(spec: RunSpec, paths: PlayPaths) -> FlowEnv:
    """Build a run's environment, its skills loaded and bound.

    They come from the run's module, or from the functions that the sandbox exported.

    Raises:
        ModuleError: the module or an artefact cannot be used, or does not fit the run's experts.
    """
    domain = domain_named(spec.config.env.name, spec.config.env.fast, spec.config.layout)
    tasks = _exported(spec, paths, domain) if spec.exported else _traced(spec, paths, domain)
    own = tasks.default_amounts[: len(spec.tasks)]
    low = tuple(task.low if n is None else n for task, n in zip(spec.tasks, own, strict=True))
    high = tuple(task.high if n is None else n for task, n in zip(spec.tasks, own, strict=True))
    item = tuple(domain.items.index(task.item) if task.item in domain.items else -1 for task in spec.tasks)
    seeks = tuple(_sought(task.skill, task.seeks, domain) for task in spec.tasks)
    met_at_the_end = postconditions(domain, spec.spec, high[-1])
    return FlowEnv(
        domain,
        tasks,
        TaskAmounts(low, high, item, seeks),
        spec.config.env.episode_steps,
        met_at_the_end,
        interrupts=tuple(interrupt(each.skill, each.rule, domain) for each in spec.plan.interrupts),
        side_rewards=side_rewards(spec.config.ppo),
    )


def interrupt(skill: str, rule: InterruptSpec, domain: Domain) -> Interrupt:
    """A rule as an environment has it.

    Raises:
        ModuleError: the game lacks a level, an item, an action or a block that it names, or knows of no shelter.
    """
    levels = (*(domain.facts.intrinsics if domain.facts is not None else ()), *(["light"] if domain.light_fn else ()))
    named = {"level": ({*rule.when, *rule.until}, levels), "item": (rule.having, domain.items)}
    named |= {"action": (rule.sheltered, domain.actions)}
    for kind, (names, known) in named.items():
        if wrong := sorted(set(names) - set(known)):
            raise ModuleError(
                f"{skill!r} pre-empts by the {kind} {wrong[0]!r}, which {domain.name} lacks. "
                f"{nearest_names(wrong[0], known)}"
            )
    if rule.sheltered and domain.sheltered_fn is None:
        raise ModuleError(f"{skill!r} wants a shelter for {rule.sheltered[0]}, and {domain.name} knows of none.")
    when, until, having = (tuple(amounts.items()) for amounts in (rule.when, rule.until, rule.having))
    return Interrupt(when, until, having, rule.sheltered, _sought(skill, rule.seeks, domain))


def _sought(skill: str, block: str | None, domain: Domain) -> int:
    """Row of `closest_blocks` that a skill looks for, -1 for none."""
    rows = domain.sight.names
    if block is not None and block not in rows:
        raise ModuleError(f"{skill!r} seeks {block!r}, which {domain.name} lacks. {nearest_names(block, rows)}")
    return -1 if block is None else rows.index(block)


def side_rewards(ppo: PPOConfig) -> SideRewards:
    """What a run pays beside its skills' rewards."""
    return SideRewards(ppo.discovery_reward, ppo.found_reward, ppo.vitals_reward)


def _exported(spec: RunSpec, paths: PlayPaths, domain: Domain) -> TaskModule:
    """Tasks of a run with untrusted code. Its module's text is not run, not even read."""
    to_local = {g: local for local, g in enumerate(spec.local_to_global)}
    experts = [to_local.get(-1 if expert is None else expert, -1) for _, expert in spec.plan.players]
    if len(spec.plan.steps) != len(spec.tasks) or min(experts) < 0:
        raise ModuleError(
            f"The plan in {paths.config} does not say which expert plays each of {len(spec.tasks)} tasks."
        )
    skills = [skill for skill, _ in spec.plan.players]
    return exported_tasks(paths, spec.exported, skills, experts, domain)


def _traced(spec: RunSpec, paths: PlayPaths, domain: Domain) -> TaskModule:
    """Tasks of a run's module, which is run."""
    file = spec.source_file or str(paths.module)
    tasks = bind_tasks(load_module(paths.module, file, spec.module_sha256), file)
    wanted = len(spec.tasks) + len(spec.plan.interrupts)
    if len(tasks.skill_of_task) != wanted:
        raise ModuleError(f"{file} has {len(tasks.skill_of_task)} tasks; the run's plan has {wanted}.")
    if max(tasks.expert_of_task) >= len(spec.local_to_global):
        raise ModuleError(f"{file} asks for local expert {max(tasks.expert_of_task)} of {len(spec.local_to_global)}.")
    check_module_arguments(tasks, domain.sight.floors > 1, task_names(spec, paths))
    return tasks


def task_names(spec: RunSpec, paths: PlayPaths) -> list[TaskNames]:
    """Names of the tasks' functions for messages: the author's, or the skill's."""
    if spec.source_file:
        calls = [(f"{spec.source_file}: task_{i}", "") for i in range(len(spec.tasks))]
    else:
        skills = [*(task.skill for task in spec.tasks), *(each.skill for each in spec.plan.interrupts)]
        calls = [(f"{paths.module}: task_{i}", f" (of {skill!r})") for i, skill in enumerate(skills)]
    return [TaskNames(f"{task}_is_done{whose}", f"{task}_reward{whose}") for task, whose in calls]
