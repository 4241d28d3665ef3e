"""The tasks of a run with untrusted code. Loaded from the sandbox's exports, never from text."""

from collections.abc import Mapping, Sequence

from flowrl.env.domain import Domain
from flowrl.env.skill_inputs import leaf_shapes
from flowrl.errors import ModuleError
from flowrl.paths import PlayPaths
from flowrl.schema.run import ArtefactRef
from flowrl.skillcode.artefact import load_artefact
from flowrl.skillcode.functions import TaskModule
from flowrl.weights import sha256


def exported_tasks(
    paths: PlayPaths, exported: Mapping[str, ArtefactRef], skills: Sequence[str], experts: Sequence[int], domain: Domain
) -> TaskModule:
    """The tasks of a run from its artefacts. Its module is not read.

    Args:
        skills: the skill of each task.
        experts: the local expert of each task.

    Raises:
        ModuleError: an artefact is missing, is not the one that the run names, or is rejected by `load_artefact`.
    """
    leaves = leaf_shapes(domain)
    names = list(dict.fromkeys(skills))
    if missing := sorted(set(names) - exported.keys()):
        raise ModuleError(f"{paths.config} names no exported functions of {missing[0]!r}. Set the run up again.")
    loaded = tuple(load_artefact(_read(paths, exported[name]), leaves, name) for name in names)
    of_task = tuple(names.index(skill) for skill in skills)
    return TaskModule(loaded, of_task, tuple(experts), (None,) * len(of_task))


def _read(paths: PlayPaths, ref: ArtefactRef) -> bytes:
    file = paths.artefact(ref.key)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModuleError(f"Cannot read {file}, which the run needs: {error}. Set the run up again.") from error
    if sha256(data) != ref.sha256:
        raise ModuleError(f"{file} is not the file that {paths.config} names: it was changed since.")
    return data
