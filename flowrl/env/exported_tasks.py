"""The tasks of a run with untrusted code. Loaded from the sandbox's exports, never from text."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from flowrl.env.block_memory import closest_blocks, empty_memory
from flowrl.env.domain import Domain
from flowrl.env.skill_inputs import SkillInputs, skill_inputs
from flowrl.errors import ModuleError
from flowrl.paths import PlayPaths
from flowrl.schema.run import ArtefactRef
from flowrl.skillcode.artefact import load_artefact
from flowrl.skillcode.flat_inputs import flat_leaves
from flowrl.skillcode.functions import TaskModule
from flowrl.weights import sha256


def leaf_shapes(domain: Domain) -> dict[str, Any]:
    """Shape and type of each skill input, for one world."""

    def first(key: jax.Array) -> SkillInputs:
        world = domain.reset_fn(key)
        vitals = domain.vitals_fn(world)
        closest = closest_blocks(domain, empty_memory(domain), world)
        nothing = jnp.zeros(len(domain.achievements), dtype=bool)
        return skill_inputs(vitals, vitals, closest, closest, nothing, nothing, jnp.float32(0), jnp.int32(1))

    return flat_leaves(jax.eval_shape(jax.vmap(first), jax.random.split(jax.random.PRNGKey(0), 1)))


def exported_tasks(
    paths: PlayPaths, exported: Mapping[str, ArtefactRef], skills: Sequence[str], experts: Sequence[int], domain: Domain
) -> TaskModule:
    """The tasks of a run, from the artefacts in its folder. Its module is not read.

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
