"""Recorded transitions of a game. Random play, farming scripts, first states, as skill code sees them.

A process that runs no skill code makes them once (`record_worker.py`), into the user's cache, so that the child that
evaluates skill code imports no game and only sees arrays.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from flowrl.errors import PlatformError
from flowrl.files import read_arrays, read_json
from flowrl.paths import PACKAGE_ROOT, source_of
from flowrl.schema.frozen import Frozen
from flowrl.userdirs import private_folder, user_cache

PATIENCE_SECONDS = 900.0
_LEAF, _FLUENT = "leaf:", "fluent:"
MADE_BY = (
    "flowrl.verify.behaviour.record_worker",
    "flowrl.verify.behaviour.farming_scripts",
    "flowrl.env.block_memory",
    "flowrl.env.skill_inputs",
    "flowrl.env.staging.worlds",
    "flowrl.env.symbolic_state",
    "flowrl.env.classic",
    "flowrl.env.craftax",
    "flowrl.env.tiny",
    "flowrl.skillcode.functions",
)
"""Modules that a recording depends on."""


class Names(Frozen):
    """The meaning of a recording's numbers.

    Attributes:
        trajectories: by number, e.g. "random play 3" or "to and fro before a tree".
        achievements: by index.
        blocks: the rows of `closest_blocks`.
        stations: each with the blocks that stand for it.
        intrinsics: by index.
    """

    env: str
    trajectories: tuple[str, ...]
    achievements: tuple[str, ...]
    blocks: tuple[str, ...]
    stations: dict[str, tuple[str, ...]]
    intrinsics: tuple[str, ...]


@dataclass(frozen=True)
class Recording:
    """Transitions, a row each.

    Attributes:
        leaves: inputs by name, see `flowrl.skillcode.functions`; all but n.
        fluents: the true amounts after the step, by fluent.
        trajectory: [rows] which of ``names.trajectories`` a row belongs to, in order; -1 for first states.
    """

    names: Names
    leaves: Mapping[str, np.ndarray]
    fluents: Mapping[str, np.ndarray]
    trajectory: np.ndarray


def recording_file(env: str) -> Path:
    """The path of a game's recording. For these versions of game, jax and recorder.

    Raises:
        PlatformError: other users can write there.
    """
    digest = hashlib.sha256()
    for module in MADE_BY:
        digest.update(source_of(module).read_bytes())
    for package in ("jax", "jaxlib", "craftax"):
        digest.update(f"{package} {metadata.version(package)} ".encode())
    return private_folder(user_cache() / "transitions") / f"{env}-{digest.hexdigest()[:16]}.safetensors"


def recorded(env: str) -> Path:
    """The path of a game's recording. Makes it if there is none, which takes up to two minutes.

    Raises:
        PlatformError: it cannot be made.
    """
    file = recording_file(env)
    if _is_whole(file):
        return file
    try:
        with FileLock(f"{file}.lock", timeout=PATIENCE_SECONDS):
            if not _is_whole(file):
                _record(env, file)
    except Timeout as error:
        message = f"Another process has been recording {env} for {PATIENCE_SECONDS:.0f} s: {file}."
        raise PlatformError(message) from error
    return file


def _is_whole(file: Path) -> bool:
    return file.exists() and names_file(file).exists()


def names_file(file: Path) -> Path:
    """The path of a recording's names. Written last."""
    return file.with_suffix(".json")


def _record(env: str, file: Path) -> None:
    path = os.pathsep.join([str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-P", "-m", "flowrl.verify.behaviour.record_worker", env, str(file)]
    # On the CPU: there is little to compute, and an accelerator may be busy.
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not _is_whole(file):
        raise PlatformError(f"Recording transitions of {env} failed: {done.stderr.strip()[-2000:]}")


def read_recording(file: Path) -> Recording:
    """Read a recording.

    Raises:
        LibraryError: it is missing or damaged.
    """
    arrays = read_arrays(file)
    names = read_json(names_file(file), Names)
    leaves = {name.removeprefix(_LEAF): value for name, value in arrays.items() if name.startswith(_LEAF)}
    fluents = {name.removeprefix(_FLUENT): value for name, value in arrays.items() if name.startswith(_FLUENT)}
    return Recording(names, leaves, fluents, arrays["trajectory"])


def packed(recording: Recording) -> dict[str, np.ndarray]:
    """A recording's arrays as they are stored."""
    arrays = {_LEAF + name: value for name, value in recording.leaves.items()}
    arrays |= {_FLUENT + name: value for name, value in recording.fluents.items()}
    return {**arrays, "trajectory": recording.trajectory}


def shapes_of(file: Path) -> dict[str, Any]:
    """Shape and type of one world's inputs. From the file's head alone."""
    with file.open("rb") as stream:
        head = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    types = {"I8": "int8", "I32": "int32", "F32": "float32", "BOOL": "bool", "U8": "uint8", "F16": "float16"}
    leaves = {name.removeprefix(_LEAF): entry for name, entry in head.items() if name.startswith(_LEAF)}
    shapes = {name: [entry["shape"][1:], types[entry["dtype"]]] for name, entry in leaves.items()}
    return {**shapes, "n": [[], "int32"]}
