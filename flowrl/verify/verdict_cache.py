"""A cache of verdicts by all they depend on. It lies in this user's own folder."""

import functools
import hashlib
import json
from pathlib import Path

from flowrl.errors import LibraryError
from flowrl.files import read_json, write_json
from flowrl.paths import source_of
from flowrl.schema.skill import Skill
from flowrl.skillcode.artefact_cache import artefact_key, find_artefact, verified_cache
from flowrl.userdirs import private_folder
from flowrl.verify.behaviour.recordings import names_file, recording_file
from flowrl.verify.isolation.landlock import landlock_version
from flowrl.verify.isolation.seccomp import why_no_filter
from flowrl.verify.verdict import Verdict

BESIDES = (
    "flowrl.env.block_memory",
    "flowrl.env.shaping",
    "flowrl.env.skill_inputs",
    "flowrl.skillcode.functions",
    "flowrl.skillcode.inputs",
    "flowrl.skillcode.skill_file",
    "flowrl.skillcode.source",
)
"""Modules that a verdict depends on, besides all of `flowrl.verify` and those of an artefact."""


def verdict_sources() -> list[Path]:
    """The source files that a verdict depends on."""
    return [*sorted(Path(__file__).parent.rglob("*.py")), *map(source_of, BESIDES)]


def verdict_key(skill: Skill, env: str) -> str:
    """The name of a verdict in the cache.

    A hash of the skill's text and specification, the game's recording, the sources, and the isolation that this
    machine offers: a verdict reached under a weaker one is not reused.
    """
    digest = hashlib.sha256()
    for source in verdict_sources():
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    spec = json.dumps(skill.spec.model_dump(mode="json"), sort_keys=True)
    recording = recording_file(env)
    for file in (recording, names_file(recording)):
        if file.exists():
            found = file.stat()
            digest.update(_hash_of(file, found.st_mtime_ns, found.st_size))
    isolation = f"seccomp {why_no_filter() is None}, Landlock {landlock_version()}"
    parts = (artefact_key(skill, env), spec, str(skill.trusted), recording.name, isolation)
    digest.update("\n".join(parts).encode())
    return digest.hexdigest()


@functools.lru_cache(maxsize=16)
def _hash_of(file: Path, changed: int, size: int) -> bytes:
    """A file's cached hash. A list of skills asks for that of the same 11 MB once for each."""
    return hashlib.sha256(file.read_bytes()).digest()


def find_verdict(key: str) -> Verdict | None:
    """The cached verdict of this key. None if there is none, or its artefact is no longer cached."""
    try:
        verdict = read_json(_file(key), Verdict)
    except LibraryError:
        return None
    return verdict if not verdict.ok or find_artefact(verdict.artefact) is not None else None


def store_verdict(key: str, verdict: Verdict) -> None:
    """Write a verdict into the cache."""
    write_json(_file(key), verdict)


def _file(key: str) -> Path:
    return private_folder(verified_cache() / "verdicts") / f"{key}.json"
