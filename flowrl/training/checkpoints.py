"""Checkpoints of a run: the whole training state and its progress. A killed run resumes from them bit for bit."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flowrl.errors import LibraryError
from flowrl.files import read_arrays, read_json, write_arrays, write_json
from flowrl.paths import RunPaths
from flowrl.training.episode_stats import Progress

_KEPT = 2


def _names(tree: Any) -> list[str]:
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def save_checkpoint(paths: RunPaths, update: int, state: Any, progress: Progress) -> None:
    """Write one checkpoint and drop all but the newest two. The progress file is written last and makes it whole."""
    folder, leaves = paths.checkpoints, jax.tree.leaves(state)
    write_arrays(_arrays(folder, update), {n: np.asarray(x) for n, x in zip(_names(state), leaves, strict=True)})
    write_json(_progress(folder, update), progress)
    for old in paths.checkpoint_updates[:-_KEPT]:
        for path in (_progress(folder, old), _arrays(folder, old)):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def load_newest(paths: RunPaths, template: Any) -> tuple[Any, Progress] | None:
    """Load the newest whole checkpoint; None if there is none.

    Raises:
        LibraryError: there are checkpoints, but none can be read; says why the newest cannot.
    """
    failure: LibraryError | None = None
    folder = paths.checkpoints
    for update in reversed(paths.checkpoint_updates):
        try:
            return load_checkpoint(folder, update, template), read_json(_progress(folder, update), Progress)
        except LibraryError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return None


def load_checkpoint(folder: Path, update: int, template: Any) -> Any:
    """Load one checkpoint in the structure, shapes and types of ``template``.

    Raises:
        LibraryError: the file is damaged or belongs to another configuration; names the first leaf that differs.
    """
    path = _arrays(folder, update)
    arrays = read_arrays(path)
    leaves, structure = jax.tree.flatten(template)
    restored = []
    for name, leaf in zip(_names(template), leaves, strict=True):
        found = arrays.get(name)
        if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
            seen = "nothing" if found is None else f"{found.dtype}{list(found.shape)}"
            raise LibraryError(
                f"{path} has {seen} for {name}; this run needs {leaf.dtype}{list(leaf.shape)}. "
                f"If another flowrl wrote it, move {folder.parent} out of the home to begin anew."
            )
        restored.append(jax.numpy.asarray(found))
    return jax.tree.unflatten(structure, restored)


def _arrays(folder: Path, update: int) -> Path:
    return folder / f"update_{update:08d}.safetensors"


def _progress(folder: Path, update: int) -> Path:
    return folder / f"update_{update:08d}.json"
