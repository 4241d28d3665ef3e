"""The scheduler's core: which runs to start, collect and stop, as a pure function of what is known and what happened.

Nothing here reads a file, a clock or a random number. `controller.py` carries out the actions and reports what came of
them as events. A skill goes: proposed, queued until what it needs is learned, training, trained, collecting, ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from flowrl.schema.skill import SkillSpec

RunOutcome = Literal["learned", "weak", "failed", "cancelled"]
Phase = Literal["training", "trained", "collecting"]


@dataclass(frozen=True)
class Proposal:
    """A skill that somebody wants trained.

    Attributes:
        needs: the skills whose experts its run plays with.
        expert: the global expert that it must get; None: the lowest free one.
        trial: its run only measures one way of rewarding a skill; nothing of it enters the library.
    """

    name: str
    needs: frozenset[str] = frozenset()
    expert: int | None = None
    trial: bool = False


@dataclass(frozen=True)
class Proposed:
    """The proposer names a skill; ``again``: one that ended without being learned, to be trained further."""

    proposal: Proposal
    again: bool = False


@dataclass(frozen=True)
class Respecified:
    """The proposer has found out what a skill of the library really needs and brings; what builds on it is planned
    anew."""

    name: str
    spec: SkillSpec


@dataclass(frozen=True)
class NothingToPropose:
    """The proposer has nothing until something changes; ``complete``: and all that was asked for is learned."""

    reason: str
    complete: bool = False


@dataclass(frozen=True)
class Trained:
    """A run's worker ended with a result, which waits to be collected."""

    name: str


@dataclass(frozen=True)
class Lost:
    """A run's worker is gone without a result.

    Attributes:
        progressed: it had saved a new checkpoint since it was started.
    """

    name: str
    progressed: bool = False


@dataclass(frozen=True)
class Ended:
    """A run is over and what it left is in the library, if anything.

    Attributes:
        trained: it trained at all; else its expert's number is free again.
    """

    name: str
    outcome: RunOutcome
    trained: bool = True


@dataclass(frozen=True)
class CancelRequested:
    """Somebody wants a skill's run stopped, or taken out of the queue."""

    name: str


@dataclass(frozen=True)
class RetryRequested:
    """Somebody wants a skill that ended without being learned to be tried again, when the proposer comes to it."""

    name: str


Event = Proposed | Respecified | NothingToPropose | Trained | Lost | Ended | CancelRequested | RetryRequested


@dataclass(frozen=True)
class Propose:
    """Ask the proposer for a skill."""


@dataclass(frozen=True)
class Launch:
    """Set up a skill's run, or let it go on, and start its worker."""

    proposal: Proposal
    expert: int


@dataclass(frozen=True)
class Collect:
    """Put a trained run's result into the library; then report `Ended`."""

    name: str


@dataclass(frozen=True)
class Stop:
    """Stop a run's worker; then report `Ended`."""

    name: str


@dataclass(frozen=True)
class GiveUp:
    """Record that a run failed, its worker being lost too often; then report `Ended`."""

    name: str


@dataclass(frozen=True)
class Finish:
    """All that was asked for is learned, or nothing is left that could be done; runs under way may be stopped."""

    reason: str
    complete: bool


SchedulerAction = Propose | Launch | Collect | Stop | GiveUp | Finish


@dataclass(frozen=True)
class ScheduledRun:
    """A skill that has a worker, or waits for its result to be collected.

    Attributes:
        losses: workers lost in a row without progress.
        stopping: it was told to stop, or is given up.
    """

    proposal: Proposal
    expert: int
    phase: Phase = "training"
    losses: int = 0
    stopping: bool = False


@dataclass(frozen=True)
class State:
    """All that the scheduler knows.

    Attributes:
        jobs: most runs at once.
        count: learned skills wanted; None: as many as are proposed.
        learned: names of learned skills.
        ended: skills that ended otherwise, by outcome; nothing builds on them.
        queue: proposals that wait, in the order in which they were made.
        running: runs by name.
        experts: the number of every expert that is taken, by skill.
        idle: the proposer's last word, if it had nothing to propose since something changed.
        asked: the proposer was asked and has not answered.
        stale: something ended since the proposer was asked: that it has nothing to say may be old news.
        max_losses: workers lost in a row after which a run is given up.
        finished: `Finish` was said.
    """

    jobs: int = 1
    count: int | None = None
    learned: frozenset[str] = frozenset()
    ended: Mapping[str, RunOutcome] = field(default_factory=dict)
    queue: tuple[Proposal, ...] = ()
    running: Mapping[str, ScheduledRun] = field(default_factory=dict)
    experts: Mapping[str, int] = field(default_factory=dict)
    idle: NothingToPropose | None = None
    asked: bool = False
    stale: bool = False
    max_losses: int = 3
    finished: bool = False

    @property
    def learned_or_pending(self) -> frozenset[str]:
        """The skills that are learned, or may be before long."""
        return self.learned | self.running.keys() | {proposal.name for proposal in self.queue}

    @property
    def is_full(self) -> bool:
        """Whether as many skills are learned or under way as are wanted; trials of rewards are none."""
        proposals = [*self.queue, *(run.proposal for run in self.running.values())]
        trials = {proposal.name for proposal in proposals if proposal.trial}
        return self.count is not None and len(self.learned_or_pending - trials) >= self.count


def next_actions(state: State, event: Event | None = None) -> tuple[State, tuple[SchedulerAction, ...]]:
    """Returns the state after an event and what has to be done now; without an event, what to begin with.

    Every action but `Finish` and `Propose` concerns one run and is answered by events about that run; `Propose` is
    answered by `Proposed`, `Respecified` or `NothingToPropose`. An event about a run that is not under way changes
    nothing.
    """
    if state.finished:
        return state, ()
    state, answers = (state, ()) if event is None else _take_in(state, event)
    state, launches = _launch(state)
    state, collects = _collect(state)
    state, rest = _propose_or_finish(state)
    return state, (*answers, *launches, *collects, *rest)


def _take_in(state: State, event: Event) -> tuple[State, tuple[SchedulerAction, ...]]:
    match event:
        case Proposed(proposal, again):
            state = replace(state, asked=False)
            return _accept(_forget(state, proposal.name) if again else state, proposal), ()
        case Respecified():
            # Who proposed what waits will propose it again, with the plan that holds now.
            return replace(state, asked=False, queue=(), idle=None), ()
        case NothingToPropose():
            idle = None if state.stale and not event.complete else event
            return replace(state, asked=False, idle=idle), ()
        case Trained(name):
            return _with_phase(state, name, "trained"), ()
        case Lost():
            return _lose(state, event)
        case Ended():
            return _end(state, event), ()
        case CancelRequested(name):
            return _cancel(state, name)
        case RetryRequested(name):
            return _forget(replace(state, idle=None), name), ()


def why_refused(state: State, proposal: Proposal) -> str | None:
    """Returns why a proposal cannot be queued, None if it can; what it needs must be learned or under way, so that no
    cycle and no skill that nobody knows can hold up the queue."""
    name = proposal.name
    if name in state.learned_or_pending:
        return f"{name!r} is learned or under way already"
    if name in state.ended:
        return f"{name!r} has ended as {state.ended[name]}"
    if lacking := sorted(proposal.needs - state.learned_or_pending):
        whose = f"which ended as {state.ended[lacking[0]]}" if lacking[0] in state.ended else "which nobody is learning"
        return f"{name!r} needs {lacking[0]!r}, {whose}"
    return None


def _accept(state: State, proposal: Proposal) -> State:
    """Queues a proposal; after one that is refused the proposer is not asked again until something changes."""
    if (reason := why_refused(state, proposal)) is not None:
        return replace(state, idle=None if state.stale else NothingToPropose(reason))
    return replace(state, queue=(*state.queue, proposal), idle=None)


def _with_phase(state: State, name: str, phase: Phase) -> State:
    run = state.running.get(name)
    if run is None or run.phase != "training":
        return state
    return replace(state, running={**state.running, name: replace(run, phase=phase)})


def _lose(state: State, event: Lost) -> tuple[State, tuple[SchedulerAction, ...]]:
    """Starts a lost worker again, unless that came to nothing too often in a row."""
    run = state.running.get(event.name)
    if run is None or run.phase != "training" or run.stopping:
        return state, ()
    losses = 1 if event.progressed else run.losses + 1
    over = losses >= state.max_losses
    run = replace(run, losses=losses, stopping=over)
    state = replace(state, running={**state.running, event.name: run})
    return state, (GiveUp(event.name) if over else Launch(run.proposal, run.expert),)


def _end(state: State, event: Ended) -> State:
    run = state.running.get(event.name)
    if run is None:
        return state
    running = {name: other for name, other in state.running.items() if name != event.name}
    state = replace(state, running=running, idle=None, stale=state.asked)
    if not event.trained and run.proposal.expert is None:
        state = replace(state, experts={name: g for name, g in state.experts.items() if name != event.name})
    if event.outcome == "learned":
        return _forget(replace(state, learned=state.learned | {event.name}), event.name)
    return _drop(replace(state, ended={**state.ended, event.name: event.outcome}))


def _forget(state: State, name: str) -> State:
    """Forgets that a skill ended without being learned."""
    return replace(state, ended={other: outcome for other, outcome in state.ended.items() if other != name})


def _drop(state: State) -> State:
    """Takes out of the queue what builds on skills that are given up; the proposer may find another way to it."""
    hopeless = [p.name for p in state.queue if not p.needs.isdisjoint(state.ended)]
    queue = tuple(p for p in state.queue if p.name not in hopeless)
    dropped = replace(state, queue=queue)
    # What needs one that was dropped waits for it in vain, until it is proposed again.
    while stranded := [p.name for p in dropped.queue if not p.needs <= dropped.learned_or_pending]:
        dropped = replace(dropped, queue=tuple(p for p in dropped.queue if p.name not in stranded))
    return dropped


def _cancel(state: State, name: str) -> tuple[State, tuple[SchedulerAction, ...]]:
    run = state.running.get(name)
    if run is not None:
        if run.phase != "training" or run.stopping:
            return state, ()
        return replace(state, running={**state.running, name: replace(run, stopping=True)}), (Stop(name),)
    if name not in state.learned_or_pending - state.learned:
        return state, ()
    queue = tuple(p for p in state.queue if p.name != name)
    return _drop(replace(state, queue=queue, ended={**state.ended, name: "cancelled"}, idle=None)), ()


def _launch(state: State) -> tuple[State, tuple[SchedulerAction, ...]]:
    """Starts what waits in the order of the queue, where all that it needs is learned, up to ``jobs`` at once."""
    actions: list[SchedulerAction] = []
    for proposal in state.queue:
        if len(state.running) >= state.jobs:
            break
        if proposal.needs <= state.learned:
            expert = _expert_for(state, proposal)
            run = ScheduledRun(proposal, expert)
            state = replace(
                state,
                queue=tuple(p for p in state.queue if p.name != proposal.name),
                running={**state.running, proposal.name: run},
                experts={**state.experts, proposal.name: expert},
            )
            actions.append(Launch(proposal, expert))
    return state, tuple(actions)


def _expert_for(state: State, proposal: Proposal) -> int:
    """Returns the skill's own number where it has one, else the one it asks for, else the lowest free one."""
    if proposal.name in state.experts:
        return state.experts[proposal.name]
    if proposal.expert is not None:
        return proposal.expert
    taken = set(state.experts.values())
    return next(number for number in range(len(taken) + 1) if number not in taken)


def _collect(state: State) -> tuple[State, tuple[SchedulerAction, ...]]:
    """Collects results one after another, each into the library that the one before has left."""
    if any(run.phase == "collecting" for run in state.running.values()):
        return state, ()
    name = next((name for name, run in state.running.items() if run.phase == "trained"), None)
    if name is None:
        return state, ()
    run = replace(state.running[name], phase="collecting")
    return replace(state, running={**state.running, name: run}), (Collect(name),)


def _propose_or_finish(state: State) -> tuple[State, tuple[SchedulerAction, ...]]:
    """Asks for a proposal while there is room for one that could start; says so when nothing is left to do. What is
    trained is collected before that."""
    unsettled = any(run.phase != "training" for run in state.running.values())
    if state.idle is not None and state.idle.complete and not unsettled:
        return _finish(state, state.idle.reason, True)
    if state.count is not None and len(state.learned) >= state.count and not unsettled:
        return _finish(state, f"the library holds {len(state.learned)} learned skills", True)
    if state.asked:
        return state, ()
    if state.idle is None and len(state.running) < state.jobs and not state.is_full:
        return replace(state, asked=True, stale=False), (Propose(),)
    if state.idle is not None and not state.running:
        return _finish(state, state.idle.reason, False)
    return state, ()


def _finish(state: State, reason: str, complete: bool) -> tuple[State, tuple[SchedulerAction, ...]]:
    return replace(state, finished=True), (Finish(reason, complete),)
