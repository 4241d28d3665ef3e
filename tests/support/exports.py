"""Artefacts made without the sandbox: skills that ship, exported in this process."""

from pathlib import Path

from benchmarks.tables.exported import exported
from flowrl.env.code_parser import bind_tasks, load_module
from flowrl.schema.skill import Skill
from flowrl.skillcode.functions import SkillFunctions
from flowrl.skillcode.plan_module import source_of
from flowrl.skillcode.source import compose_module


def artefact_of(skill: Skill, shapes: dict[str, object], folder: Path) -> bytes:
    """Returns the artefact of a skill whose text may be run here."""
    file = folder / "skill.py"
    file.write_text(compose_module([source_of(skill)], [0], [0]))
    (functions,) = bind_tasks(load_module(file)).skills
    assert isinstance(functions, SkillFunctions)
    return exported(functions, shapes)
