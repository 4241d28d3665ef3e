"""Where exported skills lie: a cache of this user's own, filled by the sandbox and by nothing else.

The text of a skill is the truth; what was exported from it is made again where it is lost. Nothing comes here from a
home or an archive. jax is not imported, so that any process can look.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from flowrl.errors import LibraryError
from flowrl.files import read_json, write_bytes, write_json
from flowrl.paths import source_of
from flowrl.schema.frozen import Frozen
from flowrl.schema.run import ArtefactRef
from flowrl.schema.skill import Skill
from flowrl.userdirs import private_folder, user_cache
from flowrl.weights import sha256

FORMAT: Literal[1] = 1
"""Of artefacts, of the names and shapes of their inputs, and of what is checked before one is made."""
SUFFIX = ".stablehlo"
MADE_BY = (
    "flowrl.env.code_parser",
    "flowrl.env.exported_tasks",
    "flowrl.env.flow_env",
    "flowrl.env.shaping",
    "flowrl.skillcode.artefact",
    "flowrl.skillcode.flat_inputs",
    "flowrl.skillcode.functions",
)
"""Modules that an artefact follows from: what skill code imports, and what becomes of its values."""


class ArtefactMeta(Frozen):
    """What lies beside an artefact: what it was made from.

    Attributes:
        skill: what it was called then, for people; skills with the same text share one artefact.
        sha256: the hash of the artefact.
    """

    format: Literal[1] = FORMAT
    key: str
    skill: str
    env: str
    jax: str
    craftax: str
    sha256: str


@dataclass(frozen=True)
class CachedArtefact:
    """An artefact in the cache, whole."""

    path: Path
    meta: ArtefactMeta

    @property
    def ref(self) -> ArtefactRef:
        """What a run notes of it."""
        return ArtefactRef(key=self.meta.key, sha256=self.meta.sha256)


def verified_cache() -> Path:
    """Returns the folder of artefacts, which only this user can write to.

    Raises:
        PlatformError: others can.
    """
    return private_folder(user_cache() / "verified")


def artefact_key(skill: Skill, env: str) -> str:
    """Returns the name of a skill's artefact: a hash of its text and of all else that the artefact follows from."""
    made_of = {
        "format": FORMAT,
        "code": skill.code,
        "is_module": skill.is_module,
        "env": env,
        "sources": [sha256(source_of(module).read_bytes()) for module in MADE_BY],
        "jax": metadata.version("jax"),
        "jaxlib": metadata.version("jaxlib"),
        "craftax": metadata.version("craftax"),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def meta_of(skill: Skill, env: str, data: bytes) -> ArtefactMeta:
    """Returns what is noted of an artefact that was just made."""
    return ArtefactMeta(
        key=artefact_key(skill, env),
        skill=skill.name,
        env=env,
        jax=metadata.version("jax"),
        craftax=metadata.version("craftax"),
        sha256=sha256(data),
    )


def store_artefact(key: str, data: bytes, meta: ArtefactMeta) -> CachedArtefact:
    """Puts an artefact into the cache, whole, and returns what lies there; what describes it comes last.

    One of that key that is there already and whole stays: runs may hold it by its hash.
    """
    if (first := find_artefact(key)) is not None:
        return first
    folder = verified_cache()
    write_bytes(folder / f"{key}{SUFFIX}", data)
    write_json(folder / f"{key}.json", meta)
    return CachedArtefact(folder / f"{key}{SUFFIX}", meta)


def find_artefact(key: str) -> CachedArtefact | None:
    """Returns the artefact of that key, None where there is none or it is not whole: then it is made again."""
    folder = verified_cache()
    path, beside = folder / f"{key}{SUFFIX}", folder / f"{key}.json"
    try:
        meta = read_json(beside, ArtefactMeta)
        data = path.read_bytes()
    except (LibraryError, OSError):
        return None
    return CachedArtefact(path, meta) if meta.key == key and meta.sha256 == sha256(data) else None
