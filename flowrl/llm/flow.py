"""A language model as the controller's proposer.

    propose -> specify -> feasible and novel? -> design -> write -> verify -> (candidates) -> train -> analyse -> refine

The model proposes a skill, specifies it, designs its reward and writes its code. Planner and sandbox check each answer
before anything is trained; a rejected one goes back with the reason. The home's drafts hold every decision, so that a
killed process continues where it was.
"""

from collections.abc import Callable, Collection, Mapping

from flowrl.errors import LibraryError, LLMError, ModuleError, PlanError, PlatformError, SpecError, TrainingError
from flowrl.library.drafts import Draft, Failure
from flowrl.llm.briefing import failed_runs
from flowrl.llm.context import FlowContext, Known, trials_of
from flowrl.llm.conversation import StageFailedError
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
        """End a pending question soon."""
        self.context.stopping.set()

    def propose(
        self, learned_or_pending: Collection[str], given_up: Mapping[str, str]
    ) -> Proposed | NothingToPropose | Respecified:
        """The next skill or why there is none.

        A model without an answer, or a sandbox that cannot work, pauses proposing and leaves training alone.
        """
        try:
            if (correction := self.review()) is not None:
                return correction
            return self._next(self.context.known(learned_or_pending, given_up))
        except (LLMError, PlatformError) as error:
            return NothingToPropose(str(error).rstrip("."))

    def review(self) -> Respecified | None:
        """A correction of a trained skill's specification.

        Skills trained since the last review are checked against statistics. A correction that never reached the
        library, as its process was stopped, is returned again.

        Raises:
            LLMError: it was stopped, or a replayed transcript lacks the question.
        """
        if self.review_fn is None:
            return None
        records = self.context.library.named()
        for draft in self.context.drafts:
            record = records.get(draft.skill.name)
            if record is None or record.name in self.unanalysed:
                continue
            if draft.reviewed < record.version:
                try:
                    corrected = self.review_fn(self.context, record)
                except (TrainingError, ModuleError, LibraryError) as error:
                    self.context.tell_fn(f"{record.name}: its analysis failed: {error}")
                    self.unanalysed.add(record.name)  # the next process tries again
                else:
                    draft = draft.model_copy(update={"reviewed": record.version, "corrected": corrected})
                    self.context.drafts.save(draft)
            if draft.corrected is not None and draft.corrected != record.spec:
                return Respecified(record.name, draft.corrected)
            if draft.corrected is not None:
                self.context.drafts.save(draft.model_copy(update={"corrected": None}))
        return None

    def _next(self, known: Known) -> Proposed | NothingToPropose:
        goal = self.context.settings.goal
        if goal is not None and self._is_reached(goal, known):
            return NothingToPropose(f"{goal} is learned", complete=True)
        if (proposal := self._from_drafts(known)) is not None:
            return Proposed(proposal)
        tried = {draft.skill.name for draft in self.context.drafts if _is_tried(draft, known)}
        if self.count is not None and len((known.names - self.context.all_trials()) | tried) >= self.count:
            return NothingToPropose("as many skills as requested are learned or pending")
        return self._from_model(known)

    def _is_reached(self, goal: str, known: Known) -> bool:
        try:
            plan(goal, known.learned, vocabulary=self.context.vocabulary, unlearned=known.written)
        except PlanError:
            return False
        return True

    def _from_drafts(self, known: Known) -> Proposal | None:
        """A written skill that is not trained yet. Or one of its candidates."""
        for draft in self.context.drafts:
            name = draft.skill.name
            if draft.status == "failed" or name in known.names or name in known.given_up:
                continue
            verdict = known.frontier.judge(known.written[name])
            if verdict.standing == "not novel" and not _is_tried(draft, known):
                self._give_up(draft, f"it is not novel any more: {verdict.reason}")
            if verdict.standing != "ready":
                continue  # a skill it needs was lost, or a candidate trains: it waits
            if (proposal := self._proposal(draft, known.written[name], known)) is not None:
                return proposal
        return None

    def _proposal(self, draft: Draft, skill: Skill, known: Known) -> Proposal | None:
        """The draft's next candidate or the skill itself."""
        try:
            needs = self._needs(skill, known)
        except PlanError as error:  # the search hit its limit, or a skill it needs was lost
            self._give_up(draft, str(error))
            return None
        if draft.status == "accepted":
            return Proposal(skill.name, needs)
        for trial, candidate in zip(trials_of(draft), draft.candidates, strict=True):
            is_open = candidate.success is None and not candidate.note
            if is_open and trial not in known.names and trial not in known.given_up:
                return Proposal(trial, needs, trial=True)
        return None if _is_tried(draft, known) or not self._choose(draft) else Proposal(skill.name, needs)

    def _needs(self, skill: Skill, known: Known) -> frozenset[str]:
        """The skills of its plan."""
        found = plan(skill.name, {**known.all, skill.name: skill}, vocabulary=self.context.vocabulary)
        return frozenset(dependencies(found))

    def _choose(self, draft: Draft) -> bool:
        """Choose the most successful candidate at equal frames. False if none was measured."""
        why = failed_runs(self.context.library)
        candidates = tuple(
            c if c.success is not None else c.model_copy(update={"note": c.note or why.get(trial, "")})
            for trial, c in zip(trials_of(draft), draft.candidates, strict=True)
        )
        draft = draft.model_copy(update={"candidates": candidates})
        measured = [(c.success.value or 0.0, -which) for which, c in enumerate(candidates) if c.success is not None]
        if not measured:
            notes = "; ".join(c.note for c in candidates if c.note) or "none reached its task"
            self._give_up(draft, f"none of its {len(candidates)} rewards could be tried: {notes}")
            return False
        best = -max(measured)[1]
        self.context.drafts.save(draft.using(best))
        shares = ", ".join(f"{which + 1}: {c.success or c.note or 'unknown'}" for which, c in enumerate(candidates))
        self.context.tell_fn(f"{draft.skill.name}: reward {best + 1} is the best of {len(candidates)} ({shares})")
        return True

    def _give_up(self, draft: Draft, reason: str) -> None:
        self.context.drafts.save(draft.model_copy(update={"status": "failed", "reason": reason}))
        self._fail(draft.skill.name, "train", reason)

    def _fail(self, name: str, stage: str, reason: str) -> None:
        self.context.drafts.fail(Failure(name=name, stage=stage, reason=reason))
        self.context.tell_fn(f"{name or 'the proposal'} is given up: {reason}")

    def _from_model(self, known: Known) -> Proposed | NothingToPropose:
        """Ask until a skill is accepted or patience ends."""
        patience = self.context.settings.patience
        for _ in range(patience):
            if self.context.stopping.is_set():
                return NothingToPropose("it was stopped")
            writer = Writer(self.context, known)
            try:
                idea = writer.propose()
                if idea.action == "continue":
                    needs = self._needs(self.context.base().skill(idea.name), known)
                    return Proposed(Proposal(idea.name, needs), again=True)
                draft = writer.write(idea)
            except (StageFailedError, PlanError, SpecError, ModuleError) as failed:
                stage = failed.stage if isinstance(failed, StageFailedError) else "propose"
                self._fail(writer.name, stage, str(failed))
                continue
            self.context.drafts.save(draft)
            proposal = self._proposal(draft, self.context.base().skill(draft.skill.name), known)
            if proposal is not None:
                return Proposed(proposal)
        return NothingToPropose(f"{patience} proposals of the model in a row failed")


def _is_tried(draft: Draft, known: Known) -> bool:
    """Whether a candidate of the draft is pending."""
    return any(trial in known.names for trial in trials_of(draft))
