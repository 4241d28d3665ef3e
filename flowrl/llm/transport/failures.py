"""Why a server gave no answer and what helps. Asking again after what may pass."""

import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from flowrl.errors import LLMError, Unanswered
from flowrl.llm.transport.client import LLM, ModelRequest, ModelResponse
from flowrl.llm.transport.endpoint import Endpoint

_OVERFLOW = re.compile(
    r"maximum (context|model) length"
    r"|(context|prompt|input)[^.]{0,40}(exceed|too long|too large)|exceed[^.]{0,40}context",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"model_not_found|model[^.]{0,80}(not found|not exist|not available)", re.IGNORECASE)
_NO_QUOTA = re.compile(r"insufficient_quota|billing_hard_limit|credit balance", re.IGNORECASE)
_SCHEMA = re.compile(r"schema|grammar|response_format|structured|guided", re.IGNORECASE)
_HTML = re.compile(r"\s*<(!doctype|html|head|body|\?xml)", re.IGNORECASE)
_RETRYABLE = (408, 409, 425, 429)
_MAX_QUOTE = 240
_POLL_SECONDS = 0.2
"""Seconds between two looks whether to stop."""


@dataclass(frozen=True)
class Refusal:
    """An HTTP answer other than a success.

    Attributes:
        said: the server's own words with its codes, in one line.
        retry_after: seconds that it asks to wait.
    """

    status: int
    said: str
    retry_after: float | None = None

    @property
    def overflows(self) -> bool:
        """Whether the prompt exceeds the model's context."""
        return self.status == 413 or (self.status in (400, 422, 500) and bool(_OVERFLOW.search(self.said)))

    @property
    def lacks_the_model(self) -> bool:
        """Whether the server lacks the model or address."""
        return self.status == 404 or (self.status in (400, 422) and bool(_NO_MODEL.search(self.said)))

    @property
    def may_be_the_schema(self) -> bool:
        """Whether a question without schema may be answered."""
        if self.overflows or _NO_MODEL.search(self.said):
            return False
        return self.status in (400, 422) or (self.status in (404, 500, 501) and bool(_SCHEMA.search(self.said)))


def explain(refusal: Refusal, endpoint: Endpoint, models: Sequence[str] | None = None) -> LLMError:
    """The error to raise. `Unanswered` if asking again may help.

    Args:
        models: those that the server has; None if unknown.
    """
    status, said = refusal.status, f" It says: {quote(refusal.said, endpoint)}" if refusal.said else ""
    if status in (401, 403):
        return LLMError(
            f"The key for {endpoint} was rejected (HTTP {status}).{said} Set FLOWRL_API_KEY or OPENAI_API_KEY, or "
            f"give --key-file FILE."
        )
    if refusal.overflows:
        return LLMError(
            f"The prompt is longer than {endpoint} can read (HTTP {status}).{said} Choose a model with a larger "
            f"context, start your server with one, or give a shorter --manual."
        )
    if status == 429 and _NO_QUOTA.search(refusal.said):
        return LLMError(f"The account of {endpoint} has no money left (HTTP 429).{said} Add some or change the server.")
    if status in _RETRYABLE or status >= 500:
        return Unanswered(f"No answer from {endpoint}: HTTP {status}.{said}", refusal.retry_after)
    if refusal.lacks_the_model:
        move = "Correct --model; or --base-url, which usually ends with /v1."
        if models is not None:
            more = f" and {len(models) - 12} more" if models[12:] else ""
            move = f"It has: {', '.join(map(repr, models[:12])) or 'none'}{more}. Correct --model."
        return LLMError(f"There is no {endpoint} (HTTP {status}).{said} {move}")
    if 300 <= status < 400:
        return LLMError(f"{endpoint} redirects (HTTP {status}), and a key must not follow. Correct --base-url.")
    return LLMError(f"The question was rejected by {endpoint} (HTTP {status}).{said} Try another model or server.")


def unreadable(text: str, endpoint: Endpoint) -> LLMError:
    """The error for a body that is no JSON."""
    if is_html(text):
        why = f"No answer from {endpoint}: a web page instead of an answer."
        return LLMError(f"{why} Correct --base-url, which usually ends with /v1.")
    return unanswered("an empty body" if not text.strip() else f"broken JSON of {len(text)} characters", endpoint)


def unanswered(why: str, endpoint: Endpoint, tokens: tuple[int, int] = (0, 0)) -> Unanswered:
    """The error for a try without an answer. Another one may succeed."""
    return Unanswered(f"No answer from {endpoint}: {quote(why, endpoint)}.", None, *tokens)


def said_by(text: str) -> str:
    """The message and codes of an error's body. One line, for every dialect."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return "a web page" if is_html(text) else one_line(text)
    inner = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(inner, dict):
        return one_line(str(inner or ""))
    words = [str(inner.get("message") or inner.get("detail") or "")]
    words += [f"({inner[key]})" for key in ("code", "type") if isinstance(inner.get(key), str) and inner[key]]
    return one_line(" ".join(words))


def is_html(text: str) -> bool:
    """Whether a body is a web page."""
    return _HTML.match(text) is not None


def one_line(text: str) -> str:
    """The text in one printable line."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def quote(text: str, endpoint: Endpoint) -> str:
    """A server's words for a message. Redacted first, then cut, so that no part of a key is left."""
    text = endpoint.redact(text)
    return text if len(text) <= _MAX_QUOTE else text[:_MAX_QUOTE] + "..."


def requested_wait(headers: Mapping[str, Any]) -> float | None:
    """Seconds of a Retry-After header. It holds seconds or a date; None without one."""
    try:
        if text := headers.get("retry-after-ms"):
            return max(0.0, float(text) / 1000)
        text = str(headers.get("retry-after") or "")
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
            return float(text)
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time()) if text else None
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Patience:
    """How often and how long to ask again.

    Attributes:
        tries: limit on the tries of one call.
        first_wait: seconds before the second try; doubled for each further one, less a random half.
        max_wait: seconds; caps that doubling and Retry-After.
        total: seconds after the first try in which another may begin.
    """

    tries: int = 6
    first_wait: float = 1.0
    max_wait: float = 60.0
    total: float = 900.0


class Retries:
    """A model that is asked again after `Unanswered`.

    Args:
        stop_fn: polled during a wait; true ends it.
        tell_fn: receives a message before each wait.
        sleep_fn, clock_fn: replaced in tests.
    """

    def __init__(
        self,
        llm: LLM,
        patience: Patience | None = None,
        stop_fn: Callable[[], bool] = lambda: False,
        sleep_fn: Callable[[float], None] | None = None,
        clock_fn: Callable[[], float] = time.monotonic,
        tell_fn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._llm, self._patience, self._stop_fn = llm, patience or Patience(), stop_fn
        self._sleep_fn, self._clock_fn, self._tell_fn = sleep_fn or self._wait, clock_fn, tell_fn

    def complete(self, request: ModelRequest) -> ModelResponse:
        """Ask until an answer comes. It counts the tokens and seconds of all tries.

        Raises:
            Unanswered: tries or time are used up; says how often and how long.
            LLMError: asking again is no use, or a stop was requested.
        """
        started = self._clock_fn()
        tokens_in = tokens_out = 0
        for tried in range(1, self._patience.tries + 1):
            try:
                response = self._llm.complete(request)
            except Unanswered as error:
                failure = error
            else:
                tokens_in, tokens_out = response.tokens_in + tokens_in, response.tokens_out + tokens_out
                spent = {"tokens_in": tokens_in, "tokens_out": tokens_out, "seconds": self._clock_fn() - started}
                return response.model_copy(update=spent)
            tokens_in, tokens_out = tokens_in + failure.tokens_in, tokens_out + failure.tokens_out
            wait, passed = self._next_wait(tried, failure.retry_after), self._clock_fn() - started
            if tried == self._patience.tries or passed + wait > self._patience.total:
                break
            self._tell_fn(f"{failure} Asking again in {wait:.0f} s.")
            self._sleep_fn(wait)
        times = f"Asked {tried} times in {passed:.0f} seconds" if tried > 1 else "Asked once"
        requested = f"; it asks to wait {failure.retry_after:.0f} seconds" if failure.retry_after else ""
        message = f"{failure} {times}{requested}. Check the server, or try again later."
        raise Unanswered(message, failure.retry_after, tokens_in, tokens_out)

    def _next_wait(self, tried: int, retry_after: float | None) -> float:
        grown = self._patience.first_wait * 2.0 ** (tried - 1) * (0.5 + random.random() / 2)
        return min(max(grown, retry_after or 0.0), self._patience.max_wait)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._stop_fn():
                raise LLMError("Stopped while waiting to ask the language model again.")
            time.sleep(min(_POLL_SECONDS, left))
