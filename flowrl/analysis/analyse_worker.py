"""The worker that analyses a skill: `python -m flowrl.analysis.analyse_worker FOLDER`."""

import sys
from pathlib import Path

from flowrl.analysis.findings import Findings
from flowrl.files import append_line, read_json
from flowrl.jax_runtime import start_jax
from flowrl.jobs.worker import beat, run_worker
from flowrl.paths import PlayPaths
from flowrl.schema.metrics import MetricsRow, PhaseRow
from flowrl.schema.run import RunSpec


def work(folder: Path) -> Findings:
    """Answer the request that lies in a folder."""
    paths = PlayPaths(folder)

    def on_row(row: MetricsRow) -> None:
        append_line(paths.metrics, row)
        beat(paths)

    on_row(PhaseRow(kind="starting"))
    start_jax(read_json(paths.config, RunSpec).config.gpu_memory)
    from flowrl.analysis.analyse import analyse

    return analyse(paths, on_row)


if __name__ == "__main__":
    sys.exit(run_worker(work))
