"""Entry points: grow a library, train one skill or one task module."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flowrl.config import RunConfig
from flowrl.errors import FlowRLError, ModuleError, TrainingError, UsageError
from flowrl.files import read_text
from flowrl.growing.chains import ChainSetUp
from flowrl.growing.controller import Controller, GrowLimits
from flowrl.growing.observer import Observer
from flowrl.growing.proposers import ChainGoals, KnowledgeProposer, OneSkill
from flowrl.growing.run_setup import ModuleSetUp, SkillSetUp
from flowrl.jobs.job import Executor
from flowrl.jobs.local import LocalExecutor
from flowrl.library.catalog import base_for, known_skills, records_of, skill_of, spelt_as_known, with_library
from flowrl.library.home import SkillLibrary
from flowrl.library.trust import require_module, vouch
from flowrl.parallel.scheduler import Proposal
from flowrl.paths import RunPaths
from flowrl.planning.frontier import Frontier
from flowrl.planning.goals import parse_goal
from flowrl.planning.planner import curriculum_for, dependencies, plan
from flowrl.schema.home import SkillRecord
from flowrl.skillcode.source import network_numbers

DEFAULT_COUNT = 3
DEFAULT_LIMITS = GrowLimits()
ExecutorFn = Callable[[GrowLimits], Executor]


def local_executor(limits: GrowLimits) -> Executor:
    """An executor that runs workers as child processes on this machine."""
    return LocalExecutor(limits.jobs)


@dataclass(frozen=True)
class GrowOutcome:
    """How growing ended.

    Attributes:
        complete: everything that was asked for is learned.
        reason: why it ended, as a sentence.
        failures: errors by skill.
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
    limits: GrowLimits = DEFAULT_LIMITS,
    executor_fn: ExecutorFn = local_executor,
) -> GrowOutcome:
    """Learn skills one by one until `count` or the goal is reached.

    Args:
        count: learned skills wanted; None: as many as the goal needs, or 3 without a goal.
        goal: a skill or an item; only what it needs is learned.
        own_skills: a folder of skill files that extend the base, besides the home's own.
        limits: its count is ignored.
        executor_fn: makes the executor of the workers.

    Raises:
        FlowRLError: the home cannot be used, or the goal is unknown.
    """
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
    limits = replace(limits, count=count)
    proposer, set_up = KnowledgeProposer(base, library, goal), SkillSetUp(base, library, config)
    return _grown(Controller(library, proposer, set_up, executor_fn(limits), observer, limits))


def grow_chains(
    home: Path,
    config: RunConfig,
    goals: Sequence[str],
    observer: Observer,
    own_skills: Path | None = None,
    limits: GrowLimits = DEFAULT_LIMITS,
    executor_fn: ExecutorFn = local_executor,
) -> GrowOutcome:
    """Learn goals, each in one run of its whole plan. A weak one is trained on.

    Args:
        goals: skills or items; what several plans have in common is merged, one run after the other.
        own_skills: a folder of skill files that extend the base, besides the home's own.
        limits: its count is ignored.

    Raises:
        FlowRLError: the home cannot be used, or a goal is unknown or out of reach.
    """
    base = with_library(base_for(config.env.name, home, own_skills), home)
    wanted: dict[str, Proposal] = {}
    for goal in goals:
        asked = spelt_as_known(base, goal)
        if len(parse_goal(asked, base.named(), base.vocabulary).wants) > 1:
            raise UsageError(
                f"{goal!r} is several goals. Give each a --goal of its own, or learn what they need skill by skill: "
                f"--apart --goal {goal!r}"
            )
        last = plan(asked, base.named(), vocabulary=base.vocabulary).steps[-1]
        proposal = Proposal(last.skill, chain=True, goal=asked, n=last.n)
        if wanted.setdefault(last.skill, proposal).n != last.n:
            raise UsageError(f"{last.skill!r} is asked for twice, with different amounts. Give only the larger one.")
    library = SkillLibrary.open_for(home, config)
    limits = replace(limits, count=None)
    proposer, set_up = ChainGoals(list(wanted.values()), library, config.gate), ChainSetUp(base, library, config)
    return _grown(Controller(library, proposer, set_up, executor_fn(limits), observer, limits, again=frozenset(wanted)))


def _grown(controller: Controller) -> GrowOutcome:
    with controller.library.lock():
        finish = controller.run()
        records = tuple(controller.library.records())
    return GrowOutcome(records, finish.complete, finish.reason, controller.failures)


def train(
    home: Path,
    config: RunConfig,
    name: str,
    observer: Observer,
    own_skills: Path | None = None,
    limits: GrowLimits = DEFAULT_LIMITS,
    executor_fn: ExecutorFn = local_executor,
) -> SkillRecord:
    """Train a skill of the base, or continue a learned one.

    A skill that came as a task module continues with the module stored in the library.

    Args:
        own_skills: a folder of skill files that extend the base, besides the home's own.

    Raises:
        UsageError: there is no such skill.
        PlanError: its requirements cannot be reached with learned skills.
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
            observer.note(f"{held.name} is already learned; there is nothing to do.")
            return held
        if held is not None and held.is_module:
            return _train_module(_stored_module(library, config, held), held.name, observer, limits, executor_fn)
        learned = known_skills(library)
        if held is None:
            Frontier(learned, base.vocabulary, base.skills).require(skill)
        found = plan(skill.name, learned | {skill.name: skill}, vocabulary=base.vocabulary)
        proposal = Proposal(skill.name, frozenset(dependencies(found)))
        return _train(library, proposal, SkillSetUp(base, library, config), observer, limits, executor_fn)


def train_chain(
    home: Path,
    config: RunConfig,
    goal: str,
    observer: Observer,
    own_skills: Path | None = None,
    limits: GrowLimits = DEFAULT_LIMITS,
    executor_fn: ExecutorFn = local_executor,
) -> SkillRecord:
    """Train all skills of a goal's plan in one run; those that the library lacks enter it with the goal.

    Args:
        goal: a skill of the base.
        own_skills: a folder of skill files that extend the base, besides the home's own.

    Raises:
        UsageError: there is no such skill.
        PlanError: no plan leads to it.
        FlowRLError: the run cannot be set up, or fails.
    """
    base = with_library(base_for(config.env.name, home, own_skills), home)
    skill = base.skill(spelt_as_known(base, goal))
    if skill.is_module:
        raise UsageError(f"{skill.name!r} is a task module, which names its experts itself: train it without --chain.")
    name = skill.name
    library = SkillLibrary.open_for(home, config)
    with library.lock():
        return _train(
            library, Proposal(name, chain=True), ChainSetUp(base, library, config), observer, limits, executor_fn
        )


def train_module(
    home: Path,
    config: RunConfig,
    file: Path,
    name: str | None,
    observer: Observer,
    limits: GrowLimits = DEFAULT_LIMITS,
    executor_fn: ExecutorFn = local_executor,
) -> SkillRecord:
    """Train the last task of a task module.

    Experts that the module plays with come from the library. Missing ones start random, learn in the same run and are
    stored in the new skill's folder.

    Raises:
        ModuleError: the file cannot be used, or its last number belongs to another skill.
        FlowRLError: the run cannot be set up, or fails.
    """
    try:
        code = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModuleError(f"Cannot read the task module {file}: {error}") from error
    network_numbers(code, str(file))  # a home is not made for a module that cannot be used
    vouch(code, f"the task module {file}")
    library = SkillLibrary.open_for(home, config)
    with library.lock():
        set_up = ModuleSetUp(library, config, code, file)
        return _train_module(set_up, name or file.stem, observer, limits, executor_fn)


def _spelt(records: Mapping[str, SkillRecord], name: str) -> SkillRecord | None:
    """The record of that name, ignoring case."""
    return {known.casefold(): record for known, record in records.items()}.get(name.casefold())


def _stored_module(library: SkillLibrary, config: RunConfig, record: SkillRecord) -> ModuleSetUp:
    """The set-up that continues a skill from its stored module.

    Raises:
        ModuleError: this user has not approved the module.
    """
    file = library.skill_paths(record).module
    require_module(skill_of(library, record), library.command("skills", "vouch", record.name))
    return ModuleSetUp(library, config, read_text(file), file, record.description)


def _train_module(
    set_up: ModuleSetUp,
    name: str,
    observer: Observer,
    limits: GrowLimits,
    executor_fn: ExecutorFn,
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
    limits: GrowLimits,
    executor_fn: ExecutorFn,
) -> SkillRecord:
    """Train one proposal even if it failed before. Workers of other skills are left alone."""
    limits = replace(limits, jobs=1, count=None)
    again = frozenset([proposal.name])
    controller = Controller(
        library,
        OneSkill(proposal, library),
        set_up_fn,
        executor_fn(limits),
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
