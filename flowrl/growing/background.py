"""A proposer call in a background thread."""

import contextlib
import queue
import threading
from collections.abc import Callable

from flowrl.parallel.scheduler import Event


class BackgroundCall:
    """A proposer call in a daemon thread."""

    def __init__(self, propose_fn: Callable[[], Event]):
        self._answers: queue.Queue[Event | BaseException] = queue.Queue()

        def call() -> None:
            try:
                self._answers.put(propose_fn())
            except BaseException as error:  # raised in `answer`
                self._answers.put(error)

        threading.Thread(target=call, daemon=True).start()

    def answer(self) -> Event | None:
        """The answer, None while there is none; raises what the proposer raised."""
        with contextlib.suppress(queue.Empty):
            answer = self._answers.get_nowait()
            if isinstance(answer, BaseException):
                raise answer
            return answer
        return None
