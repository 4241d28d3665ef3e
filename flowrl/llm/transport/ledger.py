"""The ledger of a home: a line for each call of a language model, one for each judgement of an answer, and limits."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from flowrl.errors import BudgetSpent, LLMError, PlatformError, Unanswered
from flowrl.files import append_line, open_to_append
from flowrl.llm.transport.client import LLM, Request, Response
from flowrl.llm.transport.prices import EXAMPLE, Prices

Judgement = Literal["accepted", "rejected"]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    time: float
    stage: str
    skill: str
    attempt: int


class CallLine(_Line):
    """One call.

    Attributes:
        time: seconds since 1970, when it ended.
        cost: US dollars; None where the price is unknown, 0 for an answer that was replayed.
        seconds: wall time, waits and retries included.
        outcome: answered, or the name of the error.
        error: the error's message.
    """

    kind: Literal["call"] = "call"
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    seconds: float = 0.0
    outcome: str = "answered"
    error: str = ""
    replayed: bool = False


class JudgementLine(_Line):
    """What became of an answer.

    Attributes:
        reason: why it was rejected, as the model was told.
    """

    kind: Literal["judgement"] = "judgement"
    outcome: Judgement
    reason: str = ""


Line = CallLine | JudgementLine
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


@dataclass(frozen=True)
class Limits:
    """What may be spent on a home, all calls in its ledger counted, those of earlier commands too.

    Attributes:
        calls: most calls, those without an answer and replayed ones counted.
        cost: US dollars; the call that passes them is the last.
    """

    calls: int | None = None
    cost: float | None = None


class Ledger:
    """A language model whose calls are written down, and refused once the limits are reached.

    Safe to use from several threads.
    """

    def __init__(
        self,
        llm: LLM,
        file: Path,
        model: str,
        prices: Prices | None = None,
        limits: Limits | None = None,
        replayed: bool = False,
    ) -> None:
        """Reads what was spent so far.

        Args:
            model: its name as asked for, by which it is priced.
            replayed: answers come from a transcript and cost nothing.

        Raises:
            LLMError: a limit of money is set and the model's price is unknown.
        """
        self._llm, self._file, self._model, self._replayed = llm, file, model, replayed
        self._prices, self._limits = prices or Prices(), limits or Limits()
        self._lock = threading.Lock()
        self._open_calls = 0
        if self._limits.cost is not None and not replayed and not self._prices.knows(model):
            raise LLMError(
                f"The price of {model!r} is unknown, so --max-cost {self._limits.cost:g} cannot be kept. Give its US "
                f"dollars per million tokens by --prices FILE.toml or {file.parent / 'prices.toml'} (0 for a model "
                f"that costs you nothing), or leave --max-cost out and use --max-calls. The file looks like this:\n"
                f"{EXAMPLE}"
            )
        _end_last_line(file)
        lines, _ = read_ledger(file)
        calls = [line for line in lines if isinstance(line, CallLine)]
        self._calls, self._cost = len(calls), sum(line.cost or 0.0 for line in calls)
        self._unpriced = sum(line.cost is None for line in calls)

    def complete(self, request: Request) -> Response:
        """Returns the model's answer, after it was written down.

        Raises:
            BudgetSpent: the limits allow no further call; none was made.
            LLMError: the model gave no answer; that was written down as well.
        """
        self._reserve()
        started = time.monotonic()
        try:
            response = self._llm.complete(request)
        except LLMError as error:
            self._write_call(request, self._failed(error, time.monotonic() - started))
            raise
        except BaseException as error:  # Ctrl-C as well: the call was made, and may cost
            self._write_call(request, {"outcome": type(error).__name__, "seconds": time.monotonic() - started})
            raise
        self._write_call(request, self._answered(response))
        return response

    def note(self, request: Request, outcome: Judgement, reason: str = "") -> None:
        """Writes down what became of the answer to ``request``."""
        line = JudgementLine(
            time=time.time(),
            stage=request.stage,
            skill=request.skill,
            attempt=request.attempt,
            outcome=outcome,
            reason=reason,
        )
        with self._lock:
            self._append(line)

    @property
    def calls(self) -> int:
        """How many calls the home's ledger has."""
        return self._calls

    @property
    def cost(self) -> float:
        """US dollars spent on the home, as far as prices are known."""
        return self._cost

    def _reserve(self) -> None:
        """Counts a call as begun.

        Raises:
            BudgetSpent: the limits do not allow it.
        """
        with self._lock:
            calls, limits = self._calls + self._open_calls, self._limits
            if limits.calls is not None and calls >= limits.calls:
                raise BudgetSpent(
                    f"{calls} calls were made for {self._file.parent}, of {limits.calls} allowed by --max-calls. "
                    f"What was learned is kept; the same command with a larger number goes on."
                )
            if limits.cost is not None and not self._replayed and self._cost >= limits.cost:
                unknown = f", and {self._unpriced} calls whose price is unknown" if self._unpriced else ""
                raise BudgetSpent(
                    f"{self._cost:.4f} US dollars were spent on {self._file.parent}{unknown}, of {limits.cost:g} "
                    f"allowed by --max-cost. What was learned is kept; the same command with a larger one goes on."
                )
            self._open_calls += 1

    def _answered(self, response: Response) -> dict[str, object]:
        tokens = (response.tokens_in, response.tokens_out)
        return {
            "tokens_in": tokens[0],
            "tokens_out": tokens[1],
            "cost": self._price(*tokens),
            "seconds": response.seconds,
        }

    def _failed(self, error: LLMError, seconds: float) -> dict[str, object]:
        """What is known of a call without an answer; what a provider bills beyond the tokens it told is not."""
        tokens = (error.tokens_in, error.tokens_out) if isinstance(error, Unanswered) else (0, 0)
        cost = self._price(*tokens) if any(tokens) else 0.0
        spent = {"tokens_in": tokens[0], "tokens_out": tokens[1], "cost": cost, "seconds": seconds}
        return {**spent, "outcome": type(error).__name__, "error": str(error)}

    def _price(self, tokens_in: int, tokens_out: int) -> float | None:
        return 0.0 if self._replayed else self._prices.cost(self._model, tokens_in, tokens_out)

    def _write_call(self, request: Request, what: dict[str, object]) -> None:
        about = {"stage": request.stage, "skill": request.skill, "attempt": request.attempt, "model": self._model}
        line = CallLine.model_validate({"time": time.time(), "replayed": self._replayed, **about, **what})
        with self._lock:
            self._open_calls -= 1
            self._calls += 1
            self._cost += line.cost or 0.0
            self._unpriced += line.cost is None
            self._append(line)

    def _append(self, line: Line) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            append_line(self._file, line.model_dump())
        except OSError as error:
            raise PlatformError(f"The ledger {self._file} could not be written: {error.strerror}.") from error


def _end_last_line(file: Path) -> None:
    """Ends a line that a killed process left unfinished, so that the next one is not lost with it."""
    if file.exists() and (data := file.read_bytes()) and not data.endswith(b"\n"):
        with open_to_append(file) as handle:
            handle.write(b"\n")


def read_ledger(file: Path) -> tuple[list[Line], list[int]]:
    """Returns the lines of a ledger, none where there is no file, and the numbers of the lines that are damaged."""
    lines: list[Line] = []
    damaged = []
    for number, text in _numbered(file):
        try:
            lines.append(_LINE.validate_json(text))
        except ValidationError:
            damaged.append(number)
    return lines, damaged


def _numbered(file: Path) -> Iterator[tuple[int, bytes]]:
    if file.exists():
        for number, text in enumerate(file.read_bytes().split(b"\n"), start=1):
            if text.strip():
                yield number, text


@dataclass(frozen=True)
class CostRow:
    """What a skill and a stage, or all of them, have cost.

    Attributes:
        failed: of the calls, those that gave no answer.
        cost: US dollars, as far as prices are known.
        unpriced: of the calls, those whose price is unknown.
    """

    skill: str
    stage: str
    calls: int
    failed: int
    tokens_in: int
    tokens_out: int
    cost: float
    unpriced: int
    seconds: float
    accepted: int
    rejected: int


def _row(skill: str, stage: str, lines: Sequence[Line]) -> CostRow:
    calls = [line for line in lines if isinstance(line, CallLine)]
    judged = [line.outcome for line in lines if isinstance(line, JudgementLine)]
    return CostRow(
        skill=skill,
        stage=stage,
        calls=len(calls),
        failed=sum(line.outcome != "answered" for line in calls),
        tokens_in=sum(line.tokens_in for line in calls),
        tokens_out=sum(line.tokens_out for line in calls),
        cost=sum(line.cost or 0.0 for line in calls),
        unpriced=sum(line.cost is None for line in calls),
        seconds=sum(line.seconds for line in calls),
        accepted=judged.count("accepted"),
        rejected=judged.count("rejected"),
    )


def cost_rows(lines: Sequence[Line]) -> list[CostRow]:
    """Returns a row for each skill and stage, in the order of their first calls."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.skill, line.stage), []).append(line)
    first = {skill: place for place, (skill, _) in reversed(list(enumerate(groups)))}
    ordered = sorted(groups, key=lambda key: first[key[0]])
    return [_row(skill, stage, groups[skill, stage]) for skill, stage in ordered]


def cost_total(lines: Sequence[Line]) -> CostRow:
    """Returns the sum over all skills and stages."""
    return _row("total", "", lines)
