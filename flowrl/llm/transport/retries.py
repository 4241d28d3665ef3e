"""Asking again: what a server could not answer now it may answer in a while."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from flowrl.errors import LLMError, Unanswered
from flowrl.llm.transport.client import LLM, Request, Response

_SLICE = 0.2
"""Seconds after which a wait looks whether it is to end."""


@dataclass(frozen=True)
class Patience:
    """How often and how long to ask again.

    Attributes:
        tries: most tries of one call.
        first_wait: seconds before the second try; doubled for each further one, of which a random half is taken off.
        max_wait: seconds; neither that doubling nor a Retry-After makes a wait longer.
        total: seconds since the first try after which none is begun.
    """

    tries: int = 6
    first_wait: float = 1.0
    max_wait: float = 60.0
    total: float = 900.0


class Retries:
    """A language model that is asked again after `Unanswered`, with growing waits, a bounded number of times."""

    def __init__(
        self,
        llm: LLM,
        patience: Patience | None = None,
        stop: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Args: ``stop`` ends a wait, ``tell`` hears of each; ``sleep``, ``clock``: the machine's but in tests."""
        self._llm, self._patience, self._stop = llm, patience or Patience(), stop
        self._sleep, self._clock, self._tell = sleep or self._wait, clock, tell

    def complete(self, request: Request) -> Response:
        """Returns the answer; tokens of answers that were empty and the time of all tries are counted in it.

        Raises:
            Unanswered: no try brought an answer, or the time is up; says how often and how long.
            LLMError: there is none, and asking again is no use; or a stop was asked for.
        """
        started = self._clock()
        tokens_in = tokens_out = 0
        for tried in range(1, self._patience.tries + 1):
            try:
                response = self._llm.complete(request)
            except Unanswered as error:
                failure = error
            else:
                return response.model_copy(
                    update={
                        "tokens_in": response.tokens_in + tokens_in,
                        "tokens_out": response.tokens_out + tokens_out,
                        "seconds": self._clock() - started,
                    }
                )
            tokens_in, tokens_out = tokens_in + failure.tokens_in, tokens_out + failure.tokens_out
            wait = self._next_wait(tried, failure.retry_after)
            passed = self._clock() - started
            if tried == self._patience.tries or passed + wait > self._patience.total:
                break
            self._tell(f"{failure} It is asked again in {wait:.0f} s.")
            self._sleep(wait)
        times = f"Asked {tried} times in {passed:.0f} seconds" if tried > 1 else "Asked once"
        asked_wait = f"; it asks to wait {failure.retry_after:.0f} seconds" if failure.retry_after else ""
        message = f"{failure} {times}{asked_wait}. Look after the server, or try again later."
        raise Unanswered(message, failure.retry_after, tokens_in, tokens_out)

    def _next_wait(self, tried: int, retry_after: float | None) -> float:
        grown = self._patience.first_wait * 2.0 ** (tried - 1) * (0.5 + random.random() / 2)
        return min(max(grown, retry_after or 0.0), self._patience.max_wait)

    def _wait(self, seconds: float) -> None:
        """Waits, looking for a stop several times a second.

        Raises:
            LLMError: a stop was asked for.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._stop():
                raise LLMError("Stopped while waiting to ask the language model again.")
            time.sleep(min(_SLICE, left))
