"""The cache of exported skills. In this user's own folder, filled by the sandbox alone.

Nothing enters it from a home or an archive: a lost artefact is exported again from the skill's text. jax is not
imported, so that any process can use it.
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
"""The version of artefacts, their inputs, and the checks before export."""
SUFFIX = ".stablehlo"
MADE_BY = (
    "flowrl.env.code_parser",
    "flowrl.env.exported_tasks",
    "flowrl.env.flow_env",
    "flowrl.env.shaping",
    "flowrl.skillcode.artefact",
    "flowrl.skillcode.functions",
)
"""Modules that an artefact depends on: what skill code imports, and what uses its values."""


class ArtefactMeta(Frozen):
    """The origin of an artefact.

    Attributes:
        skill: its name at the time, for people; skills with the same text share one artefact.
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
    """An artefact in the cache."""

    path: Path
    meta: ArtefactMeta

    @property
    def ref(self) -> ArtefactRef:
        """The reference that a run stores."""
        return ArtefactRef(key=self.meta.key, sha256=self.meta.sha256)


def verified_cache() -> Path:
    """The folder of artefacts.

    Raises:
        PlatformError: other users can write to it.
    """
    return private_folder(user_cache() / "verified")


def artefact_key(skill: Skill, env: str) -> str:
    """A hash of everything that an artefact depends on."""
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


def store_artefact(skill: Skill, env: str, data: bytes) -> CachedArtefact:
    """Put a skill's artefact into the cache. Its description is written last.

    An intact one of the same key stays: runs may refer to it by its hash.
    """
    key = artefact_key(skill, env)
    if (first := find_artefact(key)) is not None:
        return first
    made_by = {package: metadata.version(package) for package in ("jax", "craftax")}
    meta = ArtefactMeta(key=key, skill=skill.name, env=env, sha256=sha256(data), **made_by)
    folder = verified_cache()
    write_bytes(folder / f"{key}{SUFFIX}", data)
    write_json(folder / f"{key}.json", meta)
    return CachedArtefact(folder / f"{key}{SUFFIX}", meta)


def find_artefact(key: str) -> CachedArtefact | None:
    """The artefact of this key. None if there is none, or it is damaged."""
    folder = verified_cache()
    path, beside = folder / f"{key}{SUFFIX}", folder / f"{key}.json"
    try:
        meta = read_json(beside, ArtefactMeta)
        data = path.read_bytes()
    except (LibraryError, OSError):
        return None
    return CachedArtefact(path, meta) if meta.key == key and meta.sha256 == sha256(data) else None
