"""What hostile programs aim at, made to be looked at afterwards: a folder, a listener, a process, a secret."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.hostile.program import BREACH, Program
from flowrl.schema.skill import Skill
from flowrl.verify.verdict import Verdict

SECRET_TEXT = "canary-4711-secret"
"""Stands in a file, in the environment and in the memory of the process that verifies."""
_VARIABLE = "FLOWRL_CANARY_KEY"
_SLEEP = "import time\nwhile True: time.sleep(600)"


class Canary:
    """The things that programs are aimed at; knows how they were, so that it can say what has changed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.secret = folder / "secret.txt"
        self.secret.write_text(SECRET_TEXT)
        (folder / "kept").write_text("kept")
        (folder / "empty").mkdir()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", self.port))
        self.datagrams.setblocking(False)
        self.victim = subprocess.Popen([sys.executable, "-P", "-c", _SLEEP], start_new_session=True)
        os.environ[_VARIABLE] = SECRET_TEXT
        self.before = self._state()

    def __enter__(self) -> "Canary":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.environ.pop(_VARIABLE, None)
        self.victim.kill()
        self.victim.wait()
        self.listener.close()
        self.datagrams.close()

    def aimed(self, program: Program, trusted: bool = False) -> Skill:
        """The program as a skill that goes for these things."""
        return program.aimed(str(self.folder), self.port, self.victim.pid, str(self.secret), trusted)

    def fresh(self, program: Program, trusted: bool = False) -> Skill:
        """The same as a text that nobody has verified before."""
        skill = self.aimed(program, trusted)
        return skill.model_copy(update={"code": f"{skill.code}\n# {time.time_ns()}\n"})

    def harm(self) -> list[str]:
        """What has been done to them, and which processes are left over, a sentence each."""
        found = [f"{what} is {now}, was {self.before.get(what)}" for what, now in self._state().items()
                 if now != self.before.get(what)]  # fmt: skip
        found += [f"{what} is gone" for what in self.before.keys() - self._state().keys()]
        with contextlib.suppress(BlockingIOError):
            self.listener.accept()
            found.append("somebody called")
        with contextlib.suppress(BlockingIOError):
            self.datagrams.recv(1)
            found.append("somebody sent a datagram")
        left = [child for child in psutil.Process().children(recursive=True) if _is_sandbox(child)]
        return found + [f"process {child.pid} is left" for child in left]

    def _state(self) -> dict[str, str]:
        files = {str(path): _described(path) for path in [self.folder, *sorted(self.folder.rglob("*"))]}
        return {**files, "the victim": self._victim()}

    def _victim(self) -> str:
        if self.victim.poll() is not None:
            return f"dead, {self.victim.returncode}"
        process = psutil.Process(self.victim.pid)
        limit = process.rlimit(psutil.RLIMIT_NOFILE)
        return f"alive, nice {process.nice()}, on {process.cpu_affinity()}, files {limit}"


def leaks(verdict: Verdict) -> list[str]:
    """What a verdict says that it must not: a secret, a success of the attack, a traceback."""
    said = json.dumps(verdict.model_dump())
    return [word for word in (SECRET_TEXT, BREACH, "Traceback") if word in said]


def _described(path: Path) -> str:
    status = path.lstat()
    content = path.read_bytes().hex() if path.is_file() else ""
    extra = os.listxattr(path, follow_symlinks=False) if hasattr(os, "listxattr") else []
    return f"{status.st_mode:o} {status.st_uid} {status.st_nlink} {status.st_mtime_ns} {extra} {content}"


def _is_sandbox(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE and "flowrl.verify.isolation.child_main" in process.cmdline()
    return False
