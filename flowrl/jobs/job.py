"""Jobs and executors: a job is a folder and a command. Its outcome lies in the folder."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flowrl.files import open_to_append
from flowrl.paths import JobPaths

LOG_LINES = 40


@dataclass(frozen=True)
class Job(JobPaths):
    """A folder and its command.

    Attributes:
        name: what it is called; no two jobs under way have the same.
        module: the Python module that is run with the folder as its argument.
    """

    name: str
    module: str = "flowrl.ppo_flow"

    def command(self, *options: str) -> list[str]:
        """The command line. With -P nothing is imported from the current folder."""
        return [sys.executable, "-P", "-m", self.module, str(self.folder.resolve()), *options]

    def start(
        self, *options: str, environment: Mapping[str, str] | None = None, outlives_us: bool = False
    ) -> "subprocess.Popen[bytes]":
        """Start the command as a child process that prints into the log.

        Args:
            environment: variables beyond those of this process.
            outlives_us: the signals that a terminal sends to this process do not reach it.
        """
        command = self.command(*options)
        variables = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        with open_to_append(self.log) as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, start_new_session=outlives_us
            )

    @property
    def is_answered(self) -> bool:
        """Whether the outcome is there."""
        return self.result.exists()

    def last_words(self) -> str:
        """The indented end of the log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:] if self.log.exists() else []
        return "\n".join(f"    {line}" for line in lines)


@dataclass(frozen=True)
class JobEnd:
    """A job's process is gone.

    Attributes:
        code: its exit code, None if unknown; negative: the signal that ended it.
    """

    job: Job
    code: int | None

    def why(self) -> str:
        """How it ended without a result and its log's end."""
        return (
            f"The worker of {self.job.folder} ended without a result (exit code {self.code}). "
            f"Its log ends:\n{self.job.last_words()}"
        )


class Executor(Protocol):
    """Starts jobs and reports their ends. Outcomes lie in the folders."""

    def submit(self, job: Job) -> None:
        """Start a job or watch its process.

        Raises:
            FlowRLError: it cannot be started.
        """

    def wait(self, seconds: float) -> Sequence[JobEnd]:
        """Jobs that have ended since the last call. As soon as there is one, else after ``seconds``."""

    def cancel(self, job: Job, kill: bool = False) -> None:
        """Ask a job to save and leave. End it if it does not, or at once with ``kill``.

        Returns at once; `wait` reports the end.
        """

    def is_under_way(self, job: Job) -> bool:
        """Whether a process works on the job. Started here or by an earlier process."""

    def is_waiting(self, job: Job) -> bool:
        """Whether a submitted job still waits. Its heartbeat is then no sign of anything."""

    def close(self) -> None:
        """Let go of all resources. Jobs under way are left to themselves."""
