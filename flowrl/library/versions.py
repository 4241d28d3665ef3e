"""Versions of a skill: the current one and those in its history. Nothing is ever deleted."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowrl.errors import UsageError
from flowrl.files import read_json, read_text, write_bytes, write_json, write_text
from flowrl.library.home import SkillLibrary, read_expert
from flowrl.paths import SkillPaths
from flowrl.schema.home import ExpertMeta, SkillRecord
from flowrl.schema.skill import SkillSpec
from flowrl.weights import Expert, expert_sha256


@dataclass(frozen=True)
class Version:
    """One version of a skill."""

    record: SkillRecord
    current: bool


@dataclass(frozen=True)
class VersionCandidate:
    """What may become a skill's next version.

    Attributes:
        companions: experts that it plays with and that the library lacks, by global number.
        start_states: the file of states in which its episodes ended in success, if there is one.
    """

    record: SkillRecord
    expert: Expert
    module: str
    companions: Mapping[int, Expert]
    start_states: bytes | None = None


def history(library: SkillLibrary, name: str) -> list[Version]:
    """The versions of a skill, ascending.

    Raises:
        UsageError: the library lacks the skill.
    """
    current = library.record(name)
    old = [record for _, record in _shelved(library.skill_paths(current))]
    found = [Version(record, False) for record in old if record.version != current.version] + [Version(current, True)]
    return sorted(found, key=lambda version: version.record.version)


def respecify(library: SkillLibrary, name: str, spec: SkillSpec) -> SkillRecord:
    """Correct a skill's specification but keep its measurements.

    The old one goes to its history, as spec_1.json and so on.

    Raises:
        UsageError: the library lacks the skill.
    """
    record = library.record(name)
    if record.spec == spec:
        return record
    paths = library.skill_paths(record)
    number = 1
    while (kept := paths.history / f"spec_{number}.json").exists():
        number += 1
    write_json(kept, record.spec)
    changed = record.model_copy(update={"spec": spec})
    write_json(paths.record, changed)
    return changed


def is_respecified(library: SkillLibrary, record: SkillRecord) -> bool:
    """Whether a skill's specification was corrected here. Then the record's is better than the base's."""
    return any(library.skill_paths(record).history.glob("spec_*.json"))


def restore(library: SkillLibrary, name: str, version: int) -> SkillRecord:
    """Make an old version the current one again.

    Raises:
        UsageError: the library lacks the skill, or it has no such version in its history.
        LibraryError: that version is damaged.
    """
    current = library.record(name)
    paths = library.skill_paths(current)
    shelf = {record.version: folder for folder, record in _shelved(paths)}
    if version == current.version:
        return current
    if version not in shelf:
        there = ", ".join(map(str, sorted(shelf))) or "none"
        raise UsageError(f"{current.name} has no version {version} in its history; there are: {there}.")
    old = SkillPaths(shelf[version], paths.expert)
    record = read_json(old.record, SkillRecord).model_copy(update={"version": next_version(library, current)})
    companions = {g: read_expert(old.companion(g), library.description) for g in record.companions}
    expert = read_expert(old, library.description)
    start_states = old.start_states.read_bytes() if old.start_states.exists() else None
    return install(library, VersionCandidate(record, expert, read_text(old.module), companions, start_states))


def install(library: SkillLibrary, candidate: VersionCandidate) -> SkillRecord:
    """Make a candidate its skill's current version. The version before it is copied to the history first.

    The record is written last and names its weights, so that `mend` can undo what a killed process leaves.
    """
    folder = library.paths.skill(candidate.record.expert_idx, candidate.record.name)
    if folder.record.exists():
        _keep_in_history(folder, read_json(folder.record, SkillRecord))
    return _write(library, folder, candidate)


def mend(library: SkillLibrary) -> list[str]:
    """Undo installations cut off by a kill. Gives their skills' names.

    Where a skill's weights are not those of its record, the record's own lie in the history, where `install` put them
    first. The caller must hold the home's lock.
    """
    mended = []
    for record in library.records():
        folder = library.skill_paths(record)
        kept = SkillPaths(folder.history / f"version_{record.version}", folder.expert)
        if not (record.weights and folder.params.exists() and kept.record.exists()):
            continue
        if record.weights == library.weights_hash(record):
            continue
        pairs = [(kept.companion(g), folder.companion(g)) for g in record.companions] + [(kept, folder)]
        for whole, half in pairs:
            library.store_expert(half, read_expert(whole, library.description), record.frames)
        write_text(folder.module, read_text(kept.module))
        mended.append(record.name)
    return mended


def shelve(library: SkillLibrary, candidate: VersionCandidate) -> None:
    """Put a rejected candidate into the history. Unless the same weights are there already."""
    folder = library.paths.skill(candidate.record.expert_idx, candidate.record.name)
    if not is_known(library, candidate.record, candidate.expert):
        target = SkillPaths(folder.history / f"version_{candidate.record.version}", folder.expert)
        _write(library, target, candidate)


def is_known(library: SkillLibrary, record: SkillRecord, expert: Expert) -> bool:
    """Whether a skill's history holds these weights."""
    folder, digest = library.paths.skill(record.expert_idx, record.name), expert_sha256(expert)
    metas = [SkillPaths(shelf, folder.expert).meta for shelf, _ in _shelved(folder)]
    return any(read_json(meta, ExpertMeta).sha256 == digest for meta in metas)


def next_version(library: SkillLibrary, record: SkillRecord) -> int:
    """A number above all versions of a skill."""
    return 1 + max([record.version, *(old.version for _, old in _shelved(library.skill_paths(record)))])


def _shelved(paths: SkillPaths) -> list[tuple[Path, SkillRecord]]:
    """The complete versions in a skill's history. The record is copied last."""
    folders = sorted(paths.history.glob("version_*")) if paths.history.exists() else []
    return [(f, read_json(f / "skill.json", SkillRecord)) for f in folders if (f / "skill.json").exists()]


def _keep_in_history(folder: SkillPaths, before: SkillRecord) -> None:
    old = SkillPaths(folder.history / f"version_{before.version}", folder.expert)
    if old.record.exists():
        return
    shutil.rmtree(old.folder, ignore_errors=True)
    old.folder.mkdir(parents=True)
    shutil.copytree(folder.policy, old.policy)
    if folder.companions.exists():
        shutil.copytree(folder.companions, old.companions)
    if folder.start_states.exists():
        old.start_states.parent.mkdir()
        shutil.copy2(folder.start_states, old.start_states)
    shutil.copy2(folder.module, old.module)
    write_json(old.record, before)


def _write(library: SkillLibrary, folder: SkillPaths, candidate: VersionCandidate) -> SkillRecord:
    record = candidate.record.model_copy(update={"weights": expert_sha256(candidate.expert)})
    for number, companion in candidate.companions.items():
        library.store_expert(folder.companion(number), companion, record.frames)
    if candidate.start_states is not None:
        # Valid beside any version: a success stays one.
        write_bytes(folder.start_states, candidate.start_states)
    library.store_expert(folder, candidate.expert, record.frames)
    write_text(folder.module, candidate.module)
    write_json(folder.record, record)
    return record
