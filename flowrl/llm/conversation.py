"""Asking until an answer is usable. A rejected one goes back with the exact reason."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from flowrl.llm.answers import AnswerT, RejectedError, parse_answer
from flowrl.llm.prompts import load_prompt
from flowrl.llm.transport.client import JudgedLLM, Message, ModelRequest

Result = TypeVar("Result")
_MAX_REASON = 300


class StageFailedError(Exception):
    """A stage without a usable answer.

    Attributes:
        stage: propose, specify, design, write or refine.
        reasons: why each answer was rejected, in order.
    """

    def __init__(self, stage: str, reasons: tuple[str, ...]):
        super().__init__(f"{stage}: none of {len(reasons)} answers could be used; the last one: {reasons[-1]}")
        self.stage, self.reasons = stage, reasons


@dataclass(frozen=True)
class Conversation:
    """Bounded questions to a model.

    Attributes:
        attempts: answers per question before the stage fails.
    """

    llm: JudgedLLM
    briefing: Message
    attempts: int
    tell_fn: Callable[[str], None]

    def ask(
        self, stage: str, skill: str, prompt: Message, form: type[AnswerT], judge_fn: Callable[[AnswerT], Result]
    ) -> Result:
        """The judge's result for the first accepted answer.

        Args:
            skill: the skill in question; empty before it has a name.
            judge_fn: raises RejectedError for an unusable answer.

        Raises:
            StageFailedError: all attempts were rejected.
            LLMError: the model gives no answers.
        """
        messages: tuple[Message, ...] = (self.briefing, prompt)
        reasons: list[str] = []
        about = skill or "the next skill"
        for attempt in range(1, self.attempts + 1):
            request = ModelRequest(
                stage=stage, skill=skill, attempt=attempt, messages=messages, wanted=form.__name__,
                answer_schema=form.model_json_schema(),
            )  # fmt: skip
            self.tell_fn(f"{about}: asking the model to {stage}{f', attempt {attempt}' if attempt > 1 else ''}")
            text = self.llm.complete(request).text
            try:
                result = judge_fn(parse_answer(text, form))
            except RejectedError as error:
                reasons.append(str(error))
                self.llm.note(request, "rejected", str(error))
                line = " ".join(str(error).split())
                line = line if len(line) <= _MAX_REASON else f"{line[: _MAX_REASON - 3]}..."
                self.tell_fn(f"{about}: rejected: {line}")
                messages = (*messages, Message(role="assistant", text=text, masked=text), self._back(error, attempt))
                continue
            self.llm.note(request, "accepted")
            return result
        raise StageFailedError(stage, tuple(reasons))

    def _back(self, error: Exception, attempt: int) -> Message:
        left = self.attempts - attempt
        remaining = f"{left} more attempts are left." if left > 1 else "This is the last attempt."
        return load_prompt("rejected").render(reason=str(error), remaining=remaining)
