"""Artefacts made without the sandbox: skills that ship, exported in this process."""

from dataclasses import replace
from pathlib import Path

from flowrl.compose import source_of
from flowrl.env.code_parser import SkillFunctions, bind_tasks, load_module
from flowrl.env.exported import leaf_shapes
from flowrl.env.flow_env import FlowEnv
from flowrl.env.module_source import compose_module
from flowrl.skill import Skill
from flowrl.verify.artefact import export_functions, load_artefact


def exported(functions: SkillFunctions, shapes: dict[str, object]) -> bytes:
    """Returns the artefact of a skill's functions."""
    return export_functions(
        functions.is_done, functions.reward, functions.is_done_arguments, functions.reward_arguments, shapes
    )


def artefact_of(skill: Skill, shapes: dict[str, object], folder: Path) -> bytes:
    """Returns the artefact of a skill whose text may be run here."""
    file = folder / "skill.py"
    file.write_text(compose_module([source_of(skill)], [0], [0]))
    (functions,) = bind_tasks(load_module(file)).skills
    assert isinstance(functions, SkillFunctions)
    return exported(functions, shapes)


def through_artefacts(env: FlowEnv) -> FlowEnv:
    """Returns the same environment with each of its skills exported and loaded again."""
    shapes = leaf_shapes(env.domain)
    skills = tuple(
        load_artefact(exported(skill, shapes), shapes, f"skill {i}")
        for i, skill in enumerate(env.tasks.skills)
        if isinstance(skill, SkillFunctions)
    )
    return replace(env, tasks=replace(env.tasks, skills=skills))
