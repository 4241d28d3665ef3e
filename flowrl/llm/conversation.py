"""Asking for one thing until the answer can be used: whatever is wrong with it goes back with the exact reason."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from flowrl.llm.answers import AnswerT, UnreadableAnswerError, parse_answer
from flowrl.llm.prompts import load_prompt
from flowrl.llm.transport.client import JudgedLLM, Message, ModelRequest

Result = TypeVar("Result")


class RejectedError(Exception):
    """An answer that breaks a rule; the message tells its author which, and what to do."""


class StageFailedError(Exception):
    """No answer of a stage could be used.

    Attributes:
        stage: propose, specify, design, write or refine.
        reasons: why each was rejected, in order.
    """

    def __init__(self, stage: str, reasons: tuple[str, ...]):
        super().__init__(f"{stage}: none of {len(reasons)} answers could be used; the last one: {reasons[-1]}")
        self.stage, self.reasons = stage, reasons


@dataclass(frozen=True)
class Conversation:
    """Asks a model within bounds.

    Attributes:
        briefing: what it is told before anything is asked.
        attempts: answers for each question, after which the stage has failed.
        tell_fn: is told in a line what is going on.
    """

    llm: JudgedLLM
    briefing: Message
    attempts: int
    tell_fn: Callable[[str], None]

    def ask(
        self, stage: str, skill: str, prompt: Message, form: type[AnswerT], judge_fn: Callable[[AnswerT], Result]
    ) -> Result:
        """Returns what the judge makes of the first answer that it does not reject.

        Args:
            skill: the skill in question, empty while it has no name.
            judge_fn: raises RejectedError for an answer that cannot be used.

        Raises:
            StageFailedError: all attempts were rejected.
            LLMError: the model gives no answers.
        """
        messages: tuple[Message, ...] = (self.briefing, prompt)
        reasons: list[str] = []
        for attempt in range(1, self.attempts + 1):
            request = ModelRequest(
                stage=stage, skill=skill, attempt=attempt, messages=messages, wanted=form.__name__,
                answer_schema=form.model_json_schema(),
            )  # fmt: skip
            again = f", attempt {attempt}" if attempt > 1 else ""
            self.tell_fn(f"{skill or 'the next skill'}: asks the model to {stage}{again}")
            text = self.llm.complete(request).text
            try:
                result = judge_fn(parse_answer(text, form))
            except (UnreadableAnswerError, RejectedError) as error:
                reasons.append(str(error))
                self.llm.note(request, "rejected", str(error))
                self.tell_fn(f"{skill or 'the next skill'}: rejected: {_one_line(str(error))}")
                messages = (*messages, Message(role="assistant", text=text, masked=text), self._back(error, attempt))
                continue
            self.llm.note(request, "accepted")
            return result
        raise StageFailedError(stage, tuple(reasons))

    def _back(self, error: Exception, attempt: int) -> Message:
        left = self.attempts - attempt
        remaining = f"{left} more attempts are left." if left > 1 else "This is the last attempt."
        return load_prompt("rejected").render(reason=str(error), remaining=remaining)


def _one_line(text: str, most: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
