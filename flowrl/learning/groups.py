"""The worlds of a run in groups, which play and learn side by side: one a device, or several one after another.

A group's play depends on its worlds and its number alone, and what groups have in common is summed in a fixed order.
So what comes out does not depend on how many devices there are: cores of one processor, or graphics cards.
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

Tree = TypeVar("Tree")
Kept = TypeVar("Kept")
AXIS = "devices"
LARGE = 100_000
"""Numbers in an array that is summed over the devices on its own: putting it beside others would copy too much."""
SAME = PartitionSpec()
"""The same on all devices."""
WORLDS = PartitionSpec(AXIS)
"""[B, ...], split by world."""
STEPS = PartitionSpec(None, AXIS)
"""[T, B, ...], split by world."""


@dataclass(frozen=True)
class Groups:
    """How many groups there are, and the devices that they are spread over.

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
    def compiler_options(self) -> dict[str, Any] | None:
        """How programs are compiled: where each device is a core, none is to be cut up for the others' threads, and
        one that waits for another, as where a busy machine runs the other one later, waits for minutes.
        """
        if self.devices[0].platform != "cpu":
            return None
        return {"xla_cpu_multi_thread_eigen": False, "xla_cpu_collective_call_terminate_timeout_seconds": 600}

    def spread(self, function: Callable[..., Tree], takes: Any, gives: Any) -> Callable[..., Tree]:
        """Returns a function that runs on every device, on its part of what it is given, as ``takes`` says."""
        spread: Callable[..., Tree] = jax.shard_map(
            function, mesh=self.mesh, in_specs=takes, out_specs=gives, check_vma=False
        )
        return spread

    def numbers(self) -> Array:
        """Returns the numbers of this device's groups, to be called on a device."""
        return jax.lax.axis_index(AXIS) * self.here + jnp.arange(self.here)

    def total(self, parts: Tree) -> Tree:
        """Returns the sum over all groups of leaves [groups here, ...], in the order of the groups on any device."""
        return jax.tree.map(lambda part: jax.lax.all_gather(part, AXIS, tiled=True).sum(axis=0), parts)

    def sum_here(self, function: Callable[[Any], tuple[Tree, Kept]], parts: Any) -> tuple[Tree, Kept]:
        """Returns the sum of what ``function`` makes first of each group on this device, and all that it makes second.

        Args:
            parts: leaves [groups here, ...].
        """
        first = jax.tree.map(lambda leaf: leaf[0], parts)
        if self.here == 1:
            total, kept = function(first)
            return total, jax.tree.map(lambda leaf: leaf[None], kept)

        # A loop, as the function is compiled for each time that it is written out.
        def add(total: Tree, part: Any) -> tuple[Tree, Kept]:
            made, kept = function(part)
            return jax.tree.map(jnp.add, total, made), kept

        shapes, _ = jax.eval_shape(function, first)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        found: tuple[Tree, Kept] = jax.lax.scan(add, nothing, parts)
        return found

    def over_devices(self, tree: Tree) -> Tree:
        """Returns the sums over all devices. Each makes devices wait for each other, so small leaves go as one."""
        if len(self.devices) == 1:
            return tree
        leaves, structure = jax.tree.flatten(tree)
        small = [leaf for leaf in leaves if leaf.size < LARGE]
        flat, apart = ravel_pytree(small)
        summed = iter(apart(jax.lax.psum(flat, AXIS)))
        return jax.tree.unflatten(
            structure, [next(summed) if leaf.size < LARGE else jax.lax.psum(leaf, AXIS) for leaf in leaves]
        )

    def place(self, tree: Tree, split: PartitionSpec) -> Tree:
        """Returns arrays put on the devices."""
        placed: Tree = jax.device_put(tree, NamedSharding(self.mesh, split))
        return placed


def groups_of(count: int, devices: Sequence[Any] | None = None) -> Groups:
    """Returns ``count`` groups on as many devices as divide them, of those given or of all local ones."""
    devices = jax.local_devices() if devices is None else devices
    return Groups(count, tuple(devices[: max(n for n in range(1, len(devices) + 1) if count % n == 0)]))


def check_devices(devices: Sequence[Any]) -> None:
    """Checks that what is spread over some devices, with a sum over all groups, is what one of them does alone.

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


def _spread_sample(groups: Groups, worlds: np.ndarray) -> tuple[Array, Array]:
    def work(part: Array) -> tuple[Array, Array]:
        own = jnp.tanh(part @ part)
        return own, groups.total(split(own, groups.here).sum(axis=(1, 2, 3)))

    spread = groups.spread(work, WORLDS, (WORLDS, SAME))
    done: tuple[Array, Array] = jax.jit(spread)(groups.place(worlds, WORLDS))
    return done


def split(tree: Tree, groups: int, axis: int = 0) -> Tree:
    """Returns leaves with the worlds of ``axis`` split into groups on a new leading axis."""

    def one(leaf: Array) -> Array:
        shape = (*leaf.shape[:axis], groups, leaf.shape[axis] // groups, *leaf.shape[axis + 1 :])
        return jnp.moveaxis(leaf.reshape(shape), axis, 0)

    return jax.tree.map(one, tree)


def join(tree: Tree, axis: int = 0) -> Tree:
    """Returns what `split` took apart."""

    def one(leaf: Array) -> Array:
        moved = jnp.moveaxis(leaf, 0, axis)
        return moved.reshape(*moved.shape[:axis], moved.shape[axis] * moved.shape[axis + 1], *moved.shape[axis + 2 :])

    return jax.tree.map(one, tree)
