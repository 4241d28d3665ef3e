"""What all worker processes have in common: a folder to work on, its lock, the cores they may use, a log."""

import argparse
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from filelock import Timeout

from flowrl.errors import FlowRLError
from flowrl.files import lock_of, open_to_append
from flowrl.verify.isolation.seccomp import deny_network

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 3
"""Exit codes."""
ORPHAN_SECONDS = 30.0
PATIENCE_SECONDS = 10.0
"""How long another process may take to let go of the folder."""


def run_worker(work_fn: Callable[[Path], int], needs: str) -> int:
    """Returns the exit code of a worker that is run from the command line: `python -m MODULE FOLDER [--cores 0,1]`.

    Args:
        work_fn: does the work on the folder, which nobody else works on meanwhile; jax is not imported yet.
        needs: a file that the folder must hold.
    """
    parser = argparse.ArgumentParser(description="A worker process; flowrl starts it.")
    parser.add_argument("folder", type=Path, help=f"a folder with a {needs}")
    parser.add_argument("--cores", default="", help="processor cores that it may use, e.g. 0,1; all if left out")
    parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS, help="seconds to wait for the folder")
    parser.add_argument("--parent", type=int, help="a process without which it stops, saving a checkpoint")
    parser.add_argument("--inline", action="store_true", help="in a process that does more: it keeps its network")
    given = parser.parse_args()
    if not (given.folder / needs).exists():
        sys.stderr.write(f"usage: {given.folder} has no {needs}.\n")
        return USAGE
    if given.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in given.cores.split(",")})
    if given.parent is not None:
        threading.Thread(target=_stop_without, args=(given.parent,), daemon=True).start()
    try:
        _log_to(given.folder / "log.txt")
        if not given.inline:  # what is denied is denied for good, and to all of the process
            logging.getLogger("flowrl.jobs.worker").info("%s", deny_network())
        with lock_of(given.folder / "lock", timeout=given.patience):
            return work_fn(given.folder)
    except Timeout:
        sys.stderr.write(f"{given.folder} is being trained by another process.\n")
    except FlowRLError as error:
        sys.stderr.write(f"{error}\n")
    return FAILED


def _log_to(file: Path) -> None:
    logging.basicConfig(
        stream=io.TextIOWrapper(open_to_append(file), encoding="utf-8"),
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def _stop_without(parent: int) -> None:
    """Asks this process to stop once its parent is gone, and ends it if it does not within half a minute."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
