"""The scheduler's core under every order of events that chance comes up with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrl.parallel.scheduler import (
    CancelRequested,
    Collect,
    Ended,
    Event,
    Finish,
    GiveUp,
    Launch,
    Lost,
    NothingToPropose,
    Proposal,
    Propose,
    Proposed,
    Respecified,
    Respecify,
    RetryRequested,
    RunOutcome,
    SchedulerAction,
    State,
    Stop,
    Trained,
    next_actions,
)
from flowrl.schema.skill import SkillSpec


@dataclass(frozen=True)
class Fate:
    """What becomes of a skill whenever it is trained, and what it needs."""

    needs: frozenset[str]
    outcome: RunOutcome
    trains: bool = True


@dataclass
class World:
    """Carries out the actions as a controller would, when and in which order it is told to.

    Attributes:
        pending: events that may happen next, for each run one.
        corrections: specifications that the core was told of and that are not in the library yet.
        corrected: the skills whose specifications were corrected in the library, in order.
    """

    fates: Mapping[str, Fate]
    state: State
    pending: dict[str, Event] = field(default_factory=dict)
    launched: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    finish: Finish | None = None
    collecting: str | None = None
    proposed: int = 0
    respecify: set[str] = field(default_factory=set)
    corrections: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)

    def tell(self, event: Event | None) -> None:
        """Gives the core an event and does what it says, proposals at once."""
        self.state, actions = next_actions(self.state, event)
        for action in actions:
            self.do(action)

    def do(self, action: SchedulerAction) -> None:
        match action:
            case Propose():
                self.proposed += 1
                assert self.proposed < 1000, "the proposer is asked again and again"
                assert not self.corrections, "it is asked before the library has the correction"
                self.tell(self.proposal())
            case Respecify(name):
                self.corrections.remove(name)
                self.corrected.append(name)
            case Launch(proposal, expert):
                self.launch(proposal, expert)
            case Collect(name):
                assert self.collecting is None, "two results are collected at the same time"
                self.collecting = name
                self.pending[name] = Ended(name, self.fates[name].outcome)
            case Stop(name):
                self.pending[name] = Ended(name, "cancelled", self.fates[name].trains)
            case GiveUp(name):
                self.pending[name] = Ended(name, "failed", self.fates[name].trains)
            case Finish():
                assert self.finish is None, "it finishes twice"
                self.finish = action

    def launch(self, proposal: Proposal, expert: int) -> None:
        name, fate = proposal.name, self.fates[proposal.name]
        assert name not in self.pending, f"{name} is launched twice"
        assert proposal.needs <= self.state.learned, f"{name} is launched before what it needs is learned"
        others = {other: number for other, number in self.state.experts.items() if other != name}
        assert expert not in others.values(), f"expert {expert} has two skills"
        self.launched.append(name)
        self.numbers[name] = expert
        self.pending[name] = Trained(name) if fate.trains else Ended(name, fate.outcome, trained=False)

    def proposal(self) -> Event:
        """Returns the first skill in curriculum order that could be learned, as if all under way were learned; before
        that, once, the corrected specification of each learned skill that is to have one."""
        for name in self.respecify & self.state.learned:
            self.respecify.discard(name)
            self.corrections.append(name)
            return Respecified(name, SkillSpec())
        for name, fate in self.fates.items():
            learned_or_pending, known = self.state.learned_or_pending, name in self.state.ended
            if name not in learned_or_pending and not known and fate.needs <= learned_or_pending:
                return Proposed(Proposal(name, fate.needs))
        return NothingToPropose("nothing is left")

    def happen(self, name: str) -> None:
        """Lets the pending event of a run happen."""
        event = self.pending.pop(name)
        if self.collecting == name:
            self.collecting = None
        self.tell(event)
        assert len(self.state.running) <= self.state.jobs

    def drain(self, choose: st.DataObject) -> None:
        """Lets everything happen that is under way, in an order of chance."""
        while self.pending and self.finish is None:
            self.happen(choose.draw(st.sampled_from(sorted(self.pending))))


NAMES = [f"skill {i}" for i in range(9)]


@st.composite
def fates(draw: st.DrawFn) -> dict[str, Fate]:
    """Skills in curriculum order, each needing some of those before it."""
    found: dict[str, Fate] = {}
    for i, name in enumerate(NAMES[: draw(st.integers(1, 9))]):
        needs = draw(st.sets(st.sampled_from(NAMES[:i]), max_size=3)) if i else set()
        outcome: RunOutcome = draw(st.sampled_from(["learned"] * 4 + ["weak", "failed"]))
        trains = outcome != "failed" or draw(st.booleans())
        found[name] = Fate(frozenset(needs), outcome, trains)
    return found


def reachable(fates: Mapping[str, Fate]) -> set[str]:
    """Returns what is learned if all that can be tried is."""
    learned: set[str] = set()
    while more := {n for n, f in fates.items() if n not in learned and f.outcome == "learned" and f.needs <= learned}:
        learned |= more
    return learned


def begin(fates: Mapping[str, Fate], jobs: int, count: int | None) -> World:
    world = World(fates, State(jobs=jobs, count=count))
    world.tell(None)
    return world


@settings(max_examples=1500, deadline=None)
@given(fates(), st.integers(1, 4), st.integers(1, 9) | st.none(), st.data())
def test_whatever_ends_first_the_same_library_comes_out(
    fates: dict[str, Fate], jobs: int, count: int | None, data: st.DataObject
) -> None:
    world = begin(fates, jobs, count)
    world.drain(data)
    assert world.finish is not None, "nothing is under way, and it does not finish"
    alone = begin(fates, 1, count)
    while alone.finish is None:
        alone.happen(min(alone.pending))
    assert world.state.learned == alone.state.learned
    assert len(set(world.launched)) == len(world.launched), "a skill is trained twice"
    can = reachable(fates)
    wanted = len(can) if count is None else min(count, len(can))
    assert len(world.state.learned) == wanted and world.state.learned <= can
    assert world.finish.complete == (count is not None and len(can) >= count)


@settings(max_examples=500, deadline=None)
@given(fates(), st.integers(1, 4), st.data())
def test_numbers_are_lowest_free_and_none_is_spent_on_what_never_trained(
    fates: dict[str, Fate], jobs: int, data: st.DataObject
) -> None:
    world = begin(fates, jobs, None)
    world.drain(data)
    kept = world.state.experts
    assert set(kept) == {name for name in world.launched if fates[name].trains}
    assert len(set(kept.values())) == len(kept)
    assert max(kept.values(), default=0) < len(kept) + jobs


DISTURBANCES = st.sampled_from(["happen", "happen", "lose", "lose with progress", "cancel", "retry"])


@settings(max_examples=1500, deadline=None)
@given(fates(), st.integers(1, 3), st.lists(st.tuples(DISTURBANCES, st.integers(0, 8)), max_size=40), st.data())
def test_losses_cancels_and_retries_at_any_moment_leave_no_deadlock(
    fates: dict[str, Fate], jobs: int, steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    world = begin(fates, jobs, None)
    for what, number in steps:
        if world.finish is not None or not world.pending:
            break
        name = sorted(world.pending)[number % len(world.pending)]
        run = world.state.running[name]
        if what == "happen":
            world.happen(name)
        elif what.startswith("lose") and run.phase == "training" and not run.stopping:
            del world.pending[name]
            world.tell(Lost(name, progressed=what == "lose with progress"))
        elif what == "cancel":
            before = world.pending.pop(name) if run.phase == "training" and not run.stopping else None
            world.tell(CancelRequested(name))
            assert before is None or world.pending[name] == Ended(name, "cancelled", fates[name].trains)
        elif what == "retry":
            other = list(fates)[number % len(fates)]
            world.tell(RetryRequested(other))
    world.drain(data)
    assert world.finish is not None
    assert world.state.learned <= reachable(fates)
    assert not world.state.running


@settings(max_examples=500, deadline=None)
@given(fates(), st.integers(1, 4), st.sets(st.sampled_from(NAMES)), st.data())
def test_specifications_corrected_in_between_change_nothing_of_what_is_learned(
    fates: dict[str, Fate], jobs: int, corrected: set[str], data: st.DataObject
) -> None:
    world = World(fates, State(jobs=jobs), respecify=set(corrected))
    world.tell(None)
    world.drain(data)
    assert world.finish is not None and world.state.learned == reachable(fates)
    assert set(world.corrected) == (corrected - world.respecify) <= world.state.learned and not world.corrections
    assert len(set(world.corrected)) == len(world.corrected), "a correction is carried out twice"
    assert len(set(world.launched)) == len(world.launched), "a skill is trained twice"


def test_a_corrected_specification_takes_back_what_waits_and_asks_again() -> None:
    fates = {"a": Fate(frozenset(), "learned"), "b": Fate(frozenset(["a"]), "learned")}
    world = begin(fates, 2, None)
    assert [p.name for p in world.state.queue] == ["b"] and world.state.idle is not None
    state, actions = next_actions(replace(world.state, asked=True), Respecified("a", SkillSpec()))
    assert state.queue == () and actions == (Respecify("a", SkillSpec()), Propose()) and set(state.running) == {"a"}


def test_a_weak_skill_is_trained_again_if_that_is_what_is_proposed() -> None:
    state = State(ended={"a": "weak"}, asked=True)
    refused, actions = next_actions(state, Proposed(Proposal("a")))
    assert actions == (Finish("'a' has ended as weak", False),) and not refused.running
    state, actions = next_actions(state, Proposed(Proposal("a"), again=True))
    assert actions == (Launch(Proposal("a"), 0),) and state.ended == {}


@pytest.mark.parametrize("answer", [Proposed(Proposal("b", frozenset(["a"]))), NothingToPropose("nothing to build on")])
def test_an_answer_that_was_asked_for_before_something_ended_is_asked_for_again(answer: Event) -> None:
    state, _ = next_actions(State(jobs=2, asked=True), Proposed(Proposal("a")))
    assert state.asked, "there is room for another"
    state, _ = next_actions(state, Ended("a", "weak"))
    state, actions = next_actions(state, answer)
    assert actions == (Propose(),) and not state.finished
    _, actions = next_actions(state, NothingToPropose("nothing at all"))
    assert actions == (Finish("nothing at all", False),)


def test_trials_take_no_place_among_the_skills_that_are_wanted() -> None:
    state, _ = next_actions(State(jobs=3, count=1, asked=True), Proposed(Proposal("a candidate 1", trial=True)))
    assert state.asked, "the next candidate is asked for"
    state, actions = next_actions(state, Proposed(Proposal("a candidate 2", trial=True)))
    assert set(state.running) == {"a candidate 1", "a candidate 2"} and actions[-1] == Propose()


def test_the_number_of_a_trial_is_free_again_afterwards() -> None:
    state, _ = next_actions(State(asked=True), Proposed(Proposal("a candidate 1", trial=True)))
    assert state.experts == {"a candidate 1": 0}
    state, _ = next_actions(state, Trained("a candidate 1"))
    state, actions = next_actions(state, Ended("a candidate 1", "weak", trained=False))
    assert state.experts == {} and actions == (Propose(),)
    _, actions = next_actions(state, Proposed(Proposal("a")))
    assert actions == (Launch(Proposal("a"), 0),)


def test_a_run_is_given_up_after_losses_in_a_row_and_not_for_losses_with_progress() -> None:
    world = begin({"a": Fate(frozenset(), "learned")}, 1, None)
    for _ in range(10):
        del world.pending["a"]
        world.tell(Lost("a", progressed=True))
    assert world.launched == ["a"] * 11 and not world.state.running["a"].stopping
    for _ in range(2):
        world.pending.pop("a", None)
        world.tell(Lost("a"))
    assert world.pending["a"] == Ended("a", "failed")
    world.happen("a")
    assert world.state.ended == {"a": "failed"} and world.finish == Finish("nothing is left", False)


@pytest.mark.parametrize(
    ("proposal", "reason"),
    [
        (Proposal("b", frozenset(["a"])), "'b' needs 'a', which is neither learned nor in progress"),
        (Proposal("b", frozenset(["b"])), "'b' needs 'b', which is neither learned nor in progress"),
        (Proposal("old"), "'old' is already learned or in progress"),
        (Proposal("weak one"), "'weak one' has ended as weak"),
        (Proposal("b", frozenset(["weak one"])), "'b' needs 'weak one', which ended as weak"),
    ],
)
def test_a_proposal_that_cannot_be_served_is_refused_and_does_not_hang(proposal: Proposal, reason: str) -> None:
    state = State(learned=frozenset(["old"]), ended={"weak one": "weak"}, asked=True)
    state, actions = next_actions(state, Proposed(proposal))
    assert actions == (Finish(reason, False),) and not state.queue


def test_what_is_learned_after_all_counts_as_learned_alone() -> None:
    state = State(ended={"a": "weak"}, asked=True)
    state, _ = next_actions(state, RetryRequested("a"))
    state, _ = next_actions(state, Proposed(Proposal("a")))
    state, _ = next_actions(state, Trained("a"))
    state, _ = next_actions(replace(state, ended={"a": "weak"}), Ended("a", "learned"))
    assert state.learned == {"a"} and state.ended == {}


def test_a_weak_skill_frees_its_place_and_what_builds_on_it_leaves_the_queue() -> None:
    fates = {
        "a": Fate(frozenset(), "weak"),
        "b": Fate(frozenset(["a"]), "learned"),
        "c": Fate(frozenset(["b"]), "learned"),
        "d": Fate(frozenset(), "learned"),
    }
    world = begin(fates, 2, None)
    assert [p.name for p in world.state.queue] == ["b", "c"] and set(world.state.running) == {"a", "d"}
    world.happen("a")
    world.happen("a")
    assert world.state.queue == () and world.state.ended == {"a": "weak"} and world.finish is None
    world.happen("d")
    world.happen("d")
    assert world.finish == Finish("nothing is left", False)


def test_the_goal_is_reached_while_others_train() -> None:
    world = begin({"a": Fate(frozenset(), "learned"), "b": Fate(frozenset(), "learned")}, 2, None)
    world.state, actions = next_actions(world.state, NothingToPropose("the goal is learned", complete=True))
    assert actions == (Finish("the goal is learned", True),)
    assert next_actions(world.state, Trained("b")) == (world.state, ())


def test_what_is_trained_is_collected_before_it_finishes() -> None:
    world = begin({"a": Fate(frozenset(), "learned"), "b": Fate(frozenset(), "learned")}, 2, None)
    reached = NothingToPropose("the goal is learned", complete=True)
    world.proposal = lambda: reached  # type: ignore[method-assign]
    world.happen("b")
    world.state, actions = next_actions(world.state, reached)
    assert actions == ()
    world.happen("b")
    assert world.finish == Finish("the goal is learned", True) and set(world.state.running) == {"a"}
