"""One skill from a model, from its name to verified code; every answer is judged before the next thing is asked."""

from collections.abc import Collection, Mapping

from flowrl.errors import SpecError
from flowrl.knowledge.validate import name_problems, problems_among, problems_of
from flowrl.library.drafts import Draft, RewardCandidate, RewardDesign
from flowrl.llm.answers import CodeAnswer, DesignAnswer, ProposeAnswer, SpecAnswer
from flowrl.llm.briefing import shaping_text
from flowrl.llm.code_answer import CodeError, own_functions
from flowrl.llm.context import FlowContext, Known
from flowrl.llm.conversation import RejectedError, StageFailedError
from flowrl.llm.progress_text import failed_runs, failures_text, reach_text, skill_lines, success_texts
from flowrl.llm.prompts import load_prompt
from flowrl.paths import slug
from flowrl.planning.symbolic import gives
from flowrl.schema.skill import Skill, SkillSpec

_CONTINUATIONS = 4
"""A weak skill that has as many versions is not trained further."""
_PLACEHOLDER = "def is_done():\n    return True\n\n\ndef reward():\n    return 0.0\n"


class Writer:
    """Takes one skill through the stages.

    Attributes:
        name: of the skill, once it has one.
    """

    def __init__(self, context: FlowContext, known: Known):
        self.context, self.known = context, known
        self.name = ""

    def propose(self, learned_or_pending: Collection[str], given_up: Mapping[str, str]) -> ProposeAnswer:
        """Returns the model's proposal: a new skill with a name of its own, or a weak one to go on with.

        Raises:
            StageFailedError, LLMError: it has none.
        """
        records = self.context.library.named()
        reached, unreached = reach_text(self.known.frontier, self.context.vocabulary)
        drafted = {draft.skill.name for draft in self.context.drafts}
        tried = self.context.candidate_names()
        taken = sorted((drafted | records.keys() | set(learned_or_pending) | given_up.keys()) - tried)
        ended = {name: outcome for name, outcome in given_up.items() if name not in tried}
        own = self.context.base().named()
        weak = {n: record for n, record in records.items() if record.status == "weak" and n in own}
        again = [n for n, record in weak.items() if n not in learned_or_pending and record.version <= _CONTINUATIONS]
        prompt = load_prompt("propose").render(
            goal=self.context.settings.goal or "",
            learned=skill_lines(self.known.learned.values()),
            running=skill_lines(skill for name, skill in self.known.all.items() if name not in self.known.learned),
            reached=reached,
            unreached=unreached,
            names_taken=", ".join(taken) or "none",
            success=success_texts(records),
            failures=failures_text(
                self.context.drafts.failures(), weak, ended, failed_runs(self.context.library), self._waiting()
            ),
        )

        def judge(answer: ProposeAnswer) -> ProposeAnswer:
            self._judge_name(answer, taken, again)
            return answer

        idea = self.context.conversation.ask("propose", "", prompt, ProposeAnswer, judge)
        self.name = idea.name
        return idea

    def _waiting(self) -> dict[str, str]:
        """Returns what was written before and waits, each with what it waits for."""
        verdicts = {
            skill.name: self.known.frontier.judge(skill)
            for skill in self.context.base().skills
            if skill.name not in self.known.all
        }
        return {name: verdict.reason for name, verdict in verdicts.items() if verdict.standing == "out of reach"}

    def _judge_name(self, answer: ProposeAnswer, taken: Collection[str], weak: Collection[str]) -> None:
        if answer.action == "continue":
            if answer.name not in weak:
                raise RejectedError(
                    f"{answer.name!r} can't be trained further: only weak skills can. These are: "
                    f"{', '.join(weak) or 'none at present'}. Name a new skill."
                )
            return
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
        """Returns the skill with its specification and as many verified rewards as are to be tried.

        Raises:
            StageFailedError, LLMError: one of the stages came to nothing.
        """
        spec = self._specify(idea)
        skill = Skill(name=idea.name, description=idea.description, spec=spec, code=_PLACEHOLDER, trusted=False)
        designs = self._design(skill)
        candidates: list[RewardCandidate] = []
        failed: StageFailedError | None = None
        for design in designs:
            try:
                candidates.append(RewardCandidate(design=design, code=self._code(skill, design)))
            except StageFailedError as error:
                failed = error
        if not candidates:
            assert failed is not None
            raise failed
        draft = Draft(skill=skill, gain=idea.gain, candidates=tuple(candidates), status="trial")
        return draft if len(candidates) > 1 else draft.using(0)

    def _lines(self) -> list[object]:
        return list(skill_lines(self.known.all.values()))

    def _specify(self, idea: ProposeAnswer) -> SkillSpec:
        prompt = load_prompt("specify").render(
            name=idea.name, description=idea.description, gain=idea.gain, learned=self._lines()
        )

        def judge(answer: SpecAnswer) -> SkillSpec:
            return self.judged_spec(answer, idea)

        return self.context.conversation.ask("specify", idea.name, prompt, SpecAnswer, judge)

    def judged_spec(self, answer: SpecAnswer, idea: ProposeAnswer) -> SkillSpec:
        """Returns the specification that an answer gives.

        Raises:
            RejectedError: it contradicts the game or itself, does not bring what was promised, is out of reach of the
                known skills, or brings nothing that these do not reach.
        """
        try:
            spec = answer.spec(idea.name)
        except SpecError as error:
            raise RejectedError(str(error)) from None
        skill = Skill(name=idea.name, description=idea.description, spec=spec, code=_PLACEHOLDER)
        vocabulary = self.context.vocabulary
        problems = problems_of(skill, vocabulary) or problems_among([skill], self.known.all.values(), vocabulary)
        gain = idea.gain.split(" ")[-1]
        if not problems and gain not in gives(spec, vocabulary):
            problems.append(
                f"{idea.name!r}, yields: it was to bring {gain}, but does not yield it. Add it to `yields`."
            )
        if spec.n_range is None and spec.scales:
            # Said here and now: a range that followed from later skills would change a run that has begun.
            problems.append(f"{idea.name!r}, n_range: amounts grow with n, so say for which: for example [1, 4].")
        if spec.n_range is not None and spec.n_range[1] > 1 and not spec.scales:
            problems.append(f"{idea.name!r}, n_range: no amount in `yields` grows with n, so write [1, 1].")
        if problems:
            raise RejectedError("\n".join(problems))
        spec = spec if spec.n_range is not None else spec.model_copy(update={"n_range": (1, 1)})
        skill = skill.model_copy(update={"spec": spec})
        verdict = self.known.frontier.judge(skill)
        if verdict.standing != "ready":
            raise RejectedError(f"{idea.name!r} with this specification is {verdict.standing}: {verdict.reason}.")
        return spec

    def _design(self, skill: Skill) -> tuple[RewardDesign, ...]:
        wanted = self.context.settings.candidates
        prompt = load_prompt("design").render(
            name=skill.name,
            description=skill.description,
            spec=SpecAnswer.of(skill.spec).text(),
            candidates=wanted,
        )

        def judge(answer: DesignAnswer) -> tuple[RewardDesign, ...]:
            if len(answer.designs) != wanted:
                raise RejectedError(f"There are {len(answer.designs)} designs in it; give {wanted}.")
            if len(set(answer.designs)) < wanted:
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
            try:
                code = own_functions(answer.code, expert)
            except CodeError as error:
                raise RejectedError(str(error)) from None
            self.context.tell_fn(f"{skill.name}: its code is verified in the sandbox")
            verdict = self.context.verify_fn(skill.model_copy(update={"code": code}), self.context.env)
            if not verdict.ok:
                raise RejectedError(verdict.error)
            return code

        return self.context.conversation.ask("write", skill.name, prompt, CodeAnswer, judge)
