"""The main program of all worker processes. A folder, its lock, its log, the work, the result."""

import argparse
import io
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from filelock import Timeout
from pydantic import BaseModel

from flowrl.errors import FlowRLError
from flowrl.files import lock_of, open_to_append, write_json, write_text
from flowrl.paths import JobPaths
from flowrl.verify.isolation.seccomp import deny_network

logger = logging.getLogger(__name__)
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 3
"""Exit codes."""
ORPHAN_SECONDS = 30.0
"""How long a worker whose parent is gone may take to leave."""
PATIENCE_SECONDS = 10.0
"""How long another process may take to let go of the folder."""


def run_worker(
    work_fn: Callable[[Path], BaseModel | None],
    needs: str = "request.json",
    failed_fn: Callable[[str], BaseModel] | None = None,
) -> int:
    """Work on the command line's folder.

    The folder is locked, the network denied, a heartbeat written, and what ``work_fn`` returns becomes `result.json`.

    Args:
        work_fn: does the work on the folder; None: it was asked to stop, and the same command goes on another time.
        needs: a file that the folder must hold.
        failed_fn: makes the result of a failure from its message; without it there is none.
    """
    given = _arguments(needs)
    paths = JobPaths(given.folder)
    if not (given.folder / needs).exists():
        sys.stderr.write(f"usage: {given.folder} has no {needs}.\n")
        return USAGE
    if given.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in given.cores.split(",")})
    if given.parent is not None:
        threading.Thread(target=_stop_without, args=(given.parent,), daemon=True).start()
    try:
        log = io.TextIOWrapper(open_to_append(paths.log), encoding="utf-8")
        logging.basicConfig(stream=log, level=logging.INFO, format=_LOG_FORMAT)
        if not given.inline:  # denied for good, and to the whole process
            logger.info("%s", deny_network())
        with lock_of(paths.lock, timeout=given.patience):
            beat(paths)
            return _work_on(paths, work_fn, failed_fn)
    except Timeout:
        sys.stderr.write(f"Another process works on {given.folder}.\n")
    except FlowRLError as error:
        sys.stderr.write(f"{error}\n")
    return FAILED


def beat(paths: JobPaths) -> None:
    """Write the heartbeat: this process's id and the time."""
    write_text(paths.heartbeat, f"{os.getpid()} {time.time():.3f}\n")


def _arguments(needs: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A worker process; flowrl starts it.")
    parser.add_argument("folder", type=Path, help=f"a folder with a {needs}")
    parser.add_argument("--cores", default="", help="processor cores that it may use, e.g. 0,1; all if left out")
    parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS, help="seconds to wait for the folder")
    parser.add_argument("--parent", type=int, help="a process without which it stops, saving a checkpoint")
    parser.add_argument("--inline", action="store_true", help="in a process that does more: it keeps its network")
    return parser.parse_args()


def _work_on(
    paths: JobPaths, work_fn: Callable[[Path], BaseModel | None], failed_fn: Callable[[str], BaseModel] | None
) -> int:
    try:
        result = work_fn(paths.folder)
        if result is not None:
            write_json(paths.result, result)
    except FlowRLError as error:
        message = str(error)
    except Exception as error:
        logger.error("%s", traceback.format_exc())
        message = f"{type(error).__name__}: {error} (traceback in {paths.log})"
    else:
        logger.info("stopped; the same command goes on from here" if result is None else "done")
        return STOPPED if result is None else DONE
    logger.error("%s", message)
    if failed_fn is not None:
        write_json(paths.result, failed_fn(message))
    return FAILED


def _stop_without(parent: int) -> None:
    """Stop this process once its parent is gone. By SIGTERM, then by SIGKILL."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
