"""Files that appear whole or not at all. Written beside, fsynced, renamed; JSON and safetensors, nothing else."""

import contextlib
import errno
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from filelock import FileLock
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from flowrl.errors import LibraryError, PlatformError

ModelT = TypeVar("ModelT", bound=BaseModel)
Arrays = Mapping[str, np.ndarray]


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file. A reader sees the old file or the new one, never a part.

    Raises:
        PlatformError: the disk is full or cannot be written; the old file is as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_beside(path, data)
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise PlatformError(f"Could not write {path}: {reason}. What stood there is unchanged.") from error


def _write_beside(path: Path, data: bytes) -> None:
    """Write a file beside ``path`` and rename it. A failure leaves nothing behind."""
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file as UTF-8."""
    write_bytes(path, text.encode())


def read_text(path: Path) -> str:
    """The text stored at ``path``.

    Raises:
        LibraryError: the file is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")  # any line ends become \n
    except FileNotFoundError as error:
        raise LibraryError(f"{path} is missing. Restore it from a copy.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LibraryError(f"{path} is damaged: {error}. Restore it from a copy.") from error


def write_json(path: Path, value: BaseModel | Mapping[str, Any]) -> None:
    """Write a value as indented JSON."""
    if isinstance(value, BaseModel):
        write_text(path, value.model_dump_json(indent=1) + "\n")
    else:
        write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, model: type[ModelT]) -> ModelT:
    """The value stored at ``path``.

    Raises:
        LibraryError: the file is missing, truncated, or does not hold such a value; nothing is touched.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise LibraryError(f"{path} is missing.") from error
    except (OSError, ValidationError) as error:
        detail = str(error).splitlines()
        reason = "; ".join(line.strip() for line in detail[:3])
        raise LibraryError(f"{path} is damaged or not a {model.__name__}: {reason}") from error


def pack_arrays(arrays: Arrays) -> bytes:
    """Named arrays as a safetensors file's bytes. The same arrays give the same bytes."""
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write named arrays as a safetensors file."""
    write_bytes(path, pack_arrays(arrays))


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        LibraryError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise LibraryError(f"{path} is missing. Restore it from a copy.") from error
    except OSError as error:
        raise LibraryError(f"{path} is damaged: {error}. Restore it from a copy.") from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The named arrays stored at ``path``.

    Raises:
        LibraryError: the file is missing, truncated or no safetensors file.
    """
    return unpack_arrays(read_bytes(path), path)


def unpack_arrays(data: bytes, path: Path) -> dict[str, np.ndarray]:
    """The sorted arrays in the bytes of a safetensors file.

    Args:
        path: where the content was read, for messages.

    Raises:
        LibraryError: it is truncated or no safetensors file.
    """
    try:
        return dict(sorted(load(data).items()))  # safetensors itself gives them in another order each time
    except (SafetensorError, KeyError, ValueError) as error:
        raise LibraryError(f"{path} is damaged: {error}. Restore it from a copy, or train the skill again.") from error


def append_line(path: Path, value: BaseModel | Mapping[str, Any]) -> None:
    """Append one JSON line."""
    row = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    with open_to_append(path) as file:
        file.write((json.dumps(row, allow_nan=False) + "\n").encode())


def open_to_append(path: Path, anew: bool = False) -> BinaryIO:
    """A file opened for appending, made where it is missing. It never follows a link to another file.

    Args:
        anew: what it held is dropped.

    Raises:
        LibraryError: ``path`` is a link: a foreign home could have any file overwritten.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | (os.O_TRUNC if anew else 0)
    try:
        return os.fdopen(os.open(path, flags, 0o644), "ab")
    except OSError as error:
        if path.is_symlink():
            raise LibraryError(
                f"{path} is a link to {path.readlink()}, and flowrl writes to no file through a link. Remove it."
            ) from error
        raise


def lock_of(path: Path, timeout: float = -1, poll_interval: float = 0.05) -> FileLock:
    """The lock that a file stands for. It is not taken yet.

    Args:
        timeout: seconds to wait for it; -1: without end, looking every ``poll_interval`` seconds.

    Raises:
        LibraryError: the file is also another one, by a symbolic or a hard link: whoever locks that would seem to work
            here, and taking the lock would empty it.
    """
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise LibraryError(
                f"{path} is a link to another file, and no lock of flowrl. If no worker is at {path.parent}, remove it."
            )
    return FileLock(path, timeout=timeout, poll_interval=poll_interval)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file. None if it does not exist; a half-written last line is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows
