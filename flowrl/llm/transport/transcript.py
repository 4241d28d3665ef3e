"""Transcripts of what was asked of a language model and answered: written by `Recorder`, given again by `Replayer`."""

import difflib
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from flowrl.errors import LibraryError, NotRecorded, PlatformError
from flowrl.files import append_line
from flowrl.llm.transport.client import LLM, Message, Request, Response

_MAX_DIFF_LINES = 24


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RecordedMessage(_Value):
    """A message as a transcript has it.

    Attributes:
        masked: the text with measured values replaced; None if that changes nothing.
    """

    role: Literal["system", "user", "assistant"]
    text: str
    masked: str | None = None

    @classmethod
    def of(cls, message: Message) -> "RecordedMessage":
        """Returns the message as it is recorded."""
        masked = None if message.masked == message.text else message.masked
        return cls(role=message.role, text=message.text, masked=masked)


class Exchange(_Value):
    """What was asked and answered: one line of a transcript.

    Attributes:
        prompt: the whole conversation that was sent.
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


def _prompt(messages: Iterable[Message] | Iterable[RecordedMessage], masked: bool) -> str:
    """Returns a conversation as one text, a heading for each message."""
    parts = []
    for message in messages:
        text = message.text if not masked or message.masked is None else message.masked
        parts.append(f"[{message.role}]\n{text}")
    return "\n".join(parts)


class Recorder:
    """A language model whose exchanges are added to a transcript; the file is never read, so a resumed run goes on."""

    def __init__(self, llm: LLM, file: Path) -> None:
        self._llm, self._file = llm, file
        self._lock = threading.Lock()

    def complete(self, request: Request) -> Response:
        """Returns the model's answer, after the exchange was written down.

        Raises:
            LLMError: there is none; nothing is written down.
            PlatformError: the file cannot be written.
        """
        response = self._llm.complete(request)
        exchange = Exchange(
            stage=request.stage,
            skill=request.skill,
            attempt=request.attempt,
            prompt=tuple(RecordedMessage.of(message) for message in request.messages),
            answer=response.text,
            model=response.model,
            tokens_in=response.tokens_in,
            tokens_out=response.tokens_out,
            seconds=response.seconds,
        )
        with self._lock:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                append_line(self._file, exchange.model_dump(exclude_none=True))
            except OSError as error:
                raise PlatformError(f"The transcript {self._file} could not be written: {error.strerror}.") from error
        return response


def read_transcript(file: Path) -> list[Exchange]:
    """Returns the exchanges of a transcript.

    Raises:
        LibraryError: the file is missing, or a line of it is damaged; the message names the line.
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
                f"Restore it from a copy, or take the line out: what it answered is then not recorded."
            ) from error
    return exchanges


_Key = tuple[str, str, int, str]


class Replayer:
    """Answers as a transcript says, with no network.

    An exchange is matched on stage, skill, attempt and the prompt with measured values masked, or, if ``strict``, on
    the prompt as it was sent. The same request again gets the next of its recorded answers; after the last one, that
    again.
    """

    def __init__(self, file: Path, strict: bool = False) -> None:
        """Reads the transcript.

        Raises:
            LibraryError: it is missing or damaged.
        """
        self._file, self._strict = file, strict
        self._exchanges = read_transcript(file)
        self._lock = threading.Lock()
        self._waiting: dict[_Key, list[Exchange]] = {}
        for exchange in self._exchanges:
            key = self._key(exchange.stage, exchange.skill, exchange.attempt, exchange.prompt)
            self._waiting.setdefault(key, []).append(exchange)

    def complete(self, request: Request) -> Response:
        """Returns the recorded answer, with the tokens that it took then and no time.

        Raises:
            NotRecorded: the transcript lacks it; says what differs from the nearest exchange.
        """
        key = self._key(request.stage, request.skill, request.attempt, request.messages)
        with self._lock:
            answers = self._waiting.get(key)
            if answers is None:
                raise NotRecorded(self._missing(request))
            found = answers.pop(0) if len(answers) > 1 else answers[0]
        return Response(
            text=found.answer, model=found.model, tokens_in=found.tokens_in, tokens_out=found.tokens_out, seconds=0.0
        )

    @property
    def model(self) -> str:
        """The name of the model that answered, or "transcript" where it holds nothing."""
        return self._exchanges[0].model if self._exchanges else "transcript"

    def _key(
        self, stage: str, skill: str, attempt: int, messages: Iterable[Message] | Iterable[RecordedMessage]
    ) -> _Key:
        return stage, skill, attempt, _prompt(messages, masked=not self._strict)

    def _missing(self, request: Request) -> str:
        """Returns why a request has no answer, and the next move."""
        asked = f"stage {request.stage}, skill {request.skill!r}, attempt {request.attempt}"
        of_stage = [exchange for exchange in self._exchanges if exchange.stage == request.stage]
        near = [exchange for exchange in of_stage if exchange.skill == request.skill]
        if near:
            detail = self._difference(request, near)
        else:
            skills = sorted({repr(exchange.skill) for exchange in of_stage})
            detail = f"It has that stage for the skills {', '.join(skills)}." if skills else "It has no such stage."
        return (
            f"The transcript {self._file} has no answer for {asked}. {detail}\n"
            f"Record it: the same command with --model NAME --record FILE in place of --replay."
            + (" Or leave --replay-strict out: measured values may differ then." if self._strict else "")
        )

    def _difference(self, request: Request, near: Sequence[Exchange]) -> str:
        """Returns a short diff against the likest of the exchanges; the same attempt counts first."""
        wanted = _prompt(request.messages, masked=not self._strict).splitlines()

        def likeness(exchange: Exchange) -> tuple[bool, float]:
            lines = _prompt(exchange.prompt, masked=not self._strict).splitlines()
            ratio = difflib.SequenceMatcher(None, lines, wanted, autojunk=False).ratio()
            return exchange.attempt == request.attempt, ratio

        nearest = max(near, key=likeness)
        lines = _prompt(nearest.prompt, masked=not self._strict).splitlines()
        if lines == wanted:
            attempts = ", ".join(str(exchange.attempt) for exchange in near)
            return f"The same prompt is recorded for the attempts {attempts} only."
        diff = list(difflib.unified_diff(lines, wanted, f"recorded, attempt {nearest.attempt}", "asked now", "", "", 1))
        shown = [line.rstrip("\n") for line in diff[:_MAX_DIFF_LINES]]
        if len(diff) > _MAX_DIFF_LINES:
            shown.append(f"... {len(diff) - _MAX_DIFF_LINES} more lines")
        kind = "prompts" if self._strict else "prompts with measured values masked"
        return f"The nearest exchange differs ({kind}):\n" + "\n".join(shown)
