"""Jobs that are small scripts of their own, and waiting for what becomes of them."""

import time
from pathlib import Path

from flowrl.jobs.job import Executor, JobEnd

MODULE = """
import json, os, signal, sys, time
from flowrl.jobs.worker import run_worker
from flowrl.schema.run import TrainResult

def work(folder):
    todo = json.loads((folder / "todo.json").read_text())
    stopped = []
    try:
        signal.signal(signal.SIGTERM, lambda *_: None if todo.get("deaf") else stopped.append(1))
    except ValueError:
        pass
    cores = sorted(os.sched_getaffinity(0))
    (folder / "seen.json").write_text(json.dumps({"cores": cores, "card": os.environ.get("CUDA_VISIBLE_DEVICES")}))
    print("said", todo.get("word"), flush=True)
    end = time.monotonic() + todo.get("seconds", 0)
    while time.monotonic() < end and not stopped:
        time.sleep(0.02)
    if todo.get("code"):
        sys.exit(todo["code"])
    return None if stopped else TrainResult(outcome="done")

if __name__ == "__main__":
    sys.exit(run_worker(work, "todo.json"))
"""


def ends(executor: Executor, count: int = 1, seconds: float = 30.0) -> list[JobEnd]:
    found: list[JobEnd] = []
    deadline = time.monotonic() + seconds
    while len(found) < count:
        assert time.monotonic() < deadline, "nothing ended"
        found += executor.wait(0.2)
    return found


def until(what: Path, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not what.exists() or not what.read_text():
        assert time.monotonic() < deadline, f"{what} does not appear"
        time.sleep(0.02)
