"""Transcripts of exchanges with a model. Written by `TranscriptRecorder`, replayed by `Replayer`."""

import difflib
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from flowrl.errors import LibraryError, NotRecorded, PlatformError
from flowrl.files import append_line
from flowrl.llm.transport.client import LLM, Message, ModelRequest, ModelResponse
from flowrl.schema.frozen import Frozen

_MAX_DIFF_LINES = 24


class RecordedMessage(Frozen):
    """A message in a transcript; ``masked`` is None where masking changes nothing."""

    role: Literal["system", "user", "assistant"]
    text: str
    masked: str | None = None


class Exchange(Frozen):
    """A question and its answer in a transcript.

    Attributes:
        answer: as the model gave it, right or wrong.
    """

    stage: str
    skill: str
    attempt: int
    prompt: tuple[RecordedMessage, ...]
    answer: str
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


class TranscriptRecorder:
    """A model whose exchanges are appended to a transcript.

    The transcript is never read, so that a resumed run continues it.
    """

    def __init__(self, llm: LLM, file: Path) -> None:
        self._llm, self._file = llm, file
        self._lock = threading.Lock()

    def complete(self, request: ModelRequest) -> ModelResponse:
        """Ask the model and record the exchange.

        Raises:
            LLMError: there is no answer, and nothing is recorded.
            PlatformError: the file cannot be written.
        """
        response = self._llm.complete(request)
        exchange = Exchange(
            stage=request.stage, skill=request.skill, attempt=request.attempt,
            prompt=tuple(
                RecordedMessage(role=m.role, text=m.text, masked=None if m.masked == m.text else m.masked)
                for m in request.messages
            ),
            answer=response.text, **response.model_dump(exclude={"text"}),
        )  # fmt: skip
        with self._lock:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                append_line(self._file, exchange.model_dump(exclude_none=True))
            except OSError as error:
                raise PlatformError(f"The transcript {self._file} could not be written: {error.strerror}.") from error
        return response


def read_transcript(file: Path) -> list[Exchange]:
    """The exchanges of a transcript.

    Raises:
        LibraryError: the file is missing, or a line of it is damaged; names the line.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise LibraryError(f"The transcript {file} cannot be read: {error.strerror}.") from error
    exchanges = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            exchanges.append(Exchange.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise LibraryError(
                f"Line {number} of the transcript {file} is damaged: {place + ': ' if place else ''}{first['msg']}. "
                f"Restore it from a copy, or remove the line: its answer is then not recorded."
            ) from error
    return exchanges


class Replayer:
    """Answers from a transcript without a network.

    An exchange is matched on stage, skill, attempt and the prompt with measured values masked; if ``strict``, on the
    prompt as sent. A repeated request gets the next of its recorded answers, and the last one from then on.

    Raises:
        LibraryError: the transcript is missing or damaged.
    """

    def __init__(self, file: Path, strict: bool = False) -> None:
        self._file, self._strict = file, strict
        self._exchanges = read_transcript(file)
        self.model = self._exchanges[0].model if self._exchanges else "transcript"
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str, int, str], list[Exchange]] = {}
        for each in self._exchanges:
            key = each.stage, each.skill, each.attempt, self._text(each.prompt)
            self._waiting.setdefault(key, []).append(each)

    def complete(self, request: ModelRequest) -> ModelResponse:
        """The recorded answer with its tokens.

        Raises:
            NotRecorded: there is none; shows the difference from the nearest exchange.
        """
        with self._lock:
            answers = self._waiting.get((request.stage, request.skill, request.attempt, self._text(request.messages)))
            if answers is None:
                raise NotRecorded(self._missing(request))
            found = answers.pop(0) if len(answers) > 1 else answers[0]
        return ModelResponse(
            text=found.answer, model=found.model, tokens_in=found.tokens_in, tokens_out=found.tokens_out
        )

    def _text(self, messages: Iterable[Message | RecordedMessage]) -> str:
        """A conversation as one text with headings."""
        return "\n".join(f"[{m.role}]\n{m.text if self._strict or m.masked is None else m.masked}" for m in messages)

    def _missing(self, request: ModelRequest) -> str:
        """Why a request has no answer and what helps."""
        of_stage = [exchange for exchange in self._exchanges if exchange.stage == request.stage]
        near = [exchange for exchange in of_stage if exchange.skill == request.skill]
        if near:
            detail = self._difference(request, near)
        else:
            skills = sorted({repr(exchange.skill) for exchange in of_stage})
            detail = f"It has that stage for the skills {', '.join(skills)}." if skills else "It has no such stage."
        return (
            f"The transcript {self._file} has no answer for stage {request.stage}, skill {request.skill!r}, attempt "
            f"{request.attempt}. {detail}\n"
            f"Record it: the same command with --model NAME --record FILE instead of --replay."
            + (" Or leave --replay-strict out: measured values may differ then." if self._strict else "")
        )

    def _difference(self, request: ModelRequest, near: Sequence[Exchange]) -> str:
        """A short diff from the most similar exchange. One of the same attempt is preferred."""
        wanted = self._text(request.messages).splitlines()

        def similarity(exchange: Exchange) -> tuple[bool, float]:
            lines = self._text(exchange.prompt).splitlines()
            ratio = difflib.SequenceMatcher(None, lines, wanted, autojunk=False).ratio()
            return exchange.attempt == request.attempt, ratio

        nearest = max(near, key=similarity)
        lines = self._text(nearest.prompt).splitlines()
        if lines == wanted:
            attempts = ", ".join(str(exchange.attempt) for exchange in near)
            return f"The same prompt is recorded for the attempts {attempts} only."
        diff = list(difflib.unified_diff(lines, wanted, f"recorded, attempt {nearest.attempt}", "asked now", "", "", 1))
        shown = [line.rstrip("\n") for line in diff[:_MAX_DIFF_LINES]]
        if len(diff) > _MAX_DIFF_LINES:
            shown.append(f"... {len(diff) - _MAX_DIFF_LINES} more lines")
        kind = "prompts" if self._strict else "prompts with measured values masked"
        return f"The nearest exchange differs ({kind}):\n" + "\n".join(shown)
