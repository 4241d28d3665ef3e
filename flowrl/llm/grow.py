"""Growing a library with a language model."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from flowrl.config import RunConfig
from flowrl.errors import LibraryError, LLMError, UsageError
from flowrl.growing.controller import Controller, GrowLimits
from flowrl.growing.grow import DEFAULT_COUNT, GrowOutcome, local_executor
from flowrl.growing.observer import Observer
from flowrl.growing.reward_trials import draft_of, trial_config
from flowrl.growing.run_setup import SkillSetUp
from flowrl.jobs.job import Executor, Job
from flowrl.jobs.local import is_locked
from flowrl.knowledge.base import load_base
from flowrl.library.catalog import known_skills
from flowrl.library.home import SkillLibrary
from flowrl.library.versions import respecify
from flowrl.llm.briefing import briefing
from flowrl.llm.context import FlowContext, FlowSettings
from flowrl.llm.flow import Flow
from flowrl.llm.review import review
from flowrl.llm.transport.client import JudgedLLM
from flowrl.llm.transport.factory import LLMSettings, make_llm
from flowrl.parallel.run_folder import put_aside
from flowrl.parallel.scheduler import Proposal
from flowrl.paths import RunPaths
from flowrl.planning.goals import parse_goal


@dataclass(frozen=True)
class FlowSetUp:
    """Sets up a model's runs and reward trials."""

    context: FlowContext

    def __call__(self, proposal: Proposal, expert: int) -> RunPaths:
        """The new or resumed run of a proposal.

        Raises:
            FlowRLError: the run cannot be set up.
        """
        base, library, config = self.context.base(), self.context.library, self.context.config
        if not proposal.trial:
            return SkillSetUp(base, library, config)(proposal, expert)
        draft, which = draft_of(library.paths, proposal.name)
        tried = {"name": proposal.name, "code": draft.candidates[which].code}
        skill = base.skill(draft.skill.name).model_copy(update=tried)
        config = trial_config(config, self.context.settings.candidate_frames)
        set_up = SkillSetUp(replace(base, skills=(*base.skills, skill)), library, config, trial=True)
        try:
            return set_up(proposal, expert)
        except LibraryError:
            # An unfinished trial with other settings: all candidates need the same ones, so it starts over.
            run = library.paths.run(expert, proposal.name)
            if not run.config.exists() or is_locked(Job(run.folder, proposal.name)):
                raise
            put_aside(run.folder)
            return set_up(proposal, expert)


def _review_last(flow: Flow, observer: Observer, messages: queue.SimpleQueue[str]) -> None:
    """Correct the skills learned last after all training."""
    flow.context.stopping.clear()
    try:
        while (correction := flow.review()) is not None:
            respecify(flow.context.library, correction.name, correction.spec)
    except LLMError as error:
        messages.put(f"The skills learned last were not checked against their specifications: {error}")
    while not messages.empty():
        observer.note(messages.get())


def grow_with_model(
    home: Path,
    config: RunConfig,
    count: int | None,
    settings: FlowSettings,
    llm: LLMSettings,
    manual: Path | None,
    observer: Observer,
    limits: GrowLimits,
    executor_fn: Callable[[GrowLimits], Executor] | None = None,
) -> GrowOutcome:
    """Learn skills that a language model writes.

    Args:
        count: learned skills wanted; None for as many as the goal needs, or 3 without a goal.
        manual: a text about the game that replaces its own.
        limits: of jobs; its count is ignored.

    Raises:
        FlowRLError: the home or the model is unusable, or the goal unknown.
    """
    if llm.replay is not None and limits.jobs > 1:
        raise UsageError("--replay goes with --jobs 1: the order of questions must not depend on timing.")
    stopped = threading.Event()
    SkillLibrary.open_for(home, config)  # before the model, so that a wrong home costs no call
    messages: queue.SimpleQueue[str] = queue.SimpleQueue()
    model = make_llm(llm, home, stopped.is_set, messages.put)
    return grow_with(model, home, config, count, settings, manual, observer, limits, executor_fn, stopped, messages)


def grow_with(
    llm: JudgedLLM,
    home: Path,
    config: RunConfig,
    count: int | None,
    settings: FlowSettings,
    manual: Path | None,
    observer: Observer,
    limits: GrowLimits,
    executor_fn: Callable[[GrowLimits], Executor] | None = None,
    stopped: threading.Event | None = None,
    messages: queue.SimpleQueue[str] | None = None,
) -> GrowOutcome:
    """Do what `grow_with_model` does with a given model.

    Args:
        stopped: set once no answer is awaited any more.
        messages: progress of the model's side, for the observer.
    """
    library = SkillLibrary.open_for(home, config)
    vocabulary = load_base(config.env.name).vocabulary
    if settings.goal is not None:
        parse_goal(settings.goal, known_skills(library), vocabulary)
    count = count or (None if settings.goal else DEFAULT_COUNT)
    with library.lock():
        messages = messages or queue.SimpleQueue()
        words = briefing(config.env.name, vocabulary, manual)
        stopping = stopped or threading.Event()
        context = FlowContext(llm, library, config, words, settings, messages.put, stopping=stopping)
        flow = Flow(context, review if settings.review else None, count)
        controller = Controller(
            library, flow, FlowSetUp(context), (executor_fn or local_executor)(limits), observer,
            replace(limits, count=count), messages=messages,
        )  # fmt: skip
        finish = controller.run()
        if finish.complete:
            _review_last(flow, observer, messages)
        return GrowOutcome(tuple(library.records()), finish.complete, finish.reason, controller.failures)
