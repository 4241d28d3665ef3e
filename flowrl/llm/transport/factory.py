"""From the CLI's options to a model. Always behind the ledger."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flowrl.errors import UsageError
from flowrl.llm.transport.client import LLM
from flowrl.llm.transport.endpoint import OPENAI_URL, Endpoint, checked_url, find_key
from flowrl.llm.transport.failures import Retries
from flowrl.llm.transport.ledger import Budget, Ledger, Prices, read_prices
from flowrl.llm.transport.provider import Provider
from flowrl.llm.transport.transcript import Replayer, TranscriptRecorder
from flowrl.paths import HomePaths


@dataclass(frozen=True)
class LLMSettings:
    """The options of the language model.

    Attributes:
        model: its name at the server; not needed with ``replay``.
        base_url: of an OpenAI-compatible server; OpenAI's own if None.
        key_file: holds the key; else FLOWRL_API_KEY, then OPENAI_API_KEY.
        strict: measured values in prompts must match the transcript too.
        max_calls, max_cost: limits on the home's whole ledger; US dollars.
        prices: price table; the home's prices.toml if None.
        max_tokens: length limit of an answer; the server's own if None.
    """

    model: str | None = None
    base_url: str | None = None
    key_file: Path | None = None
    record: Path | None = None
    replay: Path | None = None
    strict: bool = False
    max_calls: int | None = None
    max_cost: float | None = None
    prices: Path | None = None
    timeout: float = 300.0
    max_tokens: int | None = None


def make_llm(
    settings: LLMSettings,
    home: Path,
    stop_fn: Callable[[], bool] = lambda: False,
    tell_fn: Callable[[str], None] = lambda text: None,
) -> Ledger:
    """A home's language model behind its ledger.

    Args:
        stop_fn: polled while an answer or another try is awaited; true ends the wait.
        tell_fn: receives a message about each retry.

    Raises:
        UsageError: options contradict each other, or name an unusable file or address.
        LLMError: the extra is not installed, or money is limited and the model's price is unknown.
    """
    paths = HomePaths(home)
    budget = Budget(calls=settings.max_calls, cost=settings.max_cost)
    if settings.replay is not None:
        if settings.record is not None:
            raise UsageError("--record and --replay exclude each other: what is replayed is recorded already.")
        replayer = Replayer(settings.replay, settings.strict)
        return Ledger(replayer, paths.ledger, replayer.model, budget=budget, replayed=True)
    if settings.strict:
        raise UsageError("--replay-strict goes with --replay FILE.")
    if not settings.model:
        raise UsageError("No model. Give --model NAME, with --base-url URL for your own server; or --replay FILE.")
    base_url = checked_url(settings.base_url or OPENAI_URL)
    price_file = settings.prices or (paths.prices if paths.prices.exists() else None)
    prices = Prices({} if price_file is None else read_prices(price_file), base_url)
    key = find_key(settings.key_file)
    endpoint = Endpoint(settings.model, base_url, key, settings.timeout, max_tokens=settings.max_tokens)
    llm: LLM = Retries(Provider(endpoint, stop_fn), stop_fn=stop_fn, tell_fn=tell_fn)
    if settings.record is not None:
        llm = TranscriptRecorder(llm, settings.record)
    return Ledger(llm, paths.ledger, settings.model, prices, budget)
