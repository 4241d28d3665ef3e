"""The scheduler's core. A pure function from state and event to new state and actions.

No file, clock or random number is read here. The controller executes the actions and reports results as events. The
stages of a skill: proposed, queued until its dependencies are learned, training, trained, collecting, ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from flowrl.schema.skill import SkillSpec

RunOutcome = Literal["learned", "weak", "failed", "cancelled"]
Phase = Literal["training", "trained", "collecting"]


@dataclass(frozen=True)
class Proposal:
    """A skill to be trained.

    Attributes:
        needs: skills whose experts its run plays with.
        expert: the global expert it must get; None: the lowest free one.
        trial: the run only measures a reward candidate; the library gets nothing of it.
        chain: its whole plan is trained in one run.
        goal: what that plan is for, where that is more than the skill's name: "wood=3".
        n: the amount wanted of the skill at the end of that plan.
    """

    name: str
    needs: frozenset[str] = frozenset()
    expert: int | None = None
    trial: bool = False
    chain: bool = False
    goal: str = ""
    n: int = 1


@dataclass(frozen=True)
class Proposed:
    """The proposer names a skill.

    Attributes:
        again: it ended without being learned and is to be trained further.
    """

    proposal: Proposal
    again: bool = False


@dataclass(frozen=True)
class Respecified:
    """The proposer corrects the specification of a skill of the library."""

    name: str
    spec: SkillSpec


@dataclass(frozen=True)
class NothingToPropose:
    """The proposer has nothing until something changes.

    Attributes:
        complete: everything that was asked for is learned.
    """

    reason: str
    complete: bool = False


@dataclass(frozen=True)
class Trained:
    """A run's worker ended with a result to be collected."""

    name: str


@dataclass(frozen=True)
class Lost:
    """A run's worker is gone without a result.

    Attributes:
        progressed: it saved a new checkpoint since it was started.
    """

    name: str
    progressed: bool = False


@dataclass(frozen=True)
class Ended:
    """A run is over. Its result, if any, is in the library.

    Attributes:
        trained: it saved a checkpoint; otherwise its expert's number becomes free.
    """

    name: str
    outcome: RunOutcome
    trained: bool = True


@dataclass(frozen=True)
class CancelRequested:
    """A user wants a skill's run stopped or unqueued."""

    name: str


@dataclass(frozen=True)
class RetryRequested:
    """A user wants an unlearned skill to be tried again."""

    name: str


Event = Proposed | Respecified | NothingToPropose | Trained | Lost | Ended | CancelRequested | RetryRequested


@dataclass(frozen=True)
class Propose:
    """Ask the proposer for a skill."""


@dataclass(frozen=True)
class Respecify:
    """Write a corrected specification to the library."""

    name: str
    spec: SkillSpec


@dataclass(frozen=True)
class Launch:
    """Set up or resume a skill's run and start its worker."""

    proposal: Proposal
    expert: int


@dataclass(frozen=True)
class Collect:
    """Put a trained run's result into the library. Then report `Ended`."""

    name: str


@dataclass(frozen=True)
class Stop:
    """Stop a run's worker; then report `Ended`."""

    name: str


@dataclass(frozen=True)
class GiveUp:
    """Record a run as failed because its worker was lost too often. Then report `Ended`."""

    name: str


@dataclass(frozen=True)
class Finish:
    """Stop: everything asked for is learned, or nothing more can be done. Runs in progress may be stopped."""

    reason: str
    complete: bool


SchedulerAction = Propose | Respecify | Launch | Collect | Stop | GiveUp | Finish


@dataclass(frozen=True)
class ScheduledRun:
    """A skill with a worker, or with a result to be collected.

    Attributes:
        losses: workers lost in a row without progress.
        stopping: it was told to stop or given up.
    """

    proposal: Proposal
    expert: int
    phase: Phase = "training"
    losses: int = 0
    stopping: bool = False


@dataclass(frozen=True)
class State:
    """Everything the scheduler knows.

    Attributes:
        jobs: maximum number of runs at once.
        count: learned skills wanted; None: as many as are proposed.
        learned: names of learned skills.
        ended: outcome of skills that ended unlearned; nothing builds on them.
        queue: waiting proposals, oldest first.
        running: runs by name.
        experts: numbers of taken experts, by skill.
        idle: the proposer's answer, if it had nothing to propose since the last change.
        asked: the proposer was asked and has not answered.
        stale: a run ended since the proposer was asked, so that its answer may be outdated.
        max_losses: workers lost in a row after which a run is given up.
        finished: `Finish` was issued.
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
        """Skills that are learned, running or queued."""
        return self.learned | self.running.keys() | {proposal.name for proposal in self.queue}

    @property
    def is_full(self) -> bool:
        """Whether enough skills are learned or in progress. Reward trials do not count."""
        proposals = [*self.queue, *(run.proposal for run in self.running.values())]
        trials = {proposal.name for proposal in proposals if proposal.trial}
        return self.count is not None and len(self.learned_or_pending - trials) >= self.count


def next_actions(state: State, event: Event | None = None) -> tuple[State, tuple[SchedulerAction, ...]]:
    """Advance the state by an event and decide what to do. Without an event, begin.

    `Propose` is answered by `Proposed`, `Respecified` or `NothingToPropose`; `Launch`, `Collect`, `Stop` and `GiveUp`
    by events about their run. An event about a run that is not in progress changes nothing.
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
        case Respecified(name, spec):
            # What is queued was planned with the old specification: it will be proposed again.
            return replace(state, asked=False, queue=(), idle=None), (Respecify(name, spec),)
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
    """The reason why a proposal cannot be queued. None if it can.

    Dependencies must be learned or in progress, which rules out cycles and unknown skills.
    """
    name = proposal.name
    if name in state.learned_or_pending:
        return f"{name!r} is already learned or in progress"
    if name in state.ended:
        return f"{name!r} has ended as {state.ended[name]}"
    if lacking := sorted(proposal.needs - state.learned_or_pending):
        outcome = state.ended.get(lacking[0])
        what = f"ended as {outcome}" if outcome else "is neither learned nor in progress"
        return f"{name!r} needs {lacking[0]!r}, which {what}"
    return None


def _accept(state: State, proposal: Proposal) -> State:
    """Queue a proposal. After a rejected one the proposer waits until something changes."""
    if (reason := why_refused(state, proposal)) is not None:
        return replace(state, idle=None if state.stale else NothingToPropose(reason))
    return replace(state, queue=(*state.queue, proposal), idle=None)


def _with_phase(state: State, name: str, phase: Phase) -> State:
    run = state.running.get(name)
    if run is None or run.phase != "training":
        return state
    return replace(state, running={**state.running, name: replace(run, phase=phase)})


def _lose(state: State, event: Lost) -> tuple[State, tuple[SchedulerAction, ...]]:
    """Restart a lost worker. Unless it was lost too often in a row."""
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
    """Forget that a skill ended unlearned."""
    return replace(state, ended={other: outcome for other, outcome in state.ended.items() if other != name})


def _drop(state: State) -> State:
    """Drop queued proposals that build on ended skills. The proposer may find another plan."""
    kept = tuple(p for p in state.queue if p.needs.isdisjoint(state.ended))
    dropped = replace(state, queue=kept)
    # A proposal that needs a dropped one would wait for ever: dropped too, until nothing changes.
    while (kept := tuple(p for p in dropped.queue if p.needs <= dropped.learned_or_pending)) != dropped.queue:
        dropped = replace(dropped, queue=kept)
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
    """Start queued proposals whose dependencies are learned. Oldest first, up to `jobs` at once."""
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
    """The skill's own expert number. Else the one it asks for, else the lowest free one."""
    if proposal.name in state.experts:
        return state.experts[proposal.name]
    if proposal.expert is not None:
        return proposal.expert
    taken = set(state.experts.values())
    return next(number for number in range(len(taken) + 1) if number not in taken)


def _collect(state: State) -> tuple[State, tuple[SchedulerAction, ...]]:
    """Collect the next result: one at a time, since each changes the library."""
    if any(run.phase == "collecting" for run in state.running.values()):
        return state, ()
    name = next((name for name, run in state.running.items() if run.phase == "trained"), None)
    if name is None:
        return state, ()
    run = replace(state.running[name], phase="collecting")
    return replace(state, running={**state.running, name: run}), (Collect(name),)


def _propose_or_finish(state: State) -> tuple[State, tuple[SchedulerAction, ...]]:
    """Ask for a proposal while a run could start. Finish when nothing is left to do.

    Trained runs are collected before it finishes.
    """
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
