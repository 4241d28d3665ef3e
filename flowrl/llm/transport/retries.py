"""Asking again after a failure that may pass."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from flowrl.errors import LLMError, Unanswered
from flowrl.llm.transport.client import LLM, ModelRequest, ModelResponse

_POLL_SECONDS = 0.2
"""Seconds between two looks whether to stop."""


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
    """A model that is asked again after `Unanswered`, with growing waits.

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
        """Ask until an answer comes.

        It counts the tokens and seconds of all tries.

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
