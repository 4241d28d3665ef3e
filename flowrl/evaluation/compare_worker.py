"""The worker that compares candidates with a library's experts: `python -m flowrl.evaluation.compare_worker FOLDER`.

`flowrl.growing.merging` writes its folder; whether a candidate enters the library is the controller's business.
"""

import sys
from pathlib import Path

from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths, ComparisonRequest
from flowrl.files import read_json
from flowrl.jax_runtime import start_jax
from flowrl.jobs.worker import run_worker
from flowrl.schema.run import RunSpec


def work(folder: Path) -> ComparisonAnswer:
    """Answer the request that lies in a folder."""
    paths = ComparisonPaths(folder)
    request = read_json(paths.request, ComparisonRequest)
    config = read_json(paths.run(request.expert).config, RunSpec).config
    start_jax(config.gpu_memory, config.groups)
    from flowrl.evaluation.compare import Comparison

    return Comparison(paths, request).decide()


if __name__ == "__main__":
    sys.exit(run_worker(work))
