"""Weights of experts as numpy arrays. How they travel between runs, files and the library.

An `Expert` is one flat dict, `{"actor.layer_0.kernel": array, ...}`; that is also how the library stores it. Files of
several experts, and the seed's *named* state `{"params": {"actor_networks_0": {...}, "critic_networks_0": {...}}}`,
carry the expert's number in the key.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowrl.errors import LibraryError
from flowrl.files import Arrays, pack_arrays, read_arrays, write_arrays

TOWERS = ("actor", "critic")
Tree = dict[str, Any]
Expert = Arrays
"""The leaves of one expert by dotted name, each name beginning with its tower."""
_LEAF = re.compile(r"params\.(actor|critic)_networks_(\d+)\.(.+)")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dict's leaves by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def unflatten(flat: Mapping[str, Any]) -> Tree:
    """The nested dict that `flatten` took apart."""
    tree: Tree = {}
    for name, value in flat.items():
        *path, leaf = name.split(".")
        branch = tree
        for key in path:
            branch = branch.setdefault(key, {})
        branch[leaf] = value
    return tree


def named_state(experts: Mapping[int, Expert]) -> Tree:
    """The seed's named state of experts by number."""
    return {"params": {}} | unflatten(_numbered(experts))


def experts_of(named: Mapping[str, Any]) -> dict[int, Expert]:
    """The experts of a named state by number, ascending.

    Raises:
        LibraryError: an expert lacks a tower, or a key is not the seed's.
    """
    return numbered_experts(flatten({"params": named.get("params", {})}), "The named state")


def save_experts(path: Path, experts: Mapping[int, Expert]) -> None:
    """Write experts by number into one file."""
    write_arrays(path, _numbered(experts))


def load_experts(path: Path) -> dict[int, Expert]:
    """Read experts by number, ascending.

    Raises:
        LibraryError: the file is missing or damaged, or holds something else.
    """
    return numbered_experts(read_arrays(path), str(path))


def _numbered(experts: Mapping[int, Expert]) -> dict[str, Any]:
    leaves = {}
    for number, expert in sorted(experts.items()):
        for name, array in expert.items():
            tower, _, rest = name.partition(".")
            leaves[f"params.{tower}_networks_{number}.{rest}"] = array
    return leaves


def numbered_experts(leaves: Mapping[str, Any], source: str) -> dict[int, Expert]:
    """Sort the leaves of several experts by expert.

    Args:
        source: what holds them, for messages.

    Raises:
        LibraryError: an expert lacks a tower, or a leaf is of no expert.
    """
    experts: dict[int, dict[str, Any]] = {}
    for name, array in leaves.items():
        found = _LEAF.fullmatch(name)
        if found is None:
            raise LibraryError(f"{source} holds {name!r}, not only leaves like params.actor_networks_0.layer_0.kernel.")
        experts.setdefault(int(found[2]), {})[f"{found[1]}.{found[3]}"] = array
    for number, expert in experts.items():
        for tower in TOWERS:
            if not any(name.startswith(f"{tower}.") for name in expert):
                raise LibraryError(f"{source} lacks {tower}_networks_{number}; it holds experts {sorted(experts)}.")
    return dict(sorted(experts.items()))


def expert_sha256(expert: Expert) -> str:
    """The hash of the file in which the library stores an expert."""
    return sha256(pack_arrays(expert))


def sha256(data: bytes) -> str:
    """The hexadecimal hash of a file's content."""
    return hashlib.sha256(data).hexdigest()
