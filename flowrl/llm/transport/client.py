"""The seam to language models: one method. Providers, caches, ledgers, recorders and doubles are all behind it."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(_Value):
    """One message of a conversation.

    Attributes:
        masked: the text with measured values (success rates, trajectories) replaced by their names; replay matches on
            it, so that another machine's numbers do not make another exchange.
    """

    role: Literal["system", "user", "assistant"]
    text: str
    masked: str


class Request(_Value):
    """What is asked of a model.

    Attributes:
        stage: propose, specify, design, write or refine.
        skill: the skill that it is about; empty while it has no name.
        attempt: from 1; rises with each answer that was sent back.
        messages: the whole conversation so far.
        wanted: the name of the answer's form, e.g. "SpecAnswer".
        answer_schema: JSON schema of the answer wanted.
    """

    stage: str
    skill: str
    attempt: int
    messages: tuple[Message, ...]
    wanted: str
    answer_schema: Mapping[str, Any]


class Response(_Value):
    """What a model answered.

    Attributes:
        text: the answer, JSON if the model kept to what was asked.
        tokens_in, tokens_out: as the provider counted them, 0 where it did not say.
        seconds: wall time, retries included.
    """

    text: str
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


class LLM(Protocol):
    """Answers requests."""

    def complete(self, request: Request) -> Response:
        """Returns the answer.

        Raises:
            LLMError: there is none, and asking again in the same way is no use; says why, and the next move.
        """


class JudgedLLM(LLM, Protocol):
    """A model whose answers are judged, and the judgements kept."""

    def note(self, request: Request, outcome: Literal["accepted", "rejected"], reason: str = "") -> None:
        """Keeps what became of the answer to a request."""
