"""The worker process: `python -m flowrl.ppo_flow RUN_FOLDER` trains one run and writes its `result.json`.

It knows nothing of the library or of global experts: the folder's `run.json`, module and initial weights are all.
SIGTERM makes it save a checkpoint and leave with exit code 3; the same command then goes on.
"""

import logging
import os
import signal
import sys
import time
import traceback

from flowrl.errors import FlowRLError
from flowrl.files import append_line, write_json, write_text
from flowrl.jobs.worker import DONE, FAILED, STOPPED, run_worker
from flowrl.paths import RunPaths
from flowrl.schema.metrics import PhaseRow
from flowrl.schema.run import RunSpec, TrainResult

logger = logging.getLogger("flowrl.jobs.worker")


class _StopFlag:
    """Set by SIGTERM or SIGINT, read between updates."""

    def __init__(self) -> None:
        self.raised = False
        signal.signal(signal.SIGTERM, self._raise)
        signal.signal(signal.SIGINT, self._raise)

    def _raise(self, number: int, _frame: object) -> None:
        logger.info("signal %d: stops after this update", number)
        self.raised = True

    def __call__(self) -> bool:
        return self.raised


def work(paths: RunPaths) -> int:
    """Trains the run in a folder and returns the exit code; whatever happens is in the folder afterwards."""
    stop = _StopFlag()
    try:
        from flowrl.files import read_json
        from flowrl.jax_runtime import check_jax_results, check_jax_version, configure_jax

        spec = read_json(paths.config, RunSpec)
        check_jax_version()
        configure_jax(spec.config.gpu_memory, spec.config.groups)
        append_line(paths.metrics, PhaseRow(kind="starting"))
        write_text(paths.heartbeat, f"{os.getpid()} {time.time():.0f}\n")
        check_jax_results()
        from flowrl.training.run import TrainingRun

        result = TrainingRun(paths, stop).execute()
    except FlowRLError as error:
        return _fail(paths, str(error))
    except Exception as error:
        logger.error("%s", traceback.format_exc())
        return _fail(paths, f"{type(error).__name__}: {error} (traceback in {paths.log})")
    if result is None:
        logger.info("stopped; the same command goes on from the checkpoint")
        return STOPPED
    logger.info("done: %s", result.status)
    return DONE


def _fail(paths: RunPaths, message: str) -> int:
    logger.error("%s", message)
    write_json(paths.result, TrainResult(outcome="failed", error=message))
    return FAILED


def main() -> int:
    """Runs the worker from the command line."""
    return run_worker(lambda folder: work(RunPaths(folder, int(folder.name.split("_")[1]))), "run.json")


if __name__ == "__main__":
    sys.exit(main())
