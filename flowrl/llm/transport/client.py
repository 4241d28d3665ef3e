"""The seam to language models. One method, behind which providers, ledgers, transcripts and test doubles stand."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from flowrl.schema.frozen import Frozen


class Message(Frozen):
    """One message of a conversation.

    Attributes:
        masked: the text with measured values (success rates, trajectories) replaced by their names. Replay matches on
            it, so that results from another machine still match.
    """

    role: Literal["system", "user", "assistant"]
    text: str
    masked: str


class ModelRequest(Frozen):
    """A question to a model.

    Attributes:
        stage: propose, specify, design, write or refine.
        skill: the skill in question; empty before it has a name.
        attempt: from 1; rises with each rejected answer.
        wanted: name of the answer's form, e.g. "SpecAnswer".
    """

    stage: str
    skill: str
    attempt: int
    messages: tuple[Message, ...]
    wanted: str
    answer_schema: Mapping[str, Any]


class ModelResponse(Frozen):
    """A model's answer.

    Attributes:
        text: JSON if the model kept to the schema.
        tokens_in, tokens_out: as counted by the provider; 0 if unknown.
        seconds: wall time, retries included.
    """

    text: str
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


class LLM(Protocol):
    """Answers requests."""

    def complete(self, request: ModelRequest) -> ModelResponse:
        """Answer a request.

        Raises:
            LLMError: there is none and asking again is no use; says why, and the next move.
        """


class JudgedLLM(LLM, Protocol):
    """A model that hears judgements of its answers."""

    def note(self, request: ModelRequest, outcome: Literal["accepted", "rejected"], reason: str = "") -> None:
        """Record the judgement of an answer."""
