"""Frames a second, compile time and memory of training as `flowrl grow` does it, and the time of `flowrl --help`."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import jax

from flowrl.bench.measure import Row, row
from flowrl.bench.setup import plan_env, plan_trainer
from flowrl.config import build_config
from flowrl.learning.programs import Programs

NAME, GOAL, UPDATES = "Craftax-Classic-Symbolic-v1", "Make Wood Pickaxe", 12


def peak_memory_gib() -> float:
    """Returns the largest resident memory that this process has had, in GiB.

    On Linux `ru_maxrss` begins at what the parent held when it forked; the process's own high-water mark does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def train_some(own_only: bool) -> dict[str, list[float]]:
    """Trains the plan's three experts, or its own one, for a few updates in this process; returns what it took."""
    env = plan_env(NAME, GOAL)
    trained = (2,) if own_only else (0, 1, 2)
    programs = Programs(plan_trainer(env, build_config(), trained))
    start = time.perf_counter()
    state = programs.init(jax.random.PRNGKey(0), {})
    state, _ = jax.block_until_ready(programs.update(state))
    compiling = time.perf_counter() - start
    rates = []
    for _ in range(UPDATES):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(programs.update(state))
        rates.append(programs.trainer.frames_per_update / (time.perf_counter() - start))
    return {"rates": rates, "first": [compiling], "memory": [peak_memory_gib()]}


def _in_a_process_of_its_own(own_only: bool) -> dict[str, list[float]]:
    code = f"import json; from flowrl.bench.training import train_some; print(json.dumps(train_some({own_only})))"
    done = subprocess.run([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, check=True)
    answer: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _help_seconds() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-m", "flowrl", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def measure() -> list[Row]:
    """Returns the rows; training runs in child processes, so that its memory is its own."""
    table = "training, 3 experts of width 128"
    rows = []
    for label, own_only in (("all three experts learn", False), ("two frozen, one learns, as grow does", True)):
        got = _in_a_process_of_its_own(own_only)
        rows += [
            row(table, label, got["rates"], "frames/s"),
            row(table, f"{label}: start to the first update, compiling", got["first"], "s"),
            row(table, f"{label}: peak memory", got["memory"], "GiB", at_most=2.0 * 1e9 / 2**30),
        ]
    _help_seconds()
    return [*rows, row("command line", "flowrl --help", [_help_seconds() for _ in range(5)], "s", at_most=0.5)]
