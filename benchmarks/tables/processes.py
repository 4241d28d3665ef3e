"""Things measured in processes of their own: each sets up its devices as it likes, and they take turns all the same."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from flowrl.errors import TrainingError

Once = Callable[[], Mapping[str, Any]]
"""Measures once and returns figures by name."""


class Measured:
    """A process that measures the same thing each time it is asked, and sleeps in between.

    Attributes:
        target: "module:function"; the function takes ``arguments`` (JSON) and returns a `Once`.
    """

    def __init__(self, target: str, *arguments: Any, environment: Mapping[str, str] | None = None):
        self.target = target
        command = [sys.executable, "-P", "-m", "benchmarks.tables.processes", target, json.dumps(arguments)]
        # What XLA says of programs that it loads from the cache would bury what is said of the measuring.
        variables = {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(os.environ) | dict(environment or {})
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        )

    def ask(self) -> dict[str, Any]:
        """Returns the figures of one more turn.

        Raises:
            TrainingError: the process ended instead; its messages are on stderr.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            raise TrainingError(f"Measuring {self.target} ended with exit code {code}; its messages are above.")
        figures: dict[str, Any] = json.loads(line)
        return figures

    def __enter__(self) -> "Measured":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def measured_once(target: str, *arguments: Any, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Returns the figures of one turn of a new process."""
    with Measured(target, *arguments, environment=environment) as process:
        return process.ask()


def main() -> int:
    """Measures whenever a line comes in, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever asks says that it was stopped
    module, _, name = sys.argv[1].partition(":")
    answers = sys.stdout
    sys.stdout = sys.stderr
    once: Once = getattr(importlib.import_module(module), name)(*json.loads(sys.argv[2]))
    for _ in sys.stdin:
        answers.write(json.dumps(once()) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
