"""Executors: where the commands of jobs run. A job is a folder and a command; its outcome lies in the folder."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

LOG_LINES = 40


@dataclass(frozen=True)
class Job:
    """A command that works on a folder.

    Attributes:
        name: what it is called; no two jobs under way have the same.
        folder: all that it reads and writes.
        module: the Python module that is run with the folder as its argument.
        answer: the file in the folder that is its outcome; without it the job came to nothing.
    """

    name: str
    folder: Path
    module: str = "flowrl.ppo_flow"
    answer: str = "result.json"

    def command(self, *options: str) -> list[str]:
        """Returns the command line; the folder that it is started from is no place to import from (-P)."""
        return [sys.executable, "-P", "-m", self.module, str(self.folder.resolve()), *options]

    @property
    def lock(self) -> Path:
        """The lock that the job's process holds while it works."""
        return self.folder / "lock"

    @property
    def log(self) -> Path:
        """What the job's process prints."""
        return self.folder / "log.txt"

    @property
    def heartbeat(self) -> Path:
        """Where the job's process says now and then that it is alive: its process id and the time."""
        return self.folder / "heartbeat"

    @property
    def is_answered(self) -> bool:
        """Whether the outcome is there."""
        return (self.folder / self.answer).exists()

    def last_words(self) -> str:
        """Returns the end of the log, indented."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:] if self.log.exists() else []
        return "\n".join(f"    {line}" for line in lines)


@dataclass(frozen=True)
class JobEnd:
    """A job's process is gone.

    Attributes:
        code: its exit code, None where nobody knows it; negative: the signal that ended it.
    """

    job: Job
    code: int | None

    def why(self) -> str:
        """Returns how it ended without an answer, with the end of its log."""
        return f"The worker of {self.job.folder} ended without a result (exit code {self.code}). Its log ends:\n" + (
            self.job.last_words()
        )


class Executor(Protocol):
    """Starts the commands of jobs and says when they are gone; what came of them lies in their folders."""

    def submit(self, job: Job) -> None:
        """Starts a job, or watches the process that works on its folder already.

        Raises:
            FlowRLError: it cannot be started.
        """

    def wait(self, seconds: float) -> Sequence[JobEnd]:
        """Returns the jobs that have ended since it was last asked, as soon as there is one, else after ``seconds``."""

    def cancel(self, job: Job, kill: bool = False) -> None:
        """Asks a job to save what it needs to go on and to leave; ends it if it does not, or if told to ``kill`` it.

        It returns at once; the end is reported by `wait`.
        """

    def is_under_way(self, job: Job) -> bool:
        """Returns whether a process works on the job, be it started here or by an earlier process."""

    def is_waiting(self, job: Job) -> bool:
        """Returns whether a job that was submitted waits for a free place, so that no sign of life can be expected."""

    def close(self) -> None:
        """Lets go of all resources; jobs under way are left to themselves."""
