"""The ledger of a home. Every model call with its price, every judgement of an answer, and the budget."""

import threading
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from flowrl.errors import BudgetSpent, LLMError, PlatformError, Unanswered, UsageError
from flowrl.files import append_line, open_to_append
from flowrl.llm.transport.client import LLM, ModelRequest, ModelResponse
from flowrl.llm.transport.endpoint import OPENAI_URL
from flowrl.schema.frozen import Frozen

EXAMPLE = '["my-model"]\ninput = 0.15\noutput = 0.6'
"""A table of prices, as a message shows it."""

_Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Price(Frozen):
    """US dollars for a million tokens each way."""

    input: _Dollars
    output: _Dollars


@dataclass(frozen=True)
class Prices:
    """The prices of one endpoint.

    Attributes:
        own: the user's prices by model; they come first.
        base_url: of the endpoint. A local server has no known price unless ``own`` gives one: a model of the same name
            has a price elsewhere, and electricity is not free.
    """

    own: Mapping[str, Price] = field(default_factory=dict)
    base_url: str = OPENAI_URL

    def cost(self, model: str, tokens_in: int, tokens_out: int) -> float | None:
        """US dollars without discount for cached tokens. None if the price is unknown."""
        if model in self.own:
            price = self.own[model]
            return (tokens_in * price.input + tokens_out * price.output) / 1e6
        try:
            from genai_prices import Usage, calc_price

            usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
            return float(calc_price(usage, model, provider_api_url=self.base_url).total_price)
        except (ImportError, LookupError):  # the package, the model or the provider is missing
            return None


def read_prices(file: Path) -> dict[str, Price]:
    """The prices by model of a TOML file.

    Raises:
        UsageError: the file is missing or is no table of prices; shows an example.
    """
    try:
        return TypeAdapter(dict[str, Price]).validate_python(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"The price table {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise UsageError(
            f"{file} is no table of prices: {reason}. It has US dollars per million tokens for each model:\n{EXAMPLE}"
        ) from error


Judgement = Literal["accepted", "rejected"]


class _Line(Frozen):
    time: float
    stage: str
    skill: str
    attempt: int


class CallLine(_Line):
    """One call.

    Attributes:
        time: seconds since 1970, when it ended.
        cost: US dollars; None if the price is unknown, 0 for a replayed answer.
        seconds: wall time, waits and retries included.
        outcome: answered, or the name of the error.
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
    """The judgement of an answer and its reason."""

    kind: Literal["judgement"] = "judgement"
    outcome: Judgement
    reason: str = ""


Line = CallLine | JudgementLine
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


@dataclass(frozen=True)
class Budget:
    """Limits on a home's whole ledger. Earlier commands count.

    Attributes:
        calls: failed and replayed ones count.
        cost: US dollars; the call that exceeds them is the last.
    """

    calls: int | None = None
    cost: float | None = None


class Ledger:
    """A model whose calls are recorded and budgeted.

    Calls are refused once the budget is spent. Safe to use from several threads.

    Args:
        model: its name as requested, by which it is priced.
        replayed: answers come from a transcript and cost nothing.

    Raises:
        LLMError: the budget limits money and the model's price is unknown.
    """

    def __init__(
        self,
        llm: LLM,
        file: Path,
        model: str,
        prices: Prices | None = None,
        budget: Budget | None = None,
        replayed: bool = False,
    ) -> None:
        self._llm, self._file, self._model, self._replayed = llm, file, model, replayed
        self._prices, self._budget = prices or Prices(), budget or Budget()
        self._lock = threading.Lock()
        self._open_calls = 0
        if self._budget.cost is not None and not replayed and self._prices.cost(model, 1, 1) is None:
            raise LLMError(
                f"The price of {model!r} is unknown, so --max-cost {self._budget.cost:g} cannot be kept. Give its US "
                f"dollars per million tokens by --prices FILE.toml or {file.parent / 'prices.toml'} (0 for a model "
                f"that costs you nothing), or leave --max-cost out and use --max-calls. The file looks like this:\n"
                f"{EXAMPLE}"
            )
        _end_last_line(file)
        costs = [line.cost for line in read_ledger(file)[0] if isinstance(line, CallLine)]
        self.calls, self.cost = len(costs), sum(cost or 0.0 for cost in costs)
        self._unpriced = costs.count(None)

    def complete(self, request: ModelRequest) -> ModelResponse:
        """Ask the model and record the call.

        Raises:
            BudgetSpent: no further call is allowed; none was made.
            LLMError: the model gave no answer, which is recorded too.
        """
        self._reserve()
        started = time.monotonic()
        try:
            response = self._llm.complete(request)
        except BaseException as error:  # Ctrl-C as well: the call was made, and may cost
            self._write_call(request, self._failure(error) | {"seconds": time.monotonic() - started})
            raise
        tokens_in, tokens_out = response.tokens_in, response.tokens_out
        self._write_call(request, self._spent(tokens_in, tokens_out) | {"seconds": response.seconds})
        return response

    def note(self, request: ModelRequest, outcome: Judgement, reason: str = "") -> None:
        """Record the judgement of an answer."""
        with self._lock:
            self._append(JudgementLine(**_about(request), outcome=outcome, reason=reason))

    def _reserve(self) -> None:
        """Count a call as begun."""
        with self._lock:
            calls, budget = self.calls + self._open_calls, self._budget
            if budget.calls is not None and calls >= budget.calls:
                raise BudgetSpent(
                    f"{calls} calls were made for {self._file.parent}, of {budget.calls} allowed by --max-calls. "
                    f"What was learned is kept; the same command with a larger number continues."
                )
            if budget.cost is not None and not self._replayed and self.cost >= budget.cost:
                unknown = f", and {self._unpriced} calls whose price is unknown" if self._unpriced else ""
                raise BudgetSpent(
                    f"{self.cost:.4f} US dollars were spent on {self._file.parent}{unknown}, of {budget.cost:g} "
                    f"allowed by --max-cost. What was learned is kept; the same command with a larger one continues."
                )
            self._open_calls += 1

    def _failure(self, error: BaseException) -> dict[str, Any]:
        """What is known of a failed call. Billed tokens that the provider did not report are not."""
        if not isinstance(error, LLMError):
            return {"outcome": type(error).__name__}
        tokens = (error.tokens_in, error.tokens_out) if isinstance(error, Unanswered) else (0, 0)
        spent = self._spent(*tokens) if any(tokens) else {"cost": 0.0}
        return spent | {"outcome": type(error).__name__, "error": str(error)}

    def _spent(self, tokens_in: int, tokens_out: int) -> dict[str, Any]:
        cost = 0.0 if self._replayed else self._prices.cost(self._model, tokens_in, tokens_out)
        return {"tokens_in": tokens_in, "tokens_out": tokens_out, "cost": cost}

    def _write_call(self, request: ModelRequest, figures: dict[str, Any]) -> None:
        line = CallLine(**_about(request), model=self._model, replayed=self._replayed, **figures)
        with self._lock:
            self._open_calls -= 1
            self.calls += 1
            self.cost += line.cost or 0.0
            self._unpriced += line.cost is None
            self._append(line)

    def _append(self, line: Line) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            append_line(self._file, line.model_dump())
        except OSError as error:
            raise PlatformError(f"The ledger {self._file} could not be written: {error.strerror}.") from error


def _about(request: ModelRequest) -> dict[str, Any]:
    return {"time": time.time(), "stage": request.stage, "skill": request.skill, "attempt": request.attempt}


def _end_last_line(file: Path) -> None:
    """End a line that a kill left unfinished."""
    if file.exists() and (data := file.read_bytes()) and not data.endswith(b"\n"):
        with open_to_append(file) as handle:
            handle.write(b"\n")


def read_ledger(file: Path) -> tuple[list[Line], list[int]]:
    """The lines of a ledger and numbers of damaged ones."""
    lines: list[Line] = []
    damaged = []
    for number, text in enumerate(file.read_bytes().split(b"\n") if file.exists() else [], start=1):
        if not text.strip():
            continue
        try:
            lines.append(_LINE.validate_json(text))
        except ValidationError:
            damaged.append(number)
    return lines, damaged


@dataclass(frozen=True)
class CostRow:
    """The cost of a skill and stage or of all.

    Attributes:
        failed: calls without an answer.
        cost: US dollars, as far as prices are known.
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


def cost_rows(lines: Sequence[Line]) -> list[CostRow]:
    """A row for each skill and stage. In the order of their first calls."""
    groups: dict[str, dict[str, list[Line]]] = {}
    for line in lines:
        groups.setdefault(line.skill, {}).setdefault(line.stage, []).append(line)
    return [_row(skill, stage, own) for skill, stages in groups.items() for stage, own in stages.items()]


def cost_total(lines: Sequence[Line]) -> CostRow:
    """The sum over all skills and stages."""
    return _row("total", "", lines)


def _row(skill: str, stage: str, lines: Sequence[Line]) -> CostRow:
    calls = [line for line in lines if isinstance(line, CallLine)]
    judged = [line.outcome for line in lines if isinstance(line, JudgementLine)]
    return CostRow(
        skill,
        stage,
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
