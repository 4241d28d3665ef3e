"""The process that analyses a skill: `python -m flowrl.analysis.analyse_worker FOLDER`.

It reads what `flowrl.analysis.job` wrote and writes `analysis.json`; what is made of it is its reader's business.
"""

import os
import sys
import time
from pathlib import Path

from flowrl.analysis.request import AnalysisPaths
from flowrl.errors import FlowRLError
from flowrl.files import append_line, read_json, write_json, write_text
from flowrl.jax_runtime import check_jax_results, check_jax_version, configure_jax
from flowrl.jobs.worker import DONE, FAILED, run_worker
from flowrl.schema.metrics import MetricsRow, PhaseRow
from flowrl.schema.run import RunSpec


def work(folder: Path) -> int:
    """Answers the request that lies in a folder."""
    paths = AnalysisPaths(folder)

    def on_row(row: MetricsRow) -> None:
        append_line(paths.run.metrics, row)
        write_text(paths.run.heartbeat, f"{os.getpid()} {time.time():.3f}\n")

    try:
        on_row(PhaseRow(kind="starting"))
        check_jax_version()
        configure_jax(read_json(paths.run.config, RunSpec).config.gpu_memory)
        check_jax_results()
        from flowrl.analysis.analyse import analyse

        write_json(paths.answer, analyse(paths, on_row))
    except FlowRLError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    return DONE


if __name__ == "__main__":
    sys.exit(run_worker(work, "request.json"))
