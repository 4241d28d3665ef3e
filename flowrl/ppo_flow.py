"""The training worker: `python -m flowrl.ppo_flow RUN_FOLDER` trains one run and writes its `result.json`.

It knows nothing of the library or of global experts: the folder's `run.json`, module and initial weights are all.
SIGTERM makes it save a checkpoint and leave with exit code 3; the same command then goes on.
"""

import logging
import signal
import sys
from pathlib import Path

from flowrl.files import append_line, read_json
from flowrl.jax_runtime import start_jax
from flowrl.jobs.worker import run_worker
from flowrl.paths import PlayPaths, RunPaths
from flowrl.schema.metrics import PhaseRow
from flowrl.schema.run import RunSpec, TrainResult

logger = logging.getLogger("flowrl.jobs.worker")


class _StopFlag:
    """Set by signals and read between updates."""

    def __init__(self) -> None:
        self.raised = False
        signal.signal(signal.SIGTERM, self._raise)
        signal.signal(signal.SIGINT, self._raise)

    def _raise(self, number: int, _frame: object) -> None:
        logger.info("signal %d: stops after this update", number)
        self.raised = True

    def __call__(self) -> bool:
        return self.raised


def work(folder: Path) -> TrainResult | None:
    """Train the run in a folder. None if it was asked to stop before the end."""
    stop = _StopFlag()
    spec = read_json(PlayPaths(folder).config, RunSpec)
    paths = RunPaths(folder, spec.expert)
    append_line(paths.metrics, PhaseRow(kind="starting"))
    start_jax(spec.config.gpu_memory, spec.config.groups)
    from flowrl.training.run import TrainingRun

    return TrainingRun(paths, stop).execute()


def failed(message: str) -> TrainResult:
    """The result of a run that failed."""
    return TrainResult(outcome="failed", error=message)


if __name__ == "__main__":
    sys.exit(run_worker(work, "run.json", failed))
