"""A child process for untrusted code."""

import contextlib
import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from flowrl.paths import PACKAGE_ROOT
from flowrl.verify.isolation.resource_limits import MEBIBYTE, SandboxLimits

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 1.0
READY = b"ready\n"


@dataclass(frozen=True)
class ChildAnswer:
    """A child's answer or why there is none.

    Attributes:
        header: the line of JSON, empty if there is none.
        data: the bytes after it.
        problem: why there is no answer; empty if there is one.
        start_seconds: until it was ready for the code; 0 if it never was.
    """

    header: Mapping[str, Any]
    data: bytes = b""
    problem: str = ""
    start_seconds: float = 0.0
    late: bool = False


class Child:
    """One child process that ends with its block."""

    def __init__(self, role: str, limits: SandboxLimits, deadline: float):
        self.cpu_seconds = 0.0
        self.limits, self.deadline = limits, deadline
        self.started = time.monotonic()
        self.sender: threading.Thread | None = None
        answers, given = os.pipe()
        command = [sys.executable, "-P", "-s", "-B", "-m", "flowrl.verify.isolation.child_main", role, str(given)]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
                pass_fds=(given,),
                start_new_session=True,
            )
        except BaseException:
            os.close(answers)
            raise
        finally:
            os.close(given)
        self.answers = answers

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        os.close(self.answers)

    def kill(self) -> None:
        """Kill the child with its process group."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=_GRACE_SECONDS)
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send the request."""
        self._send(json.dumps({**request, "parent": os.getpid()}).encode() + b"\n", last=False)

    def give(self, data: bytes = b"") -> None:
        """Send the bytes after the request, and end the input."""
        self._send(data, last=True)

    def _send(self, data: bytes, last: bool) -> None:
        """Write in order in the background. A child that does not read must not block us."""
        before = self.sender

        def send() -> None:
            if before is not None:
                before.join()
            with contextlib.suppress(OSError, ValueError):
                assert self.process.stdin is not None
                self.process.stdin.write(data)
                self.process.stdin.flush()
                if last:
                    self.process.stdin.close()

        self.sender = threading.Thread(target=send, daemon=True)
        self.sender.start()

    def answer(self) -> ChildAnswer:
        """Wait for the answer. Kills a child that exceeds its limits or its time."""
        received = bytearray()
        ready = 0.0
        problem = ""
        with selectors.DefaultSelector() as selector:
            selector.register(self.answers, selectors.EVENT_READ)
            while True:
                left = self.deadline - time.monotonic()
                if left <= 0:
                    problem = f"it was not done after {self.limits.seconds:g} s, its time limit"
                    break
                if selector.select(min(left, _POLL_SECONDS)):
                    part = os.read(self.answers, 1 << 16)
                    if not part:
                        break
                    received += part
                    if not ready and received.startswith(READY):
                        ready = time.monotonic() - self.started
                    if len(received) > self.limits.answer:
                        problem = f"it answered more than {self.limits.answer:,} bytes"
                        break
                if self._memory() > self.limits.memory:
                    problem = f"it took more memory than {self.limits.memory // MEBIBYTE:,} MiB"
                    break
        if problem:
            self.kill()
            return ChildAnswer({}, problem=problem, start_seconds=ready, late=time.monotonic() >= self.deadline)
        return self._read(bytes(received), ready)

    def _memory(self) -> int:
        """The child's memory in bytes. Updates its processor time as well."""
        try:
            process = psutil.Process(self.process.pid)
            self.cpu_seconds = max(self.cpu_seconds, sum(process.cpu_times()[:2]))
            return int(process.memory_info().rss)
        except psutil.Error:
            return 0

    def _read(self, received: bytes, ready: float) -> ChildAnswer:
        """Parse what a child sent. A line that it is ready, a line of JSON, bytes."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=_GRACE_SECONDS)
        self.kill()
        line, newline, data = received.removeprefix(READY).partition(b"\n")
        if not newline:
            # Code that ignores the soft limit's signal is killed by the hard one, which does not tell the cause.
            spent = self.process.returncode == -signal.SIGKILL and self.cpu_seconds >= self.limits.cpu_seconds - 1
            problem = _ending(-signal.SIGXCPU if spent else self.process.returncode)
            return ChildAnswer({}, problem=problem, start_seconds=ready)
        try:
            header = json.loads(line)
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict):
            return ChildAnswer({}, problem="its answer cannot be read", start_seconds=ready)
        return ChildAnswer(header, data, start_seconds=ready)


def _ending(code: int | None) -> str:
    if code == -signal.SIGXCPU:
        return "it took more processor time than allowed"
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"the process that ran it was ended by {signal.Signals(-code).name}"
    return f"the process that ran it ended with exit code {code} and no answer"


def _environment() -> dict[str, str]:
    """The child's whole environment. Where Python finds its packages, and settings for the CPU."""
    folders = [str(PACKAGE_ROOT)]
    for package in ("jax", "jaxlib", "craftax", "safetensors", "pydantic"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            folders.append(str(Path(spec.origin).parents[1]))
    environment = {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(folders)),
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "LANG": "C.UTF-8",
    }
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return environment
