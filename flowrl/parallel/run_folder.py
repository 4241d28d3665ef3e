"""A run's folder at set-up. Whether the run in it resumes, or is renamed to make room."""

import re
from pathlib import Path

from flowrl.config import RunConfig
from flowrl.errors import LibraryError
from flowrl.files import read_json, read_text
from flowrl.jobs.job import Job
from flowrl.jobs.local import is_locked
from flowrl.paths import RunPaths, slug
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.weights import flatten

SOURCE_FILE = "source.py"
"""The skill's own code in a run's folder, as it will stand in the library."""
_SAME_RUN = {"description", "source_file", "runs_before", "exported", "module_sha256", "start_files"}
"""Fields of a `RunSpec` that may differ in the same run: exported and traced code train alike, modules are compared by
their text, and a run that resumes keeps the start states that it had when it began."""


def resumes(paths: RunPaths, wanted: RunSpec, module: str) -> bool:
    """Whether the folder holds this very run, unfinished.

    A run that is done is put aside for the next one, and a failed run for one with other settings.

    Raises:
        LibraryError: the folder holds another unfinished run, which has trained or has a worker.
    """
    outcome = read_json(paths.result, TrainResult).outcome if paths.result.exists() else None
    if outcome == "done":
        put_aside(paths.folder)
        return False
    is_set_up = paths.config.exists()
    has_worker = is_set_up and paths.lock.exists() and is_locked(Job(paths.folder, wanted.skill))
    has_trained = is_set_up and paths.has_trained
    if (has_worker or has_trained) and (different := _differences(paths, wanted, module)):
        if outcome != "failed" or has_worker:
            way_out = "stop its worker and delete that folder" if has_worker else "delete that folder"
            raise LibraryError(
                f"{paths.folder} holds an unfinished run with other settings ({different}). Give the settings that it "
                f"began with to go on, or {way_out} to begin anew."
            )
        put_aside(paths.folder)
        return False
    paths.result.unlink(missing_ok=True)
    return has_worker or has_trained


def _differences(paths: RunPaths, wanted: RunSpec, module: str) -> str:
    held = read_json(paths.config, RunSpec)
    differing = [f for f in RunSpec.model_fields.keys() - _SAME_RUN if getattr(held, f) != getattr(wanted, f)]
    if read_text(paths.module) != module:
        differing.append("module")
    return _config_differences(held.config, wanted.config) or ", ".join(sorted(differing))


def _config_differences(held: RunConfig, wanted: RunConfig) -> str:
    old, new = flatten(held.model_dump()), flatten(wanted.model_dump())
    return ", ".join(f"{key}: {old[key]} there, {new[key]} asked" for key in old if old[key] != new[key])


def put_aside(folder: Path) -> None:
    """Rename a run's folder, which then belongs to no skill."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(aside)


def put_aside_other_numbers(paths: RunPaths, skill: str) -> None:
    """Rename the folders of a skill's untrained runs under other expert numbers."""
    for folder in paths.folder.parent.glob(f"skill_*_{slug(skill)}"):
        if folder != paths.folder and re.fullmatch(rf"skill_\d+_{slug(skill)}", folder.name):
            put_aside(folder)
