"""Artefacts made without the sandbox: skills that ship, exported in this process."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from benchmarks.tables.exported import exported
from flowrl.env.code_parser import bind_tasks, load_module
from flowrl.env.registry import domain_named
from flowrl.env.skill_inputs import leaf_shapes
from flowrl.schema.skill import Skill
from flowrl.skillcode.artefact import export_functions
from flowrl.skillcode.functions import SkillFunctions
from flowrl.skillcode.source import compose_module, source_of
from tests.support.runs import TINY


def artefact_of(skill: Skill, shapes: dict[str, object], folder: Path) -> bytes:
    """Returns the artefact of a skill whose text may be run here."""
    file = folder / "skill.py"
    file.write_text(compose_module([source_of(skill)], [0], [0]))
    (functions,) = bind_tasks(load_module(file)).skills
    assert isinstance(functions, SkillFunctions)
    return exported(functions, shapes)


PYTHON = "xla_ffi_python_cpu_callback"
"""What jax calls to get back into Python."""


def handmade(call: Callable[..., Any], inputs: Any = None, platforms: tuple[str, ...] = ("cpu", "cuda")) -> bytes:
    """Returns what somebody with other tools than ours could write: any function, behind our heading."""
    (size,) = export.symbolic_shape("b")
    given = inputs or {"n": jax.ShapeDtypeStruct((size,), jnp.int32)}
    checks = [export.DisabledSafetyCheck.custom_call(name) for name in (PYTHON, "mine")]
    made = export.export(jax.jit(call), platforms=platforms, disabled_checks=checks)(given)
    return heading() + bytes(made.serialize())


def calls_out(target: str) -> Callable[[Any], Any]:
    def skill(leaves: Any) -> Any:
        n = leaves["n"]
        return n > 0, jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(n.shape, jnp.float32))(n)

    return skill


@functools.cache
def heading() -> bytes:
    """The first line of an artefact made here."""
    made = export_functions(lambda: False, lambda: 0, (), (), leaf_shapes(domain_named(TINY)))
    return made.partition(b"\n")[0] + b"\n"
