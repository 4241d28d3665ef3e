"""Workers on this machine: a child process a run, started and watched through the run's folder.

What a run says of itself lies in its files, so that a run whose parent died is watched on like any other.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
from filelock import FileLock, Timeout

from flowrl.errors import TrainingError
from flowrl.files import read_lines
from flowrl.parallel.paths import RunPaths

_POLL_SECONDS = 0.25
_GRACE_SECONDS = 20.0
_LOG_LINES = 40


def follow(run: RunPaths, alive_fn: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """Yields the rows of a run's metrics as they come, until ``alive_fn`` says that no more will."""
    seen = 0
    while True:
        over = not alive_fn()
        rows = read_lines(run.metrics)
        # A run that goes on from a checkpoint drops the rows that it will write again.
        seen = min(seen, len(rows))
        yield from rows[seen:]
        seen = len(rows)
        if over:
            return
        time.sleep(_POLL_SECONDS)


@dataclass
class Worker:
    """A run being trained; ``process`` is None where another parent started it."""

    run: RunPaths
    process: "subprocess.Popen[bytes] | None"

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields the run's metrics as they come, from the first; returns once the run has ended.

        Raises:
            TrainingError: the worker is gone without a result; shows the end of its log.
        """
        yield from follow(self.run, self._alive)
        if not self.run.result.exists():
            raise TrainingError(self._why_gone())

    def _alive(self) -> bool:
        if self.process is not None:
            return self.process.poll() is None
        try:
            with FileLock(self.run.lock, timeout=0):
                return False
        except Timeout:
            return True

    def _why_gone(self) -> str:
        code = self.process.returncode if self.process is not None else None
        lines = self.run.log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if self.run.log.exists() else []
        tail = "\n".join(f"    {line}" for line in lines)
        return f"The worker of {self.run.folder} ended without a result (exit code {code}). Its log ends:\n{tail}"

    def stop(self) -> None:
        """Asks the worker to save a checkpoint and leave; ends it if it does not within 20 seconds."""
        worker = self._process()
        if worker is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.terminate()
            try:
                worker.wait(_GRACE_SECONDS)
            except psutil.TimeoutExpired:
                worker.kill()
                worker.wait()

    def _process(self) -> psutil.Process | None:
        """The worker as a process; one that another parent started is known by its heartbeat."""
        with contextlib.suppress(psutil.Error, OSError, ValueError, IndexError):
            if self.process is not None:
                return psutil.Process(self.process.pid)
            found = psutil.Process(int(self.run.heartbeat.read_text().split()[0]))
            if str(self.run.folder.resolve()) in found.cmdline():
                return found
        return None


def start_worker(run: RunPaths) -> Worker:
    """Starts the run's worker process, or returns the one that trains it already."""
    try:
        with FileLock(run.lock, timeout=0):
            pass
    except Timeout:
        return Worker(run, None)
    with run.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flowrl.ppo_flow", str(run.folder.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    return Worker(run, process)
