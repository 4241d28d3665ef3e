"""Growing a library: what to learn, runs for it, their results into the library."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from flowrl.config import RunConfig
from flowrl.errors import FlowRLError, ModuleError, TrainingError, UsageError
from flowrl.files import read_text
from flowrl.growing.controller import Controller, GrowLimits
from flowrl.growing.observer import Observer
from flowrl.growing.proposers import KnowledgeProposer, OneSkill
from flowrl.growing.run_setup import ModuleSetUp, SkillSetUp
from flowrl.jobs.job import Executor
from flowrl.jobs.local import LocalExecutor
from flowrl.library.catalog import base_for, known_skills, records_of, skill_of, spelt_as_known, with_library
from flowrl.library.home import SkillLibrary
from flowrl.library.trust import require_module, vouch
from flowrl.parallel.scheduler import Proposal
from flowrl.paths import RunPaths
from flowrl.planning.frontier import Frontier
from flowrl.planning.planner import curriculum_for, dependencies, plan
from flowrl.schema.home import SkillRecord
from flowrl.skillcode.source import outline

DEFAULT_COUNT = 3


@dataclass(frozen=True)
class GrowOutcome:
    """How growing ended.

    Attributes:
        records: the skills of the library.
        complete: all that was asked for is learned.
        reason: why it ended, as a sentence.
        failures: why skills failed, by name.
    """

    records: tuple[SkillRecord, ...]
    complete: bool
    reason: str
    failures: dict[str, FlowRLError]


def grow(
    home: Path,
    config: RunConfig,
    count: int | None,
    goal: str | None,
    observer: Observer,
    own_skills: Path | None = None,
    limits: GrowLimits | None = None,
    executor_fn: Callable[[GrowLimits], Executor] | None = None,
) -> GrowOutcome:
    """Learns skills of the knowledge base until the library holds ``count``, or the goal's are learned.

    Args:
        count: learned skills wanted; None: as many as the goal needs, or 3 without a goal.
        goal: a skill or an item; only what it needs is learned.
        own_skills: a folder of skill files that the base is extended by, beside the home's own.
        limits: how much is done at once; its count is not looked at.
        executor_fn: makes what runs the workers; None: child processes on this machine.

    Raises:
        FlowRLError: the home cannot be used, or the goal is unknown.
    """
    limits = limits or GrowLimits()
    base = base_for(config.env.name, home, own_skills)
    goal = spelt_as_known(base, goal) if goal else None
    if goal:
        curriculum_for(goal, base.skills, vocabulary=base.vocabulary)
    count = count or (None if goal else DEFAULT_COUNT)
    if count is not None and count > len(base.skills):
        raise UsageError(
            f"The knowledge base of {base.env} has {len(base.skills)} skills, fewer than --skills {count}."
        )
    library = SkillLibrary.open_for(home, config)
    with library.lock():
        controller = Controller(
            library,
            KnowledgeProposer(base, library, goal),
            SkillSetUp(base, library, config),
            (executor_fn or local_executor)(limits),
            observer,
            replace(limits, count=count),
        )
        finish = controller.run()
        return GrowOutcome(tuple(library.records()), finish.complete, finish.reason, controller.failures)


def local_executor(limits: GrowLimits) -> Executor:
    """Returns what runs workers as child processes on this machine."""
    return LocalExecutor(limits.jobs)


def train(
    home: Path,
    config: RunConfig,
    name: str,
    observer: Observer,
    own_skills: Path | None = None,
    limits: GrowLimits | None = None,
    executor_fn: Callable[[GrowLimits], Executor] | None = None,
) -> SkillRecord:
    """Trains one skill of the knowledge base, or goes on with one of the library, and returns its record.

    A skill that came as a task module goes on with the module as the library holds it.

    Args:
        own_skills: a folder of skill files that the base is extended by, beside the home's own.

    Raises:
        UsageError: there is no such skill.
        PlanError: its requirements cannot be reached with learned skills; says what is missing.
        FlowRLError: the run cannot be set up, or fails.
    """
    base = base_for(config.env.name, home, own_skills)
    held = _spelt(records_of(config.env.name, home), name)
    if held is None or not held.is_module:
        base = with_library(base, home)
        skill = base.skill(spelt_as_known(base, name))
        name = skill.name
    library = SkillLibrary.open_for(home, config)
    with library.lock():
        held = _spelt(library.named(), name)
        if held is not None and held.status == "learned" and config.dependencies == "frozen":
            observer.note(f"{held.name} is learned already; there is nothing to do.")
            return held
        if held is not None and held.is_module:
            return _train_module(_stored_module(library, config, held), held.name, observer, limits, executor_fn)
        learned = known_skills(library)
        if held is None:
            Frontier(learned, base.vocabulary, base.skills).require(skill)
        found = plan(skill.name, learned | {skill.name: skill}, vocabulary=base.vocabulary)
        proposal = Proposal(skill.name, frozenset(dependencies(found)))
        return _train(library, proposal, SkillSetUp(base, library, config), observer, limits, executor_fn)


def train_module(
    home: Path,
    config: RunConfig,
    file: Path,
    name: str | None,
    observer: Observer,
    limits: GrowLimits | None = None,
    executor_fn: Callable[[GrowLimits], Executor] | None = None,
) -> SkillRecord:
    """Trains the last task of a task module in the seed's format and returns its record.

    Experts that the module plays with come from the library; those that it lacks start random, learn in the run too,
    and lie in the new skill's folder afterwards.

    Raises:
        ModuleError: the file cannot be used, or its last number belongs to another skill.
        FlowRLError: the run cannot be set up, or fails.
    """
    try:
        code = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModuleError(f"Cannot read the task module {file}: {error}") from error
    outline(code, str(file))  # a home is not made for a module that cannot be used
    vouch(code, f"the task module {file}")
    library = SkillLibrary.open_for(home, config)
    with library.lock():
        set_up = ModuleSetUp(library, config, code, file)
        return _train_module(set_up, name or file.stem, observer, limits, executor_fn)


def _spelt(records: Mapping[str, SkillRecord], name: str) -> SkillRecord | None:
    """Returns the record of that name, capitals making no difference."""
    return {known.casefold(): record for known, record in records.items()}.get(name.casefold())


def _stored_module(library: SkillLibrary, config: RunConfig, record: SkillRecord) -> ModuleSetUp:
    """Returns how a skill that came as a task module goes on, without the file that it came from.

    Raises:
        ModuleError: nobody here vouched for it.
    """
    file = library.skill_paths(record).module
    require_module(skill_of(library, record), library.command("skills", "vouch", record.name))
    return ModuleSetUp(library, config, read_text(file), file, record.description)


def _train_module(
    set_up: ModuleSetUp,
    name: str,
    observer: Observer,
    limits: GrowLimits | None,
    executor_fn: Callable[[GrowLimits], Executor] | None,
) -> SkillRecord:
    proposal = set_up.proposal(name)
    if lacking := set_up.lacking(name):
        which = ", ".join(map(str, lacking))
        observer.note(f"The library lacks expert {which}: it starts random and learns in this run too.")
    return _train(set_up.library, proposal, set_up, observer, limits, executor_fn)


def _train(
    library: SkillLibrary,
    proposal: Proposal,
    set_up_fn: Callable[[Proposal, int], RunPaths],
    observer: Observer,
    limits: GrowLimits | None,
    executor_fn: Callable[[GrowLimits], Executor] | None,
) -> SkillRecord:
    """Trains one proposal, whatever became of it before, and leaves workers of other skills alone."""
    limits = replace(limits or GrowLimits(), jobs=1, count=None)
    again = frozenset([proposal.name])
    controller = Controller(
        library,
        OneSkill(proposal, library),
        set_up_fn,
        (executor_fn or local_executor)(limits),
        observer,
        limits,
        again=again,
        adopt=again,
    )
    finish = controller.run()
    if proposal.name in controller.failures:
        raise controller.failures[proposal.name]
    record = library.named().get(proposal.name)
    if record is None:
        raise TrainingError(f"{proposal.name} was not trained: {finish.reason}.")
    return record
