"""One skill of a model up to verified code. Each answer is judged before the next question."""

from collections.abc import Collection, Mapping

from flowrl.knowledge.validate import name_problems, problems_among, problems_of
from flowrl.library.drafts import Draft, RewardCandidate, RewardDesign
from flowrl.llm.answers import CodeAnswer, DesignAnswer, ProposeAnswer, RejectedError, SpecAnswer, own_functions
from flowrl.llm.briefing import failed_runs, failures_text, reach_text, shaping_text, skill_lines, success_texts
from flowrl.llm.context import FlowContext, Known
from flowrl.llm.conversation import StageFailedError
from flowrl.llm.prompts import load_prompt
from flowrl.paths import slug
from flowrl.planning.symbolic import gives
from flowrl.schema.home import SkillRecord
from flowrl.schema.skill import Skill, SkillSpec

_MAX_VERSIONS = 4
"""A weak skill with more versions is not trained further."""
_PLACEHOLDER = "def is_done():\n    return True\n\n\ndef reward():\n    return 0.0\n"


class Writer:
    """Takes one skill through the stages.

    Attributes:
        name: of the skill, once it has one.
    """

    def __init__(self, context: FlowContext, known: Known):
        self.context, self.known = context, known
        self.name = ""

    def propose(self) -> ProposeAnswer:
        """The model's proposal. A new skill with a free name, or a weak one to continue.

        Raises:
            StageFailedError, LLMError: there is none.
        """
        known, records, trials = self.known, self.context.library.named(), self.context.all_trials()
        drafted = {draft.skill.name for draft in self.context.drafts}
        taken = sorted((drafted | records.keys() | known.names | known.given_up.keys()) - trials)
        weak = {n: record for n, record in records.items() if record.status == "weak" and n in known.written}
        reached, unreached = reach_text(known.frontier, self.context.vocabulary)
        prompt = load_prompt("propose").render(
            goal=self.context.settings.goal or "",
            learned=skill_lines(known.learned.values()),
            running=skill_lines(skill for name, skill in known.all.items() if name not in known.learned),
            reached=reached,
            unreached=unreached,
            names_taken=", ".join(taken) or "none",
            success=success_texts(records),
            failures=self._failures(weak, {n: ended for n, ended in known.given_up.items() if n not in trials}),
        )
        again = [n for n, record in weak.items() if n not in known.names and record.version <= _MAX_VERSIONS]

        def judge(answer: ProposeAnswer) -> ProposeAnswer:
            if answer.action == "new":
                self._require_new(answer, taken)
            elif answer.name not in again:
                raise RejectedError(
                    f"{answer.name!r} can't be trained further: only weak skills can. These are: "
                    f"{', '.join(again) or 'none at present'}. Name a new skill."
                )
            return answer

        idea = self.context.conversation.ask("propose", "", prompt, ProposeAnswer, judge)
        self.name = idea.name
        return idea

    def _failures(self, weak: Mapping[str, SkillRecord], ended: Mapping[str, str]) -> str:
        """What did not work, drafts out of reach among it."""
        untried = [skill for name, skill in self.known.written.items() if name not in self.known.all]
        standings = [self.known.frontier.judge(skill) for skill in untried]
        waiting = {each.skill: each.reason for each in standings if each.standing == "out of reach"}
        return failures_text(self.context.drafts.failures(), weak, ended, failed_runs(self.context.library), waiting)

    def _require_new(self, answer: ProposeAnswer, taken: Collection[str]) -> None:
        """Require a free name, a description and a known gain."""
        problems = [f"The name {answer.name!r}: {problem}" for problem in name_problems(answer.name)]
        if slug(answer.name).casefold() in {slug(name).casefold() for name in taken}:
            problems.append(f"The name {answer.name!r} is taken; name another skill, or give this one another name.")
        if not answer.description:
            problems.append("The description is empty; say in a sentence what the player does and until when.")
        if (problem := self.context.vocabulary.problem(answer.gain.split(" ")[-1])) is not None:
            problems.append(f"gain: {problem.rstrip('.')}. Write one fluent, exactly as in the list.")
        if problems:
            raise RejectedError("\n".join(problems))

    def write(self, idea: ProposeAnswer) -> Draft:
        """The skill with specification and verified rewards.

        Raises:
            StageFailedError, LLMError: a stage failed.
        """
        spec = self._specify(idea)
        skill = Skill(name=idea.name, description=idea.description, spec=spec, code=_PLACEHOLDER, trusted=False)
        candidates: list[RewardCandidate] = []
        failed: list[StageFailedError] = []
        for design in self._design(skill):
            try:
                candidates.append(RewardCandidate(design=design, code=self._code(skill, design)))
            except StageFailedError as error:
                failed.append(error)
        if not candidates:
            raise failed[-1]
        draft = Draft(skill=skill, gain=idea.gain, candidates=tuple(candidates), status="trial")
        return draft if len(candidates) > 1 else draft.using(0)

    def _specify(self, idea: ProposeAnswer) -> SkillSpec:
        prompt = load_prompt("specify").render(
            name=idea.name, description=idea.description, gain=idea.gain, learned=skill_lines(self.known.all.values())
        )

        def judge(answer: SpecAnswer) -> SkillSpec:
            return self._accepted(answer.spec(idea.name), idea)

        return self.context.conversation.ask("specify", idea.name, prompt, SpecAnswer, judge)

    def _accepted(self, spec: SkillSpec, idea: ProposeAnswer) -> SkillSpec:
        """The specification with a range of n."""
        skill = Skill(name=idea.name, description=idea.description, spec=spec, code=_PLACEHOLDER)
        vocabulary = self.context.vocabulary
        problems = problems_of(skill, vocabulary) or problems_among([skill], self.known.all.values(), vocabulary)
        gain = idea.gain.split(" ")[-1]
        if not problems and gain not in gives(spec, vocabulary):
            lacks = f"it was to bring {gain}, but does not yield it. Add it to `yields`"
            problems.append(f"{idea.name!r}, yields: {lacks}.")
        if spec.n_range is None and spec.scales:
            # Required now: a range that followed from later skills would change a run that has begun.
            problems.append(f"{idea.name!r}, n_range: amounts grow with n, so say for which: for example [1, 4].")
        if spec.n_range is not None and spec.n_range[1] > 1 and not spec.scales:
            problems.append(f"{idea.name!r}, n_range: no amount in `yields` grows with n, so write [1, 1].")
        if problems:
            raise RejectedError("\n".join(problems))
        spec = spec if spec.n_range is not None else spec.model_copy(update={"n_range": (1, 1)})
        verdict = self.known.frontier.judge(skill.model_copy(update={"spec": spec}))
        if verdict.standing != "ready":
            raise RejectedError(f"{idea.name!r} with this specification is {verdict.standing}: {verdict.reason}.")
        return spec

    def _design(self, skill: Skill) -> tuple[RewardDesign, ...]:
        count, spec = self.context.settings.candidates, SpecAnswer.of(skill.spec).text()
        prompt = load_prompt("design").render(
            name=skill.name, description=skill.description, spec=spec, candidates=count
        )

        def judge(answer: DesignAnswer) -> tuple[RewardDesign, ...]:
            if len(answer.designs) != count:
                raise RejectedError(f"There are {len(answer.designs)} designs in it; give {count}.")
            if len(set(answer.designs)) < count:
                raise RejectedError("Two of the designs are the same; give different ones.")
            return answer.designs

        return self.context.conversation.ask("design", skill.name, prompt, DesignAnswer, judge)

    def _code(self, skill: Skill, design: RewardDesign) -> str:
        expert = self.context.library.free_expert()
        prompt = load_prompt("write").render(
            name=skill.name,
            spec=SpecAnswer.of(skill.spec).text(),
            done_when=design.done_when,
            terms=list(design.terms),
            farming=design.farming,
            expert=expert,
            shaping=shaping_text(),
        )

        def judge(answer: CodeAnswer) -> str:
            code = own_functions(answer.code, expert)
            self.context.tell_fn(f"{skill.name}: its code is verified in the sandbox")
            verdict = self.context.verify_fn(skill.model_copy(update={"code": code}), self.context.env)
            if not verdict.ok:
                raise RejectedError(verdict.error)
            return code

        return self.context.conversation.ask("write", skill.name, prompt, CodeAnswer, judge)
