"""Artefacts made without the sandbox: skills that ship, exported in this process."""

from pathlib import Path

from flowrl.bench.exported import exported
from flowrl.compose import source_of
from flowrl.env.code_parser import SkillFunctions, bind_tasks, load_module
from flowrl.env.module_source import compose_module
from flowrl.skill import Skill


def artefact_of(skill: Skill, shapes: dict[str, object], folder: Path) -> bytes:
    """Returns the artefact of a skill whose text may be run here."""
    file = folder / "skill.py"
    file.write_text(compose_module([source_of(skill)], [0], [0]))
    (functions,) = bind_tasks(load_module(file)).skills
    assert isinstance(functions, SkillFunctions)
    return exported(functions, shapes)
