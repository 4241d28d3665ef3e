"""A training run that is done. Its configuration, result and checked weights, read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowrl.errors import LibraryError, TrainingError
from flowrl.files import read_bytes, read_json, read_text, unpack_arrays
from flowrl.parallel.run_folder import SOURCE_FILE
from flowrl.paths import RunPaths
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.weights import Expert, numbered_experts, sha256


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
        """Read a run, checking its weights against its result.

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
        """The file of start states that the run kept, if any.

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
