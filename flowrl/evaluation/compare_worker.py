"""The process that holds candidates against a library's experts: `python -m flowrl.evaluation.compare_worker FOLDER`.

It reads what `flowrl.growing.merging` wrote and writes `answer.json`; that the library takes a candidate in is the
controller's business.
"""

import os
import sys
import time
from pathlib import Path

from flowrl.evaluation.comparison import ComparisonPaths
from flowrl.files import read_json, write_json, write_text
from flowrl.jax_runtime import check_jax_results, check_jax_version, configure_jax
from flowrl.jobs.worker import DONE, run_worker
from flowrl.schema.run import RunSpec


def work(folder: Path) -> int:
    """Answers the request that lies in a folder."""
    paths = ComparisonPaths(folder)
    write_text(folder / "heartbeat", f"{os.getpid()} {time.time():.3f}\n")
    check_jax_version()
    config = read_json(paths.run.config, RunSpec).config
    configure_jax(config.gpu_memory, config.groups)
    check_jax_results()
    from flowrl.evaluation.compare import Comparison

    write_json(paths.answer, Comparison(paths).decide())
    return DONE


if __name__ == "__main__":
    sys.exit(run_worker(work, "request.json"))
