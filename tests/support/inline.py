"""Jobs in this process, one at a time: for tests and debuggers."""

import runpy
import signal
import sys
import time
from unittest.mock import patch

from flowrl.jobs.job import Job, JobEnd
from flowrl.jobs.local import is_locked

_PAUSE_SECONDS = 0.05
"""Between two looks at what else is under way, as a question to a model."""


class InlineExecutor:
    """Runs each job to its end when submitted. As `python -m` would."""

    def __init__(self) -> None:
        self._ends: list[JobEnd] = []

    def submit(self, job: Job) -> None:
        """Run the job to its end."""
        code: int | None = 0
        command = job.command("--inline")
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with patch.object(sys, "argv", command[command.index("-m") + 1 :]):
            try:
                runpy.run_module(job.module, run_name="__main__")
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            finally:
                for number, handler in handlers.items():
                    if signal.getsignal(number) is not handler:
                        signal.signal(number, handler)
        self._ends.append(JobEnd(job, code))

    def wait(self, seconds: float) -> list[JobEnd]:
        """Jobs that have ended since the last call."""
        if not self._ends:
            time.sleep(min(seconds, _PAUSE_SECONDS))
        ends, self._ends = self._ends, []
        return ends

    def cancel(self, job: Job, kill: bool = False) -> None:
        """Nothing: a job has ended when `submit` returns."""

    def is_under_way(self, job: Job) -> bool:
        """Whether another process works on the job's folder."""
        return is_locked(job)

    def is_waiting(self, job: Job) -> bool:
        """False: nothing waits here."""
        return False

    def close(self) -> None:
        """Nothing to let go of."""
