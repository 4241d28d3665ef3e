"""Weights of experts by name, as numpy arrays: how they travel between runs, files and the library.

A *named* state is the seed's ``{"params": {"actor_networks_0": ..., "critic_networks_0": ...}}`` with the number of
the expert in the key; a *tower* is a nested dict of layers, e.g. ``{"layer_0": {"kernel": ..., "bias": ...}}``.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from flowrl.errors import LibraryError
from flowrl.files import Arrays

TOWERS = ("actor", "critic")
Tree = dict[str, Any]
_EXPERT_KEY = re.compile(r"(actor|critic)_networks_(\d+)")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Returns a nested dict's leaves by dotted name."""
    flat: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def unflatten(flat: Arrays) -> Tree:
    """Returns the nested dict that `flatten` took apart."""
    tree: Tree = {}
    for name, value in flat.items():
        *path, leaf = name.split(".")
        branch = tree
        for key in path:
            branch = branch.setdefault(key, {})
        branch[leaf] = value
    return tree


def expert_key(tower: str, index: int) -> str:
    """Returns the seed's key of an expert's tower, e.g. `actor_networks_2`."""
    return f"{tower}_networks_{index}"


def expert_indices(named: Mapping[str, Any]) -> list[int]:
    """Returns the experts that a named state holds, ascending; numbers are read whole, so 1 is never taken for 11."""
    params = named.get("params", {})
    return sorted({int(m[2]) for m in map(_EXPERT_KEY.fullmatch, params) if m})


def expert_of(named: Mapping[str, Any], index: int) -> Tree:
    """Returns one expert of a named state as {"actor": tower, "critic": tower}.

    Raises:
        LibraryError: the state lacks it.
    """
    params = named["params"]
    missing = [expert_key(t, index) for t in TOWERS if expert_key(t, index) not in params]
    if missing:
        raise LibraryError(f"The weights lack {' and '.join(missing)}; they hold experts {expert_indices(named)}.")
    return {tower: params[expert_key(tower, index)] for tower in TOWERS}


def named_state(experts: Mapping[int, Mapping[str, Any]]) -> Tree:
    """Returns the named state of experts by index."""
    return {"params": {expert_key(t, i): expert[t] for i, expert in sorted(experts.items()) for t in TOWERS}}


def shapes(expert: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each leaf of one expert."""
    return {name: tuple(array.shape) for name, array in flatten(expert).items()}


def require_same_shape(experts: Iterable[tuple[str, Mapping[str, Any]]], wanted: dict[str, tuple[int, ...]]) -> None:
    """Checks that experts fit a network.

    Raises:
        LibraryError: one does not; names it, the leaf and both shapes.
    """
    for name, expert in experts:
        found = shapes(expert)
        for leaf in sorted(wanted.keys() | found.keys()):
            if wanted.get(leaf) != found.get(leaf):
                raise LibraryError(
                    f"{name} has {leaf} of shape {found.get(leaf)}; this network needs {wanted.get(leaf)}."
                )


def sha256(data: bytes) -> str:
    """Returns the hash of a file's content, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
