"""`Flow`: a language model in the loop. It proposes a skill, specifies it, designs its reward and writes its code; each
answer is held against planner and sandbox before anything is trained, and goes back with the reason if it fails.

    propose -> specify -> feasible and novel? -> design -> write -> verify -> (candidates) -> train -> analyse -> refine

Training is the controller's; `Flow` is its proposer. What was decided lies in the home's drafts, so that a process that
is killed goes on where it was.
"""

from collections.abc import Callable, Collection, Mapping

from flowrl.errors import LibraryError, LLMError, ModuleError, PlanError, PlatformError, SpecError, TrainingError
from flowrl.growing.reward_trials import candidate_name
from flowrl.library.drafts import Draft, Failure
from flowrl.llm.context import FlowContext, Known
from flowrl.llm.conversation import StageFailedError
from flowrl.llm.progress_text import failed_runs
from flowrl.llm.writer import Writer
from flowrl.parallel.scheduler import NothingToPropose, Proposal, Proposed, Respecified
from flowrl.planning.planner import dependencies, plan
from flowrl.schema.home import SkillRecord
from flowrl.schema.skill import Skill, SkillSpec


class Flow:
    """Proposes skills that a language model writes.

    Args:
        review_fn: checks a trained skill's specification against statistics; a corrected one, or None to keep it.
        count: learned skills wanted; no new ones are requested while enough are learned or pending.
    """

    in_background = True
    """A model takes its time: the controller asks in a thread of its own."""

    def __init__(
        self,
        context: FlowContext,
        review_fn: Callable[[FlowContext, SkillRecord], SkillSpec | None] | None = None,
        count: int | None = None,
    ):
        self.context, self.review_fn, self.count = context, review_fn, count
        self.unanalysed: set[str] = set()

    def stop(self) -> None:
        """Makes a pending question to the model end soon."""
        self.context.stopping.set()

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

    def needs(self, skill: Skill, known: Known) -> frozenset[str]:
        """Returns the skills of its plan.

        Raises:
            PlanError: none of the known skills lead to it.
        """
        found = plan(skill.name, {**known.all, skill.name: skill}, vocabulary=self.context.vocabulary)
        return frozenset(dependencies(found))

    def _next(
        self, learned_or_pending: Collection[str], given_up: Mapping[str, str]
    ) -> Proposed | NothingToPropose | Respecified:
        if (reviewed := self.review()) is not None:
            return reviewed
        known = self.context.known(learned_or_pending)
        if self.context.settings.goal is not None and self._is_reached(self.context.settings.goal, known):
            return NothingToPropose(f"{self.context.settings.goal} is learned", complete=True)
        if (written := self._written(known, learned_or_pending, given_up)) is not None:
            return written
        if self.count is not None and len(self.wanted(learned_or_pending)) >= self.count:
            return NothingToPropose("as many skills as are wanted are learned or under way")
        return self._new(known, learned_or_pending, given_up)

    def wanted(self, learned_or_pending: Collection[str]) -> set[str]:
        """Returns the skills that are learned or under way, one whose candidates are tried among them."""
        tried = {draft.skill.name for draft in self.context.drafts if _is_tried(draft, learned_or_pending)}
        return (set(learned_or_pending) - self.context.candidate_names()) | tried

    def _is_reached(self, goal: str, known: Known) -> bool:
        try:
            plan(goal, known.learned, vocabulary=self.context.vocabulary, unlearned=self.context.base().named())
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
        if self.review_fn is None:
            return None
        records = self.context.library.named()
        for draft in self.context.drafts:
            record = records.get(draft.skill.name)
            if record is None or record.name in self.unanalysed:
                continue
            if draft.reviewed < record.version:
                draft = self._reviewed(draft, record)
            if draft.corrected is None:
                continue
            if draft.corrected != record.spec:
                return Respecified(record.name, draft.corrected)
            self.context.drafts.save(draft.model_copy(update={"corrected": None}))
        return None

    def _reviewed(self, draft: Draft, record: SkillRecord) -> Draft:
        """Returns the draft with what came of a review; an analysis that failed is tried again by the next process."""
        assert self.review_fn is not None
        try:
            spec = self.review_fn(self.context, record)
        except (TrainingError, ModuleError, LibraryError) as error:
            self.context.tell_fn(f"{record.name}: its analysis came to nothing: {error}")
            self.unanalysed.add(record.name)
            return draft
        reviewed = draft.model_copy(update={"reviewed": record.version, "corrected": spec})
        self.context.drafts.save(reviewed)
        return reviewed

    def _written(
        self, known: Known, learned_or_pending: Collection[str], given_up: Mapping[str, str]
    ) -> Proposed | None:
        """Returns a skill that was written before and waits to be trained, or one of its candidates."""
        base = self.context.base().named()
        for draft in self.context.drafts:
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
        why = failed_runs(self.context.library)
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
        self.context.drafts.save(chosen)
        shares = ", ".join(f"{k + 1}: {c.success or c.note or 'unknown'}" for k, c in enumerate(draft.candidates))
        self.context.tell_fn(
            f"{draft.skill.name}: reward {chosen.chosen + 1} is the best of {len(draft.candidates)} ({shares})"
        )
        return chosen

    def _give_up(self, draft: Draft, reason: str) -> None:
        self.context.drafts.save(draft.model_copy(update={"status": "failed", "reason": reason}))
        self.context.drafts.fail(Failure(name=draft.skill.name, stage="train", reason=reason))
        self.context.tell_fn(f"{draft.skill.name} is given up: {reason}")

    def _new(
        self, known: Known, learned_or_pending: Collection[str], given_up: Mapping[str, str]
    ) -> Proposed | NothingToPropose:
        """Asks the model for a skill until one stands, as often as patience allows."""
        for _ in range(self.context.settings.patience):
            if self.context.stopping.is_set():
                return NothingToPropose("it was stopped")
            writer = Writer(self.context, known)
            try:
                idea = writer.propose(learned_or_pending, given_up)
                if idea.action == "continue":
                    skill = self.context.base().skill(idea.name)
                    return Proposed(Proposal(skill.name, self.needs(skill, known)), again=True)
                draft = writer.write(idea)
            except (StageFailedError, PlanError, SpecError, ModuleError) as failed:
                stage = failed.stage if isinstance(failed, StageFailedError) else "propose"
                self.context.drafts.fail(Failure(name=writer.name, stage=stage, reason=str(failed)))
                self.context.tell_fn(f"{writer.name or 'the proposal'} is given up: {failed}")
                continue
            self.context.drafts.save(draft)
            proposal = self._proposal(
                draft, self.context.base().skill(draft.skill.name), known, learned_or_pending, given_up
            )
            if proposal is not None:
                return Proposed(proposal)
        return NothingToPropose(f"{self.context.settings.patience} proposals of the model in a row came to nothing")


def _is_tried(draft: Draft, learned_or_pending: Collection[str]) -> bool:
    """Whether a candidate of the draft is being trained, or waits for it."""
    return any(candidate_name(draft.skill.name, which) in learned_or_pending for which in range(len(draft.candidates)))
