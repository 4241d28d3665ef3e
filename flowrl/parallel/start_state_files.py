"""Start states in the library for a run's episodes. Chosen by what plans yield."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowrl.paths import SkillPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.skill import SkillSpec


def start_files(skill_name: str, spec: SkillSpec, completed_skills: Mapping[str, Any], home: Path) -> dict[str, bytes]:
    """Files of start states that may meet a skill's requirements.

    By the skill that they come from.

    The plan behind the states must yield each required fluent; whether a state really has them is for the worker to
    see. A skill that requires nothing begins in new worlds.
    """
    needed = {fluent for fluent, amount in spec.needed(1).items() if amount > 0}
    found: dict[str, bytes] = {}
    for name, record in sorted(completed_skills.items()):
        if name == skill_name or not needed or not isinstance(record, SkillRecord) or record.status != "learned":
            continue
        file = SkillPaths(home / record.path, record.expert_idx).start_states
        played = {step.skill for step in record.plan.steps} | {record.name}
        specs = [completed_skills[skill].spec for skill in played & completed_skills.keys()]
        yielded = {fluent for each in specs for fluent in each.yields}
        if needed <= yielded and file.exists():
            found[name] = file.read_bytes()
    return found
