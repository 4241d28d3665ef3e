"""A question that takes its time, put from a process that does not wait."""

import contextlib
import queue
import threading
from collections.abc import Callable

from flowrl.parallel.scheduler import Event


class Asking:
    """A question to a proposer, answered in a thread of its own; the thread ends with the process at the latest."""

    def __init__(self, ask_fn: Callable[[], Event]):
        self._answers: queue.Queue[Event | BaseException] = queue.Queue()

        def ask() -> None:
            try:
                self._answers.put(ask_fn())
            except BaseException as error:  # raised where somebody sees it: in `answer`
                self._answers.put(error)

        threading.Thread(target=ask, daemon=True).start()

    def answer(self) -> Event | None:
        """Returns the answer, None while there is none; what the proposer raised is raised here."""
        with contextlib.suppress(queue.Empty):
            answer = self._answers.get_nowait()
            if isinstance(answer, BaseException):
                raise answer
            return answer
        return None
