"""Run a job as a child process and follow its metrics. The child ends with this process."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable

from flowrl.errors import TrainingError
from flowrl.files import ModelT, read_json
from flowrl.jobs.job import Job, JobEnd
from flowrl.jobs.watched import MetricsReader
from flowrl.schema.metrics import OnRow

_POLL_SECONDS = 0.25


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
    """Read the result of a job that has ended.

    Raises:
        TrainingError: there is none; shows the end of the job's log.
    """
    if not end.job.is_answered:
        raise TrainingError(f"The {end.job.name} failed. {end.why()}")
    return read_json(end.job.result, result_type)
