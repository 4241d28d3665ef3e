"""A run's folder at set-up and when done."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowrl.errors import LibraryError, TrainingError
from flowrl.files import read_bytes, read_json, read_text, unpack_arrays
from flowrl.jobs.job import Job
from flowrl.jobs.local import is_locked
from flowrl.paths import RunPaths, slug
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.weights import Expert, flatten, numbered_experts, sha256

SOURCE_FILE = "source.py"
"""The skill's own code in a run's folder, as it will stand in the library."""
_SAME_RUN = {
    "description", "source_file", "runs_before", "frames_before", "exported", "module_sha256", "start_files", "seeds",
}  # fmt: skip
"""Fields of a `RunSpec` that may differ in the same run: exported and traced code train alike, modules are compared by
their text, and a run that resumes keeps the weights, the start states and the number of frames that it began with."""


def resumes(paths: RunPaths, wanted: RunSpec, module: str) -> bool:
    """Whether the folder holds this very run unfinished.

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
    old, new = flatten(held.config.model_dump()), flatten(wanted.config.model_dump())
    options = [f"{key}: {old[key]} there, {new[key]} asked" for key in old if old[key] != new[key]]
    return ", ".join(options or sorted(differing))


def put_aside(folder: Path) -> None:
    """Rename a run's folder so that no skill owns it."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(aside)


def put_aside_other_numbers(paths: RunPaths, skill: str) -> None:
    """Rename the folders of a skill's untrained runs under other expert numbers."""
    for folder in paths.folder.parent.glob(f"skill_*_{slug(skill)}"):
        if folder != paths.folder and re.fullmatch(rf"skill_\d+_{slug(skill)}", folder.name):
            put_aside(folder)


@dataclass(frozen=True)
class FinishedRun:
    """What a run left behind.

    Attributes:
        evaluation: of the skill, at the end of the run.
        experts: the weights of all its experts, frozen ones too, by global number.
    """

    paths: RunPaths
    spec: RunSpec
    result: TrainResult
    evaluation: Evaluation
    experts: Mapping[int, Expert]

    @staticmethod
    def load(paths: RunPaths) -> "FinishedRun":
        """Read a run and check its weights.

        Raises:
            TrainingError: the run failed; carries its reason.
            LibraryError: a file is missing or damaged, or the weights are not those that the result names.
        """
        spec, result = read_json(paths.config, RunSpec), read_json(paths.result, TrainResult)
        if result.outcome != "done" or result.evaluation is None:
            raise TrainingError(f"Training {spec.skill} failed: {result.error} See {paths.log}")
        file = paths.folder / result.params
        local = numbered_experts(unpack_arrays(_checked(paths, file, result.params_sha256), file), str(file))
        if list(local) != list(range(len(spec.local_to_global))):
            raise LibraryError(f"{file} holds experts {list(local)}, not one for each of {spec.local_to_global}.")
        experts = dict(zip(spec.local_to_global, local.values(), strict=True))
        return FinishedRun(paths, spec, result, result.evaluation, experts)

    @property
    def source(self) -> str:
        """The skill's own code."""
        return read_text(self.paths.folder / SOURCE_FILE)

    def start_states(self) -> bytes | None:
        """The file of start states if the run kept any.

        Raises:
            LibraryError: it is missing, or not the file that the result names.
        """
        name, digest = self.result.start_states, self.result.start_states_sha256
        return _checked(self.paths, self.paths.folder / name, digest) if name else None


def _checked(paths: RunPaths, file: Path, digest: str) -> bytes:
    data = read_bytes(file)
    if sha256(data) != digest:
        raise LibraryError(f"{file} is not the file that {paths.result} names: it was changed since.")
    return data
