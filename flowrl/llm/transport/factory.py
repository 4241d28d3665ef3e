"""From settings to a language model: a provider asked again where that helps, or a transcript; and the ledger."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flowrl.errors import UsageError
from flowrl.llm.transport.client import LLM
from flowrl.llm.transport.endpoint import OPENAI_URL, checked_url
from flowrl.llm.transport.ledger import Ledger, Limits
from flowrl.llm.transport.prices import Price, Prices, read_prices
from flowrl.llm.transport.provider import Provider, find_key
from flowrl.llm.transport.retries import Retries
from flowrl.llm.transport.transcript import Recorder, Replayer
from flowrl.llm.transport.wire import Endpoint
from flowrl.paths import HomePaths


@dataclass(frozen=True)
class LLMSettings:
    """What the options say about the language model.

    Attributes:
        model: its name at the server; not needed with ``replay``.
        base_url: of an OpenAI-compatible server; OpenAI's own if None.
        key_file: holds the key; else it is FLOWRL_API_KEY, then OPENAI_API_KEY of the environment.
        record: the transcript that exchanges are added to.
        replay: the transcript that answers.
        strict: measured values in a prompt must be those of the transcript.
        max_calls, max_cost: limits on the whole home's ledger; US dollars.
        prices: a table of prices; the home's prices.toml if None and that exists.
        timeout: seconds for one answer.
        max_tokens: the longest answer; the server's own limit if None.
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
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda text: None,
) -> Ledger:
    """Returns the language model of a home, every call of which is written into the home's ledger.

    Args:
        stop: asked several times a second while an answer or another try is awaited; true ends the wait.
        tell: hears of failures after which it is asked again.

    Raises:
        UsageError: the options contradict each other, or a file or address of theirs cannot be used.
        LLMError: the extra is not installed, or money is limited and the model's price is unknown.
    """
    paths = HomePaths(home)
    limits = Limits(calls=settings.max_calls, cost=settings.max_cost)
    if settings.replay is not None:
        if settings.record is not None:
            raise UsageError("--record and --replay exclude each other: what is replayed is recorded already.")
        replayer = Replayer(settings.replay, settings.strict)
        return Ledger(replayer, paths.ledger, replayer.model, limits=limits, replayed=True)
    if settings.strict:
        raise UsageError("--replay-strict goes with --replay FILE.")
    if not settings.model:
        raise UsageError(
            "Say which model: --model NAME, with --base-url URL for a server of your own; or --replay FILE."
        )
    base_url = checked_url(settings.base_url or OPENAI_URL)
    prices = Prices(_own_prices(settings, paths), base_url)
    llm = _asked_again(settings, settings.model, base_url, stop, tell)
    return Ledger(llm, paths.ledger, settings.model, prices, limits)


def _own_prices(settings: LLMSettings, paths: HomePaths) -> dict[str, Price]:
    file = settings.prices or (paths.prices if paths.prices.exists() else None)
    return {} if file is None else read_prices(file)


def _asked_again(
    settings: LLMSettings, model: str, base_url: str, stop: Callable[[], bool], tell: Callable[[str], None]
) -> LLM:
    """Returns the provider, asked again where that helps, and recorded if that is wanted."""
    key = find_key(settings.key_file)
    endpoint = Endpoint(model, base_url, key, timeout=settings.timeout, max_tokens=settings.max_tokens)
    retries = Retries(Provider(endpoint, stop), stop=stop, tell=tell)
    return retries if settings.record is None else Recorder(retries, settings.record)
