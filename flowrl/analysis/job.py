"""Analysing a skill of a library in a worker: `python -m flowrl.analysis.job FOLDER`."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from flowrl.analysis.findings import AnalysisRequest, Findings
from flowrl.config import build_config
from flowrl.evaluation.playback import playing_of
from flowrl.files import append_line, read_json, write_json
from flowrl.jax_runtime import start_jax
from flowrl.jobs.job import Job
from flowrl.jobs.local import run_job
from flowrl.jobs.worker import beat, run_worker
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from flowrl.paths import PlayPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.metrics import MetricsRow, OnRow, PhaseRow
from flowrl.schema.run import RunSpec

MODULE = "flowrl.analysis.job"
MAX_SECONDS = 3600.0
"""After which an analysis is given up."""


def analysis_job(library: SkillLibrary, record: SkillRecord, folder: Path, **options: int) -> Job:
    """Write the folder of a skill's analysis.

    Args:
        options: fields of `AnalysisRequest`: segments, frames, seed.

    Raises:
        LibraryError: the weights of an expert that the skill plays with are missing or damaged.
        ModuleError: untrusted code does not pass verification.
    """
    paths = PlayPaths(folder)
    if folder.exists():
        shutil.rmtree(folder)
    config = build_config(**library.description.options())
    playing_of(library, record.plan, config).write_with_weights(library, paths)
    vocabulary = load_base(library.description.env).vocabulary
    write_json(paths.request, AnalysisRequest(vocabulary=vocabulary, **options))
    return Job(folder, f"analysis of {record.name}", MODULE)


def analyse_skill(
    library: SkillLibrary,
    name: str,
    folder: Path,
    on_row: OnRow,
    stop_fn: Callable[[], bool] = lambda: False,
    **options: int,
) -> Findings:
    """Analyse a skill in a child process.

    Args:
        folder: where it works; written anew.
        on_row: called with the rows of its progress, see `flowrl.analysis.analyse.analyse`.
        stop_fn: asked now and then; a true answer ends the child.
        options: fields of `AnalysisRequest`: segments, frames, seed.

    Raises:
        UsageError: the library lacks the skill.
        LibraryError, ModuleError: see `analysis_job`.
        TrainingError: the child failed.
    """
    job = analysis_job(library, library.record(name), folder, **options)
    return run_job(job, Findings, on_row, stop_fn, MAX_SECONDS)


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
