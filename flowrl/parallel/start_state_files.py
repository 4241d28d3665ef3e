"""Which start states of a library a run may begin at: found by what plans yield, without looking into the files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowrl.paths import SkillPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.skill import SkillSpec


def start_files(skill_name: str, spec: SkillSpec, completed_skills: Mapping[str, Any], home: Path) -> dict[str, bytes]:
    """Returns the files of start states in which all that a skill needs may hold, by the skill that was learned.

    They may where the plans that led to those states have yielded each of the fluents; whether they do is for the
    worker to see. A skill that needs nothing begins in new worlds.
    """
    needed = {fluent for fluent, amount in spec.needed(1).items() if amount > 0}
    found: dict[str, bytes] = {}
    for name, record in sorted(completed_skills.items()):
        if name == skill_name or not needed or not isinstance(record, SkillRecord) or record.status != "learned":
            continue
        file = SkillPaths(home / record.path, record.expert_idx).start_states
        if file.exists() and needed <= _yielded(record, completed_skills):
            found[name] = file.read_bytes()
    return found


def _yielded(record: SkillRecord, completed_skills: Mapping[str, Any]) -> set[str]:
    """Returns every fluent that a step of the skill's own plan yields."""
    played = {step.skill for step in record.plan.steps} | {record.name}
    specs = [completed_skills[name].spec for name in played if name in completed_skills]
    return {fluent for spec in specs for fluent in spec.yields}
