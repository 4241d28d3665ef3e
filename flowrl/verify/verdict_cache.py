"""Verdicts that were reached before, by all that they follow from; in this user's own folder, as the artefacts are."""

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
from flowrl.verify.isolation.seccomp import unfiltered
from flowrl.verify.verdict import Verdict

BESIDES = (
    "flowrl.env.block_memory",
    "flowrl.env.shaping",
    "flowrl.env.skill_inputs",
    "flowrl.skillcode.flat_inputs",
    "flowrl.skillcode.inputs",
    "flowrl.skillcode.skill_file",
    "flowrl.skillcode.source",
)
"""Modules that a verdict follows from, besides all of `flowrl.verify` and those of an artefact."""


def verdict_sources() -> list[Path]:
    """The source files that a verdict follows from."""
    return [*sorted(Path(__file__).parent.rglob("*.py")), *map(source_of, BESIDES)]


def verdict_key(skill: Skill, env: str) -> str:
    """Returns a hash of a skill's text and specification, of the game's recording, of what verifies, and of the walls
    that this machine has: a verdict reached behind weaker ones is not taken over."""
    digest = hashlib.sha256()
    for source in verdict_sources():
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    spec = json.dumps(skill.spec.model_dump(mode="json"), sort_keys=True)
    recording = recording_file(env)
    for file in (recording, names_file(recording)):
        digest.update(_hash_of(file))
    walls = f"seccomp {unfiltered() is None}, Landlock {landlock_version()}"
    parts = (artefact_key(skill, env), spec, str(skill.trusted), recording.name, walls)
    digest.update("\n".join(parts).encode())
    return digest.hexdigest()


def _hash_of(file: Path) -> bytes:
    if not file.exists():
        return b""
    found = file.stat()
    return _hash_then(file, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=16)
def _hash_then(file: Path, changed: int, size: int) -> bytes:
    """Returns a file's hash; a list of skills asks for that of the same 11 MB once for each."""
    return hashlib.sha256(file.read_bytes()).digest()


def find_verdict(key: str) -> Verdict | None:
    """Returns the verdict of that key, None where there is none or what it let pass is gone from the cache."""
    try:
        verdict = read_json(_file(key), Verdict)
    except LibraryError:
        return None
    return verdict if not verdict.ok or find_artefact(verdict.artefact) is not None else None


def store_verdict(key: str, verdict: Verdict) -> None:
    """Keeps a verdict, whole."""
    write_json(_file(key), verdict)


def _file(key: str) -> Path:
    return private_folder(verified_cache() / "verdicts") / f"{key}.json"
