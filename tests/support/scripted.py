"""A language model that says what it is told to, and keeps what it was asked."""

from collections.abc import Iterable
from typing import Any

from flowrl.errors import LLMError
from flowrl.llm.transport.client import Message, Request, Response


class Scripted:
    """Answers a queue of texts, responses and errors in order.

    Attributes:
        requests: what was asked, in order.
        notes: what became of the answers: stage, skill, attempt, outcome, reason.
    """

    def __init__(self, answers: Iterable[str | Response | LLMError], model: str = "scripted") -> None:
        self.answers = list(answers)
        self.model = model
        self.requests: list[Request] = []
        self.notes: list[tuple[str, str, int, str, str]] = []

    def complete(self, request: Request) -> Response:
        self.requests.append(request)
        assert self.answers, f"nothing is left to say to stage {request.stage}, skill {request.skill!r}"
        answer = self.answers.pop(0)
        if isinstance(answer, LLMError):
            raise answer
        return Response(text=answer, model=self.model) if isinstance(answer, str) else answer

    def note(self, request: Request, outcome: str, reason: str = "") -> None:
        self.notes.append((request.stage, request.skill, request.attempt, outcome, reason))


def asked(
    text: str = "Name a skill.",
    masked: str | None = None,
    stage: str = "propose",
    skill: str = "",
    attempt: int = 1,
    schema: dict[str, Any] | None = None,
) -> Request:
    """Returns a request of one message."""
    message = Message(role="user", text=text, masked=text if masked is None else masked)
    form = schema or {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    return Request(
        stage=stage, skill=skill, attempt=attempt, messages=(message,), wanted="ProposalAnswer", answer_schema=form
    )


def answered(
    text: str = '{"name": "x"}', tokens_in: int = 1000, tokens_out: int = 200, seconds: float = 2.0
) -> Response:
    """Returns a response with figures."""
    return Response(text=text, model="m", tokens_in=tokens_in, tokens_out=tokens_out, seconds=seconds)
