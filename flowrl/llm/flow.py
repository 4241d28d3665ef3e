"""`Flow`: a language model in the loop. It proposes a skill, specifies it, designs its reward and writes its code; each
answer is held against planner and sandbox before anything is trained, and goes back with the reason if it fails.

    propose -> specify -> feasible and novel? -> design -> write -> verify -> (candidates) -> train -> analyse -> refine

Training is the controller's; `Flow` is its proposer. What was decided lies in the home's drafts, so that a process that
is killed goes on where it was.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from flowrl.config import RunConfig
from flowrl.errors import LibraryError, LLMError, ModuleError, PlanError, PlatformError, SpecError, TrainingError
from flowrl.growing.reward_trials import candidate_name
from flowrl.knowledge.base import KnowledgeBase, fill_ranges, load_base
from flowrl.library.catalog import known_skills
from flowrl.library.drafts import Draft, Drafts, Failure
from flowrl.library.home import SkillLibrary
from flowrl.llm.conversation import Conversation, StageFailedError
from flowrl.llm.progress_text import failed_runs
from flowrl.llm.transport.client import JudgedLLM, Message
from flowrl.llm.writer import Writer
from flowrl.parallel.scheduler import NothingToPropose, Proposal, Proposed, Respecified
from flowrl.planning.frontier import Frontier
from flowrl.planning.planner import dependencies, plan
from flowrl.schema.home import SkillRecord
from flowrl.schema.skill import Skill, SkillSpec
from flowrl.verify.verdict import Verdict
from flowrl.verify.verify import verify


@dataclass(frozen=True)
class FlowSettings:
    """How a model is worked with.

    Attributes:
        goal: what the library must reach; None: whatever opens up the game.
        attempts: answers for each question, after which the proposal has failed.
        patience: proposals in a row that may fail before nothing more is asked until something changes.
        candidates: rewards that are tried for each skill.
        candidate_frames: how long each is trained for the comparison.
        review: whether specifications are held against statistics once a skill was trained.
    """

    goal: str | None = None
    attempts: int = 4
    patience: int = 4
    candidates: int = 1
    candidate_frames: int = 400_000
    review: bool = True


@dataclass(frozen=True)
class Known:
    """The skills that a proposal may build on.

    Attributes:
        learned: those of the library.
        all: these and those that are being learned or wait for it.
    """

    learned: Mapping[str, Skill]
    all: Mapping[str, Skill]
    frontier: Frontier


class Flow:
    """Proposes skills that a language model writes.

    Args:
        briefing: what the model is told of the game, see `briefing.py`.
        tell_fn: is told in a line what is going on; may be called from another thread.
        verify_fn: holds code against the sandbox.
        review_fn: holds a trained skill's specification against statistics, and returns the corrected one, or None
            where it may stay; None: that is not done.
        stopped: is set when nobody waits for an answer any more.
        count: learned skills wanted; nothing new is asked for while as many are learned or under way.
    """

    in_background = True
    """A model takes its time: the controller asks in a thread of its own."""

    def __init__(
        self,
        llm: JudgedLLM,
        library: SkillLibrary,
        config: RunConfig,
        briefing: Message,
        settings: FlowSettings,
        tell_fn: Callable[[str], None],
        verify_fn: Callable[[Skill, str], Verdict] = verify,
        review_fn: "Callable[[Flow, SkillRecord], SkillSpec | None] | None" = None,
        stopped: threading.Event | None = None,
        count: int | None = None,
    ):
        self.llm, self.library, self.config, self.settings = llm, library, config, settings
        self.tell_fn, self.verify_fn, self.review_fn = tell_fn, verify_fn, review_fn
        self.env = library.description.env
        self.vocabulary = load_base(self.env).vocabulary
        self.drafts = Drafts(library.paths)
        self.conversation = Conversation(llm, briefing, settings.attempts, tell_fn)
        self.stopping = stopped or threading.Event()
        self.count = count
        self.unanalysed: set[str] = set()

    def stop(self) -> None:
        """Makes whoever waits for the model give up soon."""
        self.stopping.set()

    def base(self) -> KnowledgeBase:
        """Returns the skills that the model wrote, each as the library has come to know it, ranges of n filled in."""
        records = self.library.named()
        skills = [
            draft.skill.model_copy(update={"spec": records[draft.skill.name].spec})
            if draft.skill.name in records
            else draft.skill
            for draft in self.drafts
            if draft.status != "failed"
        ]
        stated = frozenset(skill.name for skill in skills if skill.spec.n_range is not None)
        return KnowledgeBase(self.env, self.vocabulary, fill_ranges(skills, self.vocabulary), stated)

    def propose(
        self, learned_or_pending: Collection[str], given_up: Mapping[str, str]
    ) -> Proposed | NothingToPropose | Respecified:
        """Returns the next skill to train, whose code has been verified; or why there is none.

        A model that gives no answer, or a sandbox that cannot do its work, ends the proposing until something changes,
        and never what is being trained.
        """
        try:
            return self._next(learned_or_pending, given_up)
        except (LLMError, PlatformError) as error:
            return NothingToPropose(str(error).rstrip("."))

    def known(self, learned_or_pending: Collection[str]) -> Known:
        """Returns what may be built on, all that is under way taken for learned."""
        learned = known_skills(self.library)
        under_way = {skill.name: skill for skill in self.base().skills if skill.name in learned_or_pending}
        everything = under_way | learned
        return Known(learned, everything, Frontier(everything, self.vocabulary, self.base().skills))

    def needs(self, skill: Skill, known: Known) -> frozenset[str]:
        """Returns the skills of its plan.

        Raises:
            PlanError: none of the known skills lead to it.
        """
        found = plan(skill.name, {**known.all, skill.name: skill}, vocabulary=self.vocabulary)
        return frozenset(dependencies(found))

    def _next(
        self, learned_or_pending: Collection[str], given_up: Mapping[str, str]
    ) -> Proposed | NothingToPropose | Respecified:
        if (reviewed := self.review()) is not None:
            return reviewed
        known = self.known(learned_or_pending)
        if self.settings.goal is not None and self._is_reached(self.settings.goal, known):
            return NothingToPropose(f"{self.settings.goal} is learned", complete=True)
        if (written := self._written(known, learned_or_pending, given_up)) is not None:
            return written
        if self.count is not None and len(self.wanted(learned_or_pending)) >= self.count:
            return NothingToPropose("as many skills as are wanted are learned or under way")
        return self._new(known, learned_or_pending, given_up)

    def wanted(self, learned_or_pending: Collection[str]) -> set[str]:
        """Returns the skills that are learned or under way, one whose candidates are tried among them."""
        tried = {draft.skill.name for draft in self.drafts if _is_tried(draft, learned_or_pending)}
        return (set(learned_or_pending) - self.candidate_names()) | tried

    def candidate_names(self) -> set[str]:
        """Returns the names of all runs that try a reward."""
        return {candidate_name(d.skill.name, which) for d in self.drafts for which in range(len(d.candidates))}

    def _is_reached(self, goal: str, known: Known) -> bool:
        try:
            plan(goal, known.learned, vocabulary=self.vocabulary, unlearned=self.base().named())
        except PlanError:
            return False
        return True

    def review(self) -> Respecified | None:
        """Returns a correction of what a skill is said to need and bring, None where there is none to make.

        What was trained since the last time is held against what is measured of it; a correction that the library
        does not have yet, as the process that found it was stopped, is given again.

        Raises:
            LLMError: it was stopped, or a transcript that is replayed lacks the question.
        """
        if self.review_fn is None or not self.settings.review:
            return None
        records = self.library.named()
        for draft in self.drafts:
            record = records.get(draft.skill.name)
            if record is None or record.name in self.unanalysed:
                continue
            if draft.reviewed < record.version:
                draft = self._reviewed(draft, record)
            if draft.corrected is None:
                continue
            if draft.corrected != record.spec:
                return Respecified(record.name, draft.corrected)
            self.drafts.save(draft.model_copy(update={"corrected": None}))
        return None

    def _reviewed(self, draft: Draft, record: SkillRecord) -> Draft:
        """Returns the draft with what came of a review; an analysis that failed is tried again by the next process."""
        assert self.review_fn is not None
        try:
            spec = self.review_fn(self, record)
        except (TrainingError, ModuleError, LibraryError) as error:
            self.tell_fn(f"{record.name}: its analysis came to nothing: {error}")
            self.unanalysed.add(record.name)
            return draft
        reviewed = draft.model_copy(update={"reviewed": record.version, "corrected": spec})
        self.drafts.save(reviewed)
        return reviewed

    def _written(
        self, known: Known, learned_or_pending: Collection[str], given_up: Mapping[str, str]
    ) -> Proposed | None:
        """Returns a skill that was written before and waits to be trained, or one of its candidates."""
        base = self.base().named()
        for draft in self.drafts:
            name = draft.skill.name
            if draft.status == "failed" or name in learned_or_pending or name in given_up:
                continue
            verdict = known.frontier.judge(base[name])
            if verdict.standing == "not novel" and not _is_tried(draft, learned_or_pending):
                self._give_up(draft, f"it is not novel by now: {verdict.reason}")
            if verdict.standing != "ready":
                continue  # what it needs was lost, or a candidate is under way: it waits
            if (proposal := self._proposal(draft, base[name], known, learned_or_pending, given_up)) is not None:
                return Proposed(proposal)
        return None

    def _proposal(
        self, draft: Draft, skill: Skill, known: Known, learned_or_pending: Collection[str], given_up: Mapping[str, str]
    ) -> Proposal | None:
        """Returns the proposal of a draft: its next candidate while these are compared, else the skill itself."""
        try:
            needs = self.needs(skill, known)
        except PlanError as error:  # the search stopped at its limit, or what it needs was lost
            self._give_up(draft, str(error))
            return None
        if draft.status == "accepted":
            return Proposal(skill.name, needs)
        for which, candidate in enumerate(draft.candidates):
            name = candidate_name(skill.name, which)
            if (
                candidate.success is None
                and not candidate.note
                and name not in learned_or_pending
                and name not in given_up
            ):
                return Proposal(name, needs, trial=True)
        if _is_tried(draft, learned_or_pending):
            return None
        chosen = self._choose(draft)
        return None if chosen is None else Proposal(skill.name, needs)

    def _choose(self, draft: Draft) -> Draft | None:
        """Settles which candidate is used: the one with the best measured success at equal frames."""
        why = failed_runs(self.library)
        noted = []
        for which, candidate in enumerate(draft.candidates):
            note = candidate.note or why.get(candidate_name(draft.skill.name, which), "")
            noted.append(candidate if candidate.success is not None else candidate.model_copy(update={"note": note}))
        draft = draft.model_copy(update={"candidates": tuple(noted)})
        measured = [(c.success.value or 0.0, -k) for k, c in enumerate(draft.candidates) if c.success is not None]
        if not measured:
            notes = "; ".join(c.note for c in draft.candidates if c.note) or "none reached its task"
            self._give_up(draft, f"none of its {len(draft.candidates)} rewards could be tried: {notes}")
            return None
        chosen = draft.using(-max(measured)[1])
        self.drafts.save(chosen)
        shares = ", ".join(f"{k + 1}: {c.success or c.note or 'unknown'}" for k, c in enumerate(draft.candidates))
        self.tell_fn(
            f"{draft.skill.name}: reward {chosen.chosen + 1} is the best of {len(draft.candidates)} ({shares})"
        )
        return chosen

    def _give_up(self, draft: Draft, reason: str) -> None:
        self.drafts.save(draft.model_copy(update={"status": "failed", "reason": reason}))
        self.drafts.fail(Failure(name=draft.skill.name, stage="train", reason=reason))
        self.tell_fn(f"{draft.skill.name} is given up: {reason}")

    def _new(
        self, known: Known, learned_or_pending: Collection[str], given_up: Mapping[str, str]
    ) -> Proposed | NothingToPropose:
        """Asks the model for a skill until one stands, as often as patience allows."""
        for _ in range(self.settings.patience):
            if self.stopping.is_set():
                return NothingToPropose("it was stopped")
            writer = Writer(self, known)
            try:
                idea = writer.propose(learned_or_pending, given_up)
                if idea.action == "continue":
                    skill = self.base().skill(idea.name)
                    return Proposed(Proposal(skill.name, self.needs(skill, known)), again=True)
                draft = writer.write(idea)
            except (StageFailedError, PlanError, SpecError, ModuleError) as failed:
                stage = failed.stage if isinstance(failed, StageFailedError) else "propose"
                self.drafts.fail(Failure(name=writer.name, stage=stage, reason=str(failed)))
                self.tell_fn(f"{writer.name or 'the proposal'} is given up: {failed}")
                continue
            self.drafts.save(draft)
            proposal = self._proposal(draft, self.base().skill(draft.skill.name), known, learned_or_pending, given_up)
            if proposal is not None:
                return Proposed(proposal)
        return NothingToPropose(f"{self.settings.patience} proposals of the model in a row came to nothing")


def _is_tried(draft: Draft, learned_or_pending: Collection[str]) -> bool:
    """Whether a candidate of the draft is being trained, or waits for it."""
    return any(candidate_name(draft.skill.name, which) in learned_or_pending for which in range(len(draft.candidates)))
