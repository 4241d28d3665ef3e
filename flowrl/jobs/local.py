"""Jobs as child processes on this machine. Each has its own cores and GPU where there are several.

Progress lies in the files of a job, so a worker whose parent died is watched like any other.
"""

import contextlib
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
from filelock import Timeout

from flowrl.errors import TrainingError
from flowrl.files import ModelT, lock_of, read_json
from flowrl.jobs.job import Job, JobEnd
from flowrl.jobs.watched import MetricsReader
from flowrl.schema.metrics import OnRow

_POLL_SECONDS = 0.25
GRACE_SECONDS = 20.0
"""How long a process that was asked to leave may take to save a checkpoint."""
WORKER_GIB = {"Craftax-Classic-Symbolic-v1": 1.2, "Craftax-Symbolic-v1": 2.2, "Tiny-Grid-v1": 0.7}
"""Peak memory of a worker on a CPU with the default batch, in GiB: the high-water mark of the process (VmHWM)."""


@dataclass(frozen=True)
class Slot:
    """The part of this machine for one job.

    Attributes:
        cores: the processor cores; none: all.
        card: the GPU, as CUDA_VISIBLE_DEVICES names it; None: those that jax finds.
        memory: the share of the card's memory; None: as the run's configuration says.
    """

    cores: tuple[int, ...] = ()
    card: str | None = None
    memory: float | None = None

    def options(self) -> list[str]:
        """Options for the worker's command line."""
        return ["--cores", ",".join(map(str, self.cores))] if self.cores else []

    def environment(self) -> dict[str, str]:
        """The worker's additional environment variables."""
        found = {}
        if self.card is not None:
            found["CUDA_VISIBLE_DEVICES"] = self.card
        if self.memory is not None:
            found["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{self.memory:.3f}"
        return found


def visible_cards() -> tuple[str, ...]:
    """NVIDIA cards, from CUDA_VISIBLE_DEVICES or nvidia-smi."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(card for card in chosen.split(",") if card)
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
        return tuple(str(i) for i, line in enumerate(listed.splitlines()) if line.startswith("GPU "))
    return ()


def slots_for(jobs: int, cores: Sequence[int], cards: Sequence[str], per_job: int | None = None) -> list[Slot]:
    """Divide this machine among ``jobs`` jobs.

    Args:
        per_job: cores of one job; None: an even share, all of them for a single job.
    """
    width = per_job or max(1, len(cores) // jobs)
    limited = bool(cores) and (jobs > 1 or per_job is not None)
    slots = []
    for i in range(jobs):
        own = tuple(cores[(i * width + k) % len(cores)] for k in range(min(width, len(cores)))) if limited else ()
        card = cards[i % len(cards)] if cards else None
        sharing = sum(k % len(cards) == i % len(cards) for k in range(jobs)) if cards else 1
        slots.append(Slot(tuple(sorted(own)), card, 0.9 / sharing if sharing > 1 else None))
    return slots


class LocalExecutor:
    """Runs jobs as child processes of this one. They outlive it, and are found again.

    Args:
        jobs: most jobs at once.
        cores_per_job: cores of each; None: an even share.
    """

    def __init__(self, jobs: int = 1, cores_per_job: int | None = None):
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else ()
        self._free = slots_for(jobs, cores, visible_cards(), cores_per_job)
        self._taken: dict[str, Slot] = {}
        self._processes: dict[str, psutil.Process] = {}
        self._watching: set[str] = set()
        self._ends: queue.Queue[JobEnd] = queue.Queue()

    def submit(self, job: Job) -> None:
        """Start a child process or watch the lock's holder."""
        if is_locked(job, seconds=0.5):
            self._adopt(job)
            return
        slot = self._take_slot(job)
        child = job.start(*slot.options(), environment=slot.environment(), outlives_us=True)
        with contextlib.suppress(psutil.NoSuchProcess):
            self._processes[job.name] = psutil.Process(child.pid)
        self._watch(job, child.wait)

    def wait(self, seconds: float) -> list[JobEnd]:
        """Jobs that have ended. As soon as there is one, else after ``seconds``."""
        ends = []
        with contextlib.suppress(queue.Empty):
            ends.append(self._ends.get(timeout=seconds))
            while True:
                ends.append(self._ends.get_nowait())
        for end in ends:
            self._watching.discard(end.job.name)
            self._processes.pop(end.job.name, None)
            slot = self._taken.pop(end.job.name, None)
            if slot is not None:
                self._free.insert(0, slot)
        return ends

    def cancel(self, job: Job, kill: bool = False) -> None:
        """Send SIGTERM, then SIGKILL after 20 seconds."""
        process = self._processes.get(job.name) or worker_process(job)
        if process is None:
            return

        def end() -> None:
            with contextlib.suppress(psutil.NoSuchProcess):
                if not kill:
                    process.terminate()
                    deadline = time.monotonic() + GRACE_SECONDS
                    while _is_there(process) and time.monotonic() < deadline:
                        time.sleep(0.05)
                process.kill()

        threading.Thread(target=end, daemon=True).start()

    def is_under_way(self, job: Job) -> bool:
        """Whether a process works on the job. Or has ended and `wait` has yet to say so."""
        return job.name in self._watching or is_locked(job)

    def is_waiting(self, job: Job) -> bool:
        """False: a process is started at once."""
        return False

    def close(self) -> None:
        """Nothing. Daemon threads watch the processes, which outlive this one."""

    def _take_slot(self, job: Job, cores: Sequence[int] = ()) -> Slot:
        """Take a free slot with the given cores if possible."""
        if not self._free:
            return Slot()
        slot = next((slot for slot in self._free if slot.cores == tuple(cores)), self._free[0])
        self._free.remove(slot)
        self._taken[job.name] = slot
        return slot

    def _adopt(self, job: Job) -> None:
        process = worker_process(job)
        cores: Sequence[int] = ()
        if process is not None:
            self._processes[job.name] = process
            with contextlib.suppress(psutil.Error, AttributeError):
                cores = sorted(process.cpu_affinity())
        self._take_slot(job, cores)
        self._watch(job, lambda: _until_unlocked(job))

    def _watch(self, job: Job, wait_fn: Callable[[], int | None]) -> None:
        self._watching.add(job.name)
        threading.Thread(target=lambda: self._ends.put(JobEnd(job, wait_fn())), daemon=True).start()


def is_locked(job: Job, seconds: float = 0.0) -> bool:
    """Whether a process works on the job's folder.

    Args:
        seconds: how long to try; other callers of this function hold the lock for an instant, too.

    Raises:
        LibraryError: its lock is another file.
    """
    try:
        with lock_of(job.lock, timeout=seconds):
            return False
    except Timeout:
        return True


def _is_there(process: psutil.Process) -> bool:
    """Whether a process has not ended. Waiting for it would take its exit code from its parent."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _until_unlocked(job: Job) -> None:
    with lock_of(job.lock, poll_interval=_POLL_SECONDS):
        pass


def worker_process(job: Job) -> psutil.Process | None:
    """The process whose heartbeat lies in a job's folder. None if it is not on this machine."""
    with contextlib.suppress(psutil.Error, OSError, ValueError, IndexError):
        found = psutil.Process(int(job.heartbeat.read_text().split()[0]))
        if str(job.folder.resolve()) in found.cmdline():
            return found
    return None


def memory_warning(env: str, jobs: int, free_gib: float | None = None) -> str | None:
    """A warning if the workers exceed free memory. None if they fit.

    Args:
        free_gib: memory that is free; None: as the system says.
    """
    free = psutil.virtual_memory().available / 2**30 if free_gib is None else free_gib
    each = WORKER_GIB[env]
    if jobs * each <= free:
        return None
    fit = max(1, int(free / each))
    return (
        f"{jobs} jobs of about {each:.1f} GiB each need {jobs * each:.1f} GiB, but {free:.1f} GiB are free: "
        f"workers may be killed. Try --jobs {fit}."
    )


def run_job(
    job: Job,
    result_type: type[ModelT],
    on_row: OnRow,
    stop_fn: Callable[[], bool] = lambda: False,
    max_seconds: float = float("inf"),
) -> ModelT:
    """Run a job in a child process and return its result.

    Args:
        on_row: called with each row of the job's metrics, as rows come.
        stop_fn: asked between them; a true answer ends the child.
        max_seconds: after which the child is ended.

    Raises:
        TrainingError: the child left no result; shows the end of its log.
    """
    child = job.start("--parent", str(os.getpid()))
    reader, deadline = MetricsReader(job.metrics), time.monotonic() + max_seconds
    try:
        over = False
        while not over:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_POLL_SECONDS)
            over = child.returncode is not None or stop_fn() or time.monotonic() > deadline
            for row in reader.new_rows():
                on_row(row)
    finally:
        child.terminate()
        child.wait()
    return result_of(JobEnd(job, child.returncode), result_type)


def result_of(end: JobEnd, result_type: type[ModelT]) -> ModelT:
    """Read the result of an ended job.

    Raises:
        TrainingError: there is none; shows the end of the job's log.
    """
    if not end.job.is_answered:
        raise TrainingError(f"The {end.job.name} failed. {end.why()}")
    return read_json(end.job.result, result_type)
