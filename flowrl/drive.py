"""Growing a library: what to learn next, a run for it, its result into the library; one run after another."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flowrl.config import RunConfig
from flowrl.env.module_source import SkillSource, compose_module, outline
from flowrl.errors import ModuleError, PlanError, UsageError
from flowrl.files import read_json
from flowrl.knowledge import KnowledgeBase
from flowrl.knowledge.user import base_for
from flowrl.library import SkillLibrary
from flowrl.outlook import known_skills, spelt_as_known
from flowrl.parallel.local import start_worker
from flowrl.parallel.paths import RunPaths, slug
from flowrl.parallel.training_processor import process_completed_training
from flowrl.parallel.training_setup import prepare_training_run
from flowrl.planning.frontier import Frontier
from flowrl.planning.planner import curriculum_for, dependencies, plan
from flowrl.skill import Plan, PlanStep, RunSpec, Skill, SkillRecord, TaskSpec, TrainResult, require_trusted

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Who watches a library grow."""

    def started(self, spec: RunSpec, paths: RunPaths) -> None:
        """A run begins or goes on."""

    def row(self, row: Mapping[str, Any]) -> None:
        """The run wrote a row of metrics."""

    def finished(self, record: SkillRecord) -> None:
        """The run ended and its skill is in the library."""

    def note(self, text: str) -> None:
        """Something that the user should know."""


@dataclass(frozen=True)
class GrowOutcome:
    """How growing ended.

    Attributes:
        records: the skills of the library.
        complete: all that was asked for is learned.
        reason: why it ended, as a sentence.
    """

    records: tuple[SkillRecord, ...]
    complete: bool
    reason: str


DEFAULT_COUNT = 3


def grow(
    home: Path,
    config: RunConfig,
    count: int | None,
    goal: str | None,
    observer: Observer,
    own_skills: Path | None = None,
) -> GrowOutcome:
    """Learns skills of the knowledge base until the library holds ``count``, or the goal's are learned.

    Args:
        count: learned skills wanted; None: as many as the goal needs, or 3 without a goal.
        goal: a skill or an item; only what it needs is learned.
        own_skills: a folder of skill files that the base is extended by, beside the home's own.

    Raises:
        FlowRLError: the home cannot be used, the goal is unknown, or a run failed.
    """
    base = base_for(config.env.name, home, own_skills)
    goal = spelt_as_known(base, goal) if goal else None
    wanted = curriculum_for(goal, base.skills, vocabulary=base.vocabulary) if goal else [s.name for s in base.skills]
    count = count or (len(base.skills) if goal else DEFAULT_COUNT)
    if count > len(base.skills):
        raise UsageError(
            f"The knowledge base of {base.env} has {len(base.skills)} skills, fewer than --skills {count}."
        )
    library = SkillLibrary.open_for(home, config)
    with library.lock():
        collect_finished(library, observer)
        while True:
            learned = [record.name for record in library.records() if record.status == "learned"]
            reached = goal is not None and _is_reached(goal, base, library)
            if reached or len(learned) >= count:
                reason = f"{goal} is learned" if reached else f"the library holds {len(learned)} learned skills"
                return GrowOutcome(tuple(library.records()), reached or not goal, reason)
            name = _next_to_learn(base, library, wanted)
            if name is None:
                return GrowOutcome(tuple(library.records()), False, _why_stuck(library, wanted))
            train_skill(base, library, base.skill(name), config, observer)


def _is_reached(goal: str, base: KnowledgeBase, library: SkillLibrary) -> bool:
    """Whether learned skills alone lead to the goal, be it by the base's way or by another."""
    try:
        plan(goal, known_skills(library), vocabulary=base.vocabulary, unlearned=base.named())
    except PlanError:
        return False
    return True


def _next_to_learn(base: KnowledgeBase, library: SkillLibrary, wanted: Sequence[str]) -> str | None:
    """Returns the first skill wanted that is on the frontier and was not tried yet; what is learned counts by its own
    record, not by what the base says of it."""
    tried = {record.name for record in library.records()}
    untried = [s for s in base.skills if s.name in wanted and s.name not in tried and s.trusted]
    frontier = Frontier(known_skills(library), base.vocabulary, base.skills)
    return next((skill.name for skill in untried if frontier.judge(skill).standing == "ready"), None)


def _why_stuck(library: SkillLibrary, wanted: Sequence[str]) -> str:
    weak = [record.name for record in library.records() if record.status == "weak" and record.name in wanted]
    if not weak:
        return "no skill of the knowledge base can be learned next"
    return f"{weak[0]} is weak, and what is left builds on it. Go on with it: flowrl train {weak[0]!r}"


def collect_finished(library: SkillLibrary, observer: Observer) -> None:
    """Puts the results of runs that ended while nobody watched into the library."""
    for paths, _spec in library.runs():
        done = paths.result.exists() and read_json(paths.result, TrainResult).outcome == "done"
        if done and not paths.processed.exists():
            observer.finished(process_completed_training(paths, library))


def source_of(skill: Skill) -> SkillSource:
    """Returns which functions of a skill's text are its own: a task module's last task, else the only ones."""
    prefix = slug(skill.name).lower()
    if not skill.is_module:
        return SkillSource(prefix, skill.code)
    last = outline(skill.code, skill.name).tasks - 1
    return SkillSource(prefix, skill.code, f"task_{last}_is_done", f"task_{last}_reward")


def compose_plan(plan: Plan, skills: Mapping[str, Skill], experts: Mapping[str, int]) -> str:
    """Returns the task module of a plan, with global experts as its network numbers."""
    names = list(dict.fromkeys(step.skill for step in plan.steps))
    sources = [source_of(skills[name]) for name in names]
    order = [names.index(step.skill) for step in plan.steps]
    return compose_module(sources, order, [experts[step.skill] for step in plan.steps])


def tasks_of(plan: Plan, skills: Mapping[str, Skill], own: str) -> list[TaskSpec]:
    """Returns the tasks of a plan; the skill that is trained draws its amount from its whole range."""
    tasks = []
    for i, step in enumerate(plan.steps):
        spec = skills[step.skill].spec
        is_own = i == len(plan.steps) - 1 and step.skill == own
        low, high = spec.n_range if is_own and spec.n_range else (step.n, step.n)
        tasks.append(TaskSpec(skill=step.skill, low=low, high=high, item=spec.item))
    return tasks


def train_skill(
    base: KnowledgeBase, library: SkillLibrary, skill: Skill, config: RunConfig, observer: Observer
) -> SkillRecord:
    """Trains a skill in a run of its own and returns its record; the home must be locked.

    Raises:
        PlanError: its requirements cannot be reached with learned skills; says what is missing.
        FlowRLError: the run cannot be set up, or fails.
    """
    require_trusted(skill)
    learned = known_skills(library)
    if skill.name not in library.named():
        Frontier(learned, base.vocabulary, base.skills).require(skill)
    skills = learned | {skill.name: skill}
    expert = library.expert_index_for(skill.name)
    experts = {record.name: record.expert_idx for record in library.records()} | {skill.name: expert}
    found = plan(skill.name, skills, vocabulary=base.vocabulary, experts=experts)
    data = {
        "code": compose_plan(found, skills, experts),
        "tasks": tasks_of(found, skills, skill.name),
        "plan": found,
        "spec": skill.spec,
        "description": skill.description,
        "source": skill.code,
    }
    completed = library.named()
    run = prepare_training_run(
        skill.name, data, dependencies(found), expert, completed, home=library.paths.root, config=config
    )
    return _watch(run, library, observer)


def train(home: Path, config: RunConfig, name: str, observer: Observer, own_skills: Path | None = None) -> SkillRecord:
    """Trains one skill of the knowledge base, or goes on with one of the library, and returns its record.

    Args:
        own_skills: a folder of skill files that the base is extended by, beside the home's own.

    Raises:
        UsageError: there is no such skill.
        PlanError: its requirements cannot be reached with learned skills.
    """
    base = base_for(config.env.name, home, own_skills)
    skill = base.skill(spelt_as_known(base, name))
    library = SkillLibrary.open_for(home, config)
    with library.lock():
        collect_finished(library, observer)
        held = library.named().get(skill.name)
        if held is not None and held.status == "learned":
            observer.note(f"{skill.name} is learned already; there is nothing to do.")
            return held
        return train_skill(base, library, skill, config, observer)


def train_module(home: Path, config: RunConfig, file: Path, name: str | None, observer: Observer) -> SkillRecord:
    """Trains the last task of a task module in the seed's format and returns its record.

    Experts that the module plays with come from the library; those that it lacks start random, learn in the run too,
    and lie in the new skill's folder afterwards.

    Raises:
        ModuleError: the file cannot be used, or its last number belongs to another skill.
    """
    try:
        code = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModuleError(f"Cannot read the task module {file}: {error}") from error
    name = name or file.stem
    numbers = outline(code, str(file)).network_numbers
    library = SkillLibrary.open_for(home, config)
    with library.lock():
        collect_finished(library, observer)
        by_expert = {record.expert_idx: record for record in library.records()}
        own = numbers[-1]
        _require_own_expert(library, by_expert, own, name, file)
        used = dict.fromkeys(g for g in numbers if g != own)
        lacking = [g for g in used if g not in by_expert]
        if lacking:
            which = ", ".join(map(str, lacking))
            observer.note(f"The library lacks expert {which}: it starts random and learns in this run too.")
        names = [by_expert[g].name for g in used if g in by_expert]
        steps = tuple(PlanStep(skill=_task_name(by_expert, g, name, own), n=1, expert=g) for g in numbers)
        data = {
            "code": code,
            "source": code,
            "plan": Plan(goal=name, steps=steps),
            "tasks": [TaskSpec(skill=step.skill, low=1, high=1) for step in steps],
            "is_module": True,
            "description": f"the last task of {file.name}",
        }
        run = prepare_training_run(name, data, names, own, library.named(), home=library.paths.root, config=config)
        return _watch(run, library, observer)


def _require_own_expert(
    library: SkillLibrary, by_expert: Mapping[int, SkillRecord], own: int, name: str, file: Path
) -> None:
    held = by_expert.get(own)
    if held is not None and held.name != name:
        free = library.expert_index_for("")
        raise ModuleError(
            f"{file}: the last task's expert {own} is {held.name!r} in the library. Return {free}, the next free "
            f"number, or go on with that skill: --name {held.name!r}"
        )
    mine = library.named().get(name)
    if mine is not None and mine.expert_idx != own:
        raise ModuleError(f"{file}: {name!r} is expert {mine.expert_idx} in the library, not {own}. Use --name.")


def _task_name(by_expert: Mapping[int, SkillRecord], expert: int, name: str, own: int) -> str:
    if expert == own:
        return name
    return by_expert[expert].name if expert in by_expert else f"expert {expert}"


def _watch(run: RunPaths, library: SkillLibrary, observer: Observer) -> SkillRecord:
    spec = read_json(run.config, RunSpec)
    observer.started(spec, run)
    worker = start_worker(run)
    try:
        for row in worker.rows():
            observer.row(row)
    except BaseException:
        worker.stop()
        raise
    record = process_completed_training(run, library)
    observer.finished(record)
    return record
