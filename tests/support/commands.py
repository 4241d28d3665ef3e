"""The command line, in this process or in one of its own."""

import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from flowrl.cli.kb import app
from flowrl.errors import FlowRLError


def kb(*arguments: str) -> tuple[int, str]:
    """Returns exit code and output of a kb command; an error of flowrl's own is raised, as `flowrl.cli` expects it."""
    done = CliRunner().invoke(app, list(arguments))
    if isinstance(done.exception, FlowRLError):
        raise done.exception
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def flowrl(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "flowrl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=600)
