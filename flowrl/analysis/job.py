"""Analysing a skill of a library: its folder, its job, its answer."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from flowrl.analysis.findings import Findings
from flowrl.analysis.request import ANSWER, MODULE, AnalysisPaths, AnalysisRequest
from flowrl.config import RunConfig, build_config
from flowrl.errors import TrainingError
from flowrl.evaluation.playback import playing_of
from flowrl.files import open_to_append, read_json, write_json
from flowrl.jobs.job import Job
from flowrl.jobs.local import follow
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from flowrl.schema.home import SkillRecord
from flowrl.schema.metrics import OnRow

MAX_SECONDS = 3600.0
"""After which an analysis is given up."""


def analysis_job(library: SkillLibrary, record: SkillRecord, folder: Path, **options: int) -> Job:
    """Returns the job that analyses a skill with the library as it is, its folder written anew.

    Args:
        options: fields of `AnalysisRequest`: segments, frames, seed.

    Raises:
        LibraryError: the weights of an expert that the skill plays with are nowhere, or damaged.
        ModuleError: code that nobody vouched for does not pass verification.
    """
    paths = AnalysisPaths(folder)
    if folder.exists():
        shutil.rmtree(folder)
    playing_of(library, record.plan, _config(library)).write_with_weights(library, paths.run)
    vocabulary = load_base(library.description.env).vocabulary
    write_json(paths.request, AnalysisRequest(vocabulary=vocabulary, **options))
    return Job(f"analysis of {record.name}", folder, MODULE, ANSWER)


def findings_of(job: Job) -> Findings:
    """Returns what an analysis found out.

    Raises:
        TrainingError: it gave no answer; shows the end of its log.
    """
    if not job.is_answered:
        raise TrainingError(f"The {job.name} came to nothing. Its log ends:\n{job.last_words()}")
    return read_json(AnalysisPaths(job.folder).answer, Findings)


def analyse_skill(
    library: SkillLibrary,
    name: str,
    folder: Path,
    on_row: OnRow,
    stop_fn: Callable[[], bool] = lambda: False,
    **options: int,
) -> Findings:
    """Returns what the analysis of a skill finds out, done in a child process.

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
    with open_to_append(job.log, anew=True) as log:
        command = job.command("--parent", str(os.getpid()))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    deadline = time.monotonic() + MAX_SECONDS

    def goes_on() -> bool:
        return process.poll() is None and not stop_fn() and time.monotonic() < deadline

    try:
        for row in follow(AnalysisPaths(folder).run, goes_on):
            on_row(row)
    finally:
        process.terminate()
        process.wait()
    return findings_of(job)


def _config(library: SkillLibrary) -> RunConfig:
    return build_config(**library.description.options())
