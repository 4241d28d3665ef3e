"""Compact snapshots of players in the middle of games. A few kilobytes each, and read back bit for bit. A
world is mostly block ids in wide integers. So each array of a file is the table of the values that occur in it and, for
every state, the numbers of its values in that table, in as few bits as tell them apart. What the player sees is left
out: it follows from the world.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int8, UInt8

from flowrl.env.block_memory import empty_memory
from flowrl.env.domain import Domain, World
from flowrl.env.explored import nothing_explored
from flowrl.env.player import PlayerState
from flowrl.errors import LibraryError
from flowrl.files import Arrays, read_arrays, write_arrays

MAX_STATES = 1024
"""A file that claims to hold more is refused."""
_GAME, _TABLE, _CODES = "game", ":table", ":codes"
_MAX_BITS = 32


class Snapshots(NamedTuple):
    """M states as numpy arrays. All of a `PlayerState` that cannot be told from the rest.

    Attributes:
        world: [M] on every leaf.
        memory: [M, ...] what the players remember.
        explored: [M, ...] the cells that they have seen; None in a layout without such a map.
    """

    world: World
    memory: Int8[np.ndarray, "M floors rows 2 slots"]
    explored: Bool[np.ndarray, "M floors R C"] | None = None

    @property
    def size(self) -> int:
        """Number of states."""
        return int(self.memory.shape[0])

    def rows(self, which: Any) -> "Snapshots":
        """Select some of the states by an index or a mask."""
        return jax.tree.map(lambda leaf: leaf[which], self)


def snapshots_of(player: PlayerState) -> Snapshots:
    """Copy the states of a batch of players to the host."""
    return Snapshots(*jax.tree.map(np.asarray, (player.world, player.memory, player.explored)))


def join(parts: list[Snapshots]) -> Snapshots:
    """Concatenate several batches."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def players_at(domain: Domain, snapshots: Snapshots) -> PlayerState:
    """Place players at snapshots with what they see."""
    seen = jax.jit(jax.vmap(domain.observe_fn))(snapshots.world)
    world, memory, explored = jax.tree.map(jax.numpy.asarray, snapshots)
    return PlayerState(world, seen, memory, explored)


def write_snapshots(path: Path, domain: Domain, snapshots: Snapshots) -> None:
    """Store states compactly at ``path``."""
    write_arrays(path, pack(domain, snapshots))


def read_snapshots(path: Path, domain: Domain) -> Snapshots:
    """Read the states stored at ``path``.

    Raises:
        LibraryError: the file is missing or damaged, or what it holds are no states of this game; says what differs.
    """
    arrays = read_arrays(path)
    try:
        return unpack(domain, arrays)
    except LibraryError as error:
        raise LibraryError(f"{path} holds no start states of {domain.name}: {error} Delete it to do without.") from None


def pack(domain: Domain, snapshots: Snapshots) -> dict[str, np.ndarray]:
    """Pack states into two named arrays a leaf. Its values, and [M, bytes] of their numbers."""
    arrays = {_GAME: np.frombuffer(domain.name.encode(), np.uint8)}
    for name, leaf in _named(snapshots):
        # Compared as bits: there are two zeros among the floats.
        bits, numbers = np.unique(np.ascontiguousarray(leaf).view(f"u{leaf.dtype.itemsize}"), return_inverse=True)
        arrays[name + _TABLE] = bits.view(leaf.dtype)
        arrays[name + _CODES] = _packed(numbers.reshape(len(leaf), -1), _width(len(bits)))
    return arrays


def unpack(domain: Domain, arrays: Arrays) -> Snapshots:
    """Undo `pack`.

    Raises:
        LibraryError: an array is missing, unknown, of another type or shape, or holds what no state can.
    """
    world = jax.eval_shape(domain.reset_fn, jax.random.PRNGKey(0))
    seen = jax.eval_shape(lambda: (empty_memory(domain), nothing_explored(domain)))
    template = Snapshots(world, *seen)  # shapes and types of one state
    named = _named(template)
    game = arrays.get(_GAME, np.zeros(0, np.uint8))
    if game.dtype != np.uint8 or game.tobytes() != domain.name.encode():
        raise LibraryError(f"it says that it is of {game.tobytes()[:40].decode(errors='replace')!r}.")
    wanted = {_GAME, *(name + part for name, _ in named for part in (_TABLE, _CODES))}
    if odd := sorted(wanted ^ arrays.keys()):
        raise LibraryError(f"it {'has an unknown' if odd[0] in arrays else 'lacks the'} array {odd[0]!r}.")
    count = len(arrays[named[0][0] + _CODES]) if arrays[named[0][0] + _CODES].ndim else 0
    if not 1 <= count <= MAX_STATES:
        raise LibraryError(f"it has {count} states, not 1 to {MAX_STATES}.")
    leaves = [_leaf(name, like, arrays[name + _TABLE], arrays[name + _CODES], count) for name, like in named]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _leaf(name: str, like: Any, table: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
    """Decode one leaf of ``count`` states like ``like``."""
    if table.dtype != like.dtype or table.ndim != 1 or not 1 <= table.size < 2**_MAX_BITS:
        raise LibraryError(f"{name!r} has values {table.dtype}{list(table.shape)}; they must be {like.dtype}[...].")
    if table.dtype == bool and table.view(np.uint8).max() > 1:
        raise LibraryError(f"{name!r} has truth values other than 0 and 1.")
    if np.issubdtype(table.dtype, np.floating) and not np.isfinite(table).all():
        raise LibraryError(f"{name!r} has NaN or infinity.")
    cells, width = int(np.prod(like.shape, dtype=np.int64)), _width(table.size)
    shape = (count, -(-cells * width // 8))
    if codes.dtype != np.uint8 or codes.shape != shape:
        raise LibraryError(f"{name!r} has numbers {codes.dtype}{list(codes.shape)}; they must be uint8{list(shape)}.")
    numbers = _unpacked(codes, cells, width)
    if numbers.size and int(numbers.max()) >= table.size:
        raise LibraryError(f"{name!r} names value {int(numbers.max())} of {table.size}.")
    return table[numbers].reshape(count, *like.shape)


def _named(snapshots: Snapshots) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(snapshots)]


def _width(values: int) -> int:
    """Bits that tell this number of values apart."""
    return max(1, (values - 1).bit_length())


def _packed(numbers: np.ndarray, width: int) -> UInt8[np.ndarray, "M bytes"]:
    """Pack [M, cells] numbers with ``width`` bits each. Every row is filled up to whole bytes."""
    planes = np.stack([(numbers >> bit).astype(np.uint8) & 1 for bit in range(width)], axis=-1)
    return np.packbits(planes.reshape(len(numbers), -1), axis=1)


def _unpacked(codes: UInt8[np.ndarray, "M bytes"], cells: int, width: int) -> np.ndarray:
    planes = np.unpackbits(codes, axis=1, count=cells * width).reshape(len(codes), cells, width)
    numbers = np.zeros((len(codes), cells), np.uint32)
    for bit in range(width):
        numbers |= planes[..., bit].astype(np.uint32) << bit
    return numbers
