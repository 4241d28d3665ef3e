"""What went wrong with a call of a language model, in one line: what can be tried again, and what cannot."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from flowrl.errors import LLMError, Unanswered

_OVERFLOW = re.compile(
    r"maximum (context|model) length"
    r"|(context|prompt|input)[^.]{0,40}(exceed|too long|too large)|exceed[^.]{0,40}context",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"model_not_found|model[^.]{0,80}(not found|not exist|not available)", re.IGNORECASE)
_NO_QUOTA = re.compile(r"insufficient_quota|billing_hard_limit|credit balance", re.IGNORECASE)
_SCHEMA = re.compile(r"schema|grammar|response_format|structured|guided", re.IGNORECASE)
_AGAIN = (408, 409, 425, 429)
_LONGEST_QUOTE = 240


@dataclass(frozen=True)
class Place:
    """Who was asked, as it may be shown."""

    model: str
    url: str

    def __str__(self) -> str:
        """Returns ``model 'NAME' at URL``."""
        return f"model {self.model!r} at {self.url}"


@dataclass(frozen=True)
class Refusal:
    """An HTTP answer that is no success.

    Attributes:
        said: the server's own words with its codes, in one line.
        retry_after: seconds that it asks to wait.
    """

    status: int
    said: str
    retry_after: float | None = None

    @property
    def overflows(self) -> bool:
        """Whether the prompt is longer than the model can read."""
        return self.status == 413 or (self.status in (400, 422, 500) and bool(_OVERFLOW.search(self.said)))

    @property
    def lacks_the_model(self) -> bool:
        """Whether the server has no such model, or no such address."""
        return self.status == 404 or (self.status in (400, 422) and bool(_NO_MODEL.search(self.said)))

    @property
    def may_be_the_schema(self) -> bool:
        """Whether the same question without a JSON schema may be answered."""
        if self.overflows or _NO_MODEL.search(self.said):
            return False
        return self.status in (400, 422) or (self.status in (404, 500, 501) and bool(_SCHEMA.search(self.said)))


def explain(refusal: Refusal, place: Place, quote: str, models: Sequence[str] | None = None) -> LLMError:
    """Returns the error to raise; `Unanswered` if asking again may help.

    Args:
        quote: what it said, as it may be shown.
        models: those that the server has, None if it did not tell.
    """
    status, said = refusal.status, f" It says: {quote}" if quote else ""
    if status in (401, 403):
        return LLMError(
            f"The key for {place} was refused (HTTP {status}).{said} Set FLOWRL_API_KEY or OPENAI_API_KEY, or give "
            f"--key-file FILE."
        )
    if refusal.overflows:
        return LLMError(
            f"The prompt is longer than {place} can read (HTTP {status}).{said} Take a model with a larger context, "
            f"start your server with one, or give a shorter --manual."
        )
    if status == 429 and _NO_QUOTA.search(refusal.said):
        return LLMError(f"The account of {place} has no money left (HTTP 429).{said} Add some, or take another server.")
    if status in _AGAIN or status >= 500:
        return Unanswered(f"No answer from {place}: HTTP {status}.{said}", refusal.retry_after)
    if refusal.lacks_the_model:
        return LLMError(_not_there(refusal, place, said, models))
    if 300 <= status < 400:
        return LLMError(f"{place} sends us elsewhere (HTTP {status}), where a key must not follow. Correct --base-url.")
    return LLMError(f"The question was refused by {place} (HTTP {status}).{said} Try another model or server.")


def _not_there(refusal: Refusal, place: Place, said: str, models: Sequence[str] | None) -> str:
    if models is None:
        return (
            f"There is no {place} (HTTP {refusal.status}).{said} Correct --model; or --base-url, which mostly "
            f"ends with /v1."
        )
    shown = ", ".join(repr(name) for name in models[:12]) + (f" and {len(models) - 12} more" if models[12:] else "")
    return f"There is no {place} (HTTP {refusal.status}).{said} It has: {shown or 'none'}. Correct --model."


def said_by(body: object) -> str:
    """Returns what an error's body says: its message and codes in one line, whatever the server's dialect."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if not isinstance(inner, Mapping):
            return one_line(str(inner))
        words = [str(inner.get("message") or inner.get("detail") or "")]
        words += [f"({inner[key]})" for key in ("code", "type") if isinstance(inner.get(key), str) and inner[key]]
        return one_line(" ".join(word for word in words if word))
    text = str(body or "")
    return "a web page" if looks_like_html(text) else one_line(text)


def looks_like_html(text: str) -> bool:
    """Returns whether a body is a web page."""
    return bool(re.match(r"\s*<(!doctype|html|head|body|\?xml)", text, re.IGNORECASE))


def one_line(text: str) -> str:
    """Returns the text in one line, without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def shown(text: str, secrets: Sequence[str]) -> str:
    """Returns a server's words as they may be shown: without secrets, then cut, so that no part of one is left."""
    text = without_secrets(text, secrets)
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "..."


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """Returns the text with each secret, and whatever is shaped like a key, replaced."""
    for secret in secrets:
        text = text.replace(secret, "[key]")
    return re.sub(r"\bsk-[A-Za-z0-9_*.-]{6,}", "[key]", text)


def wait_asked(headers: Mapping[str, Any]) -> float | None:
    """Returns the seconds that Retry-After asks for, given as seconds or as a date; None if it does not."""
    try:
        if text := headers.get("retry-after-ms"):
            return max(0.0, float(text) / 1000)
        text = str(headers.get("retry-after") or "")
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
            return float(text)
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time()) if text else None
    except (ValueError, OverflowError):
        return None
