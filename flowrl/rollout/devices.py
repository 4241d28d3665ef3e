"""Groups of a run's worlds, and the devices they are on. A group's play depends on its worlds and its number alone, and
what groups have in common is summed in a fixed order. So the result does not depend on the number of devices: cores of
one processor, or graphics cards.

Devices must exchange in the same order. A program that was kept compiled does not know the order that it was written in
(jaxlib 0.10.1, on CPUs): two independent exchanges begin in another order on each device, which waits for ever, or adds
up what does not belong together. So all exchanges of a program form a chain, in which each takes something that the one
before gave.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from flowrl.errors import PlatformError

TreeT = TypeVar("TreeT")
AuxT = TypeVar("AuxT")
AXIS = "devices"
SAME = PartitionSpec()
"""The same on all devices."""
WORLDS = PartitionSpec(AXIS)
"""[B, ...], split by world."""
STEPS = PartitionSpec(None, AXIS)
"""[T, B, ...], split by world."""


@dataclass(frozen=True)
class Groups:
    """The number of groups, and the devices that they are spread over.

    Attributes:
        count: groups in all.
        devices: as many as divide them evenly.
    """

    count: int
    devices: tuple[Any, ...]

    @cached_property
    def mesh(self) -> Mesh:
        """The devices in a row."""
        return Mesh(np.array(self.devices), (AXIS,))

    @property
    def here(self) -> int:
        """Groups on each device."""
        return self.count // len(self.devices)

    @property
    def on_cpu(self) -> bool:
        """Whether the devices are cores of a processor."""
        return bool(self.devices[0].platform == "cpu")

    def spread(self, function: Callable[..., TreeT], takes: Any, gives: Any) -> Callable[..., TreeT]:
        """Make a function run on every device, on its part."""
        spread: Callable[..., TreeT] = jax.shard_map(
            function, mesh=self.mesh, in_specs=takes, out_specs=gives, check_vma=False
        )
        return spread

    def numbers(self) -> Array:
        """Numbers of this device's groups. To be called on a device."""
        return jax.lax.axis_index(AXIS) * self.here + jnp.arange(self.here)

    def gather(self, tree: TreeT, after: Any = ()) -> TreeT:
        """Concatenate all devices' leaves [groups here, ...] along the first axis.

        Everything goes as one exchange. On one device too, where it keeps what is added up afterwards from being added
        up in another order, along with what it was made of.

        Args:
            after: what the exchange before this one gave, where nothing in ``tree`` was made from it.
        """
        leaves, structure = jax.tree.flatten(tree)
        # One number of each is enough for this to wait for all of them.
        before = [leaf[(0,) * leaf.ndim] for leaf in jax.tree.leaves(after)]
        parts = [_as_bytes(leaf) for leaf in (*leaves, *before)]
        found = jax.lax.all_gather(jnp.concatenate(parts), AXIS)  # [devices, bytes]
        ends = np.cumsum([part.size for part in parts])
        # One piece a leaf, [devices, bytes of the leaf]; those of ``after`` are dropped.
        pieces = jnp.split(found, ends[:-1], axis=1)[: len(leaves)]
        return jax.tree.unflatten(structure, [_from_bytes(p, leaf) for p, leaf in zip(pieces, leaves, strict=True)])

    def total(self, parts: TreeT, after: Any = ()) -> TreeT:
        """Sum leaves [groups here, ...] over all groups. The order is that of the groups on any number of devices."""
        return jax.tree.map(lambda part: part.sum(axis=0), self.gather(parts, after))

    def sum_here(self, function: Callable[[Any], tuple[TreeT, AuxT]], parts: Any) -> tuple[TreeT, AuxT]:
        """Sum ``function``'s first result over this device's groups.

        Its second results are stacked, [groups here, ...].

        Args:
            parts: leaves [groups here, ...].
        """
        first = jax.tree.map(lambda leaf: leaf[0], parts)
        if self.here == 1:
            total, kept = function(first)
            return total, jax.tree.map(lambda leaf: leaf[None], kept)

        # A loop, as the function is compiled for each time that it is written out.
        def add(total: TreeT, part: Any) -> tuple[TreeT, AuxT]:
            made, kept = function(part)
            return jax.tree.map(jnp.add, total, made), kept

        shapes, _ = jax.eval_shape(function, first)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        found: tuple[TreeT, AuxT] = jax.lax.scan(add, nothing, parts)
        return found

    def over_devices(self, tree: TreeT) -> TreeT:
        """Sum over all devices, in one exchange."""
        if len(self.devices) == 1:
            return tree
        flat, apart = ravel_pytree(tree)
        summed: TreeT = apart(jax.lax.psum(flat, AXIS))
        return summed

    def ring_shift(self, part: Array) -> Array:
        """Take the array of the previous device on a ring."""
        devices = len(self.devices)
        passed: Array = jax.lax.ppermute(part, AXIS, [(device, (device + 1) % devices) for device in range(devices)])
        return passed

    def place(self, tree: TreeT, split: PartitionSpec) -> TreeT:
        """Put arrays on the devices."""
        placed: TreeT = jax.device_put(tree, NamedSharding(self.mesh, split))
        return placed


def _as_bytes(leaf: Array) -> Array:
    plain = leaf.astype(jnp.uint8) if leaf.dtype == bool else jax.lax.bitcast_convert_type(leaf, jnp.uint8)
    return plain.reshape(leaf.nbytes)


def _from_bytes(rows: Array, like: Array) -> Array:
    """Undo `_as_bytes` of each device, one after the other."""
    shape = (rows.shape[0] * like.shape[0], *like.shape[1:])
    if like.dtype == bool:
        return rows.reshape(shape).astype(bool)
    size = like.dtype.itemsize
    plain = rows.reshape(shape if size == 1 else (*shape, size))
    return jax.lax.bitcast_convert_type(plain, like.dtype)


def groups_of(count: int, devices: Sequence[Any] | None = None) -> Groups:
    """Spread ``count`` groups over as many devices as divide them. Of those given, or of all local ones."""
    devices = jax.local_devices() if devices is None else devices
    return Groups(count, tuple(devices[: max(n for n in range(1, len(devices) + 1) if count % n == 0)]))


def check_devices(devices: Sequence[Any]) -> None:
    """Check that spread work equals the work of one device.

    Raises:
        PlatformError: it is not; names the devices.
    """
    worlds = np.asarray(jax.random.normal(jax.random.PRNGKey(0), (2 * len(devices), 32, 32)))
    found = [
        jax.tree.map(np.asarray, _spread_sample(groups_of(len(devices), d), worlds)) for d in (devices[:1], devices)
    ]
    alone, together = jax.tree.leaves(found[0]), jax.tree.leaves(found[1])
    if not all(np.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(alone, together, strict=True)):
        raise PlatformError(
            f"What is spread over {', '.join(map(str, devices))} is not what {devices[0]} does alone. "
            f"Train on one of them: CUDA_VISIBLE_DEVICES=0, or --set env.groups=1"
        )


def _spread_sample(groups: Groups, worlds: np.ndarray) -> tuple[Array, Array, Array]:
    def work(part: Array) -> tuple[Array, Array, Array]:
        own = jnp.tanh(part @ part)
        total = groups.total(split(own, groups.here).sum(axis=(1, 2, 3)))
        passed = around = own.sum(axis=0) + 0 * total
        for _ in groups.devices[1:]:
            passed = groups.ring_shift(passed)
            around += passed
        return own, total, around

    spread = groups.spread(work, WORLDS, (WORLDS, SAME, SAME))
    done: tuple[Array, Array, Array] = jax.jit(spread)(groups.place(worlds, WORLDS))
    return done


def split(tree: TreeT, groups: int, axis: int = 0) -> TreeT:
    """Split the worlds of ``axis`` into groups on a new leading axis."""

    def one(leaf: Array) -> Array:
        shape = (*leaf.shape[:axis], groups, leaf.shape[axis] // groups, *leaf.shape[axis + 1 :])
        return jnp.moveaxis(leaf.reshape(shape), axis, 0)

    return jax.tree.map(one, tree)


def join(tree: TreeT, axis: int = 0) -> TreeT:
    """Undo `split`."""

    def one(leaf: Array) -> Array:
        moved = jnp.moveaxis(leaf, 0, axis)
        return moved.reshape(*moved.shape[:axis], moved.shape[axis] * moved.shape[axis + 1], *moved.shape[axis + 2 :])

    return jax.tree.map(one, tree)
