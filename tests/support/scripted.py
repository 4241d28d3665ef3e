"""A language model that says what it is told to, and keeps what it was asked."""

from collections.abc import Iterable
from typing import Any

from flowrl.errors import LLMError
from flowrl.llm.transport.client import Message, ModelRequest, ModelResponse


class Scripted:
    """Answers a queue of texts, responses and errors in order.

    Attributes:
        requests: what was asked, in order.
        notes: what became of the answers: stage, skill, attempt, outcome, reason.
    """

    def __init__(self, answers: Iterable[str | ModelResponse | LLMError], model: str = "scripted") -> None:
        self.answers = list(answers)
        self.model = model
        self.requests: list[ModelRequest] = []
        self.notes: list[tuple[str, str, int, str, str]] = []

    def complete(self, request: ModelRequest) -> ModelResponse:
        self.requests.append(request)
        assert self.answers, f"nothing is left to say to stage {request.stage}, skill {request.skill!r}"
        answer = self.answers.pop(0)
        if isinstance(answer, LLMError):
            raise answer
        return ModelResponse(text=answer, model=self.model) if isinstance(answer, str) else answer

    def note(self, request: ModelRequest, outcome: str, reason: str = "") -> None:
        self.notes.append((request.stage, request.skill, request.attempt, outcome, reason))


def asked(
    text: str = "Name a skill.",
    masked: str | None = None,
    stage: str = "propose",
    skill: str = "",
    attempt: int = 1,
    schema: dict[str, Any] | None = None,
) -> ModelRequest:
    """Returns a request of one message."""
    message = Message(role="user", text=text, masked=text if masked is None else masked)
    form = schema or {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    return ModelRequest(
        stage=stage, skill=skill, attempt=attempt, messages=(message,), wanted="ProposalAnswer", answer_schema=form
    )


def answered(
    text: str = '{"name": "x"}', tokens_in: int = 1000, tokens_out: int = 200, seconds: float = 2.0
) -> ModelResponse:
    """Returns a response with figures."""
    return ModelResponse(text=text, model="m", tokens_in=tokens_in, tokens_out=tokens_out, seconds=seconds)
