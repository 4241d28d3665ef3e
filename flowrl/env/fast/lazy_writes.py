"""A large array that a step changes in few cells, kept as it was with a list of what is written where.

Written one after another into the array itself, XLA copies the whole of it wherever it can't prove that an earlier
version is no longer read; a game's step reads single cells between writes all the time.
"""

import functools
import operator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Index = tuple[Any, ...]


class Write(NamedTuple):
    """One cell's new value, if ``active``; an index out of bounds makes it inactive."""

    place: Index
    value: Any
    active: Any


@dataclass(eq=False)
class Cells:
    """An array: ``base`` after ``writes``, or, with ``lead``, its part at these first indices.

    ``kept`` says that the part still has its leading axis, of length 1; ``named`` is that index before it was moved
    into bounds, and ``parent`` the array that a part was taken from unchanged.
    """

    base: Any
    writes: tuple[Write, ...] = ()
    lead: Index = ()
    kept: bool = False
    named: Any = None
    parent: "Cells | None" = None

    @property
    def shape(self) -> tuple[int, ...]:
        ones = (1,) * len(self.lead) if self.kept else ()
        return (*ones, *self.base.shape[len(self.lead) :])

    def _full(self, index: Index) -> Index:
        return (*self.lead, *(index[len(self.lead) :] if self.kept else index))

    def read(self, index: Index) -> jax.Array:
        """Returns the cell at ``index``, moved to the nearest that there is, as `dynamic_slice` does."""
        full = clamp(self._full(index), self.base.shape)
        value = jax.lax.dynamic_slice(self.base, full, (1,) * len(full)).reshape(())
        for write in self.writes:
            value = jnp.where(write.active & same_place(write.place, full), write.value, value)
        return value

    def written(self, index: Index, value: Any) -> "Cells":
        """Returns the array with one cell changed; nothing changes out of bounds, as `scatter` has it."""
        full = self._full(index)
        write = Write(full, value, in_bounds(full, self.base.shape))
        last = self.writes[-1] if self.writes else None
        if last is not None and all(a is b for a, b in zip(last.place, full, strict=True)):
            kept = jnp.where(write.active, value, last.value)
            return replace(self, writes=(*self.writes[:-1], Write(full, kept, last.active | write.active)), parent=None)
        return replace(self, writes=(*self.writes, write), parent=None)

    def part(self, index: Any) -> "Cells":
        """Returns the part at ``index`` of the first axis, that axis kept."""
        return Cells(self.base, self.writes, clamp((index,), self.base.shape), kept=True, named=index, parent=self)

    def with_part(self, index: Any, part: "Cells") -> "Cells | None":
        """Returns the array with ``part`` put back at ``index``, None where it can't be seen to come from there."""
        before = len(self.writes)
        if (
            self.lead
            or part.base is not self.base
            or not same_index(part.named, index)
            or part.writes[:before] != self.writes
        ):
            return None
        inside = in_bounds((index,), self.base.shape[:1])
        changed = [write._replace(active=write.active & inside) for write in part.writes[before:]]
        return Cells(self.base, (*self.writes, *changed))

    def chosen(self, take: Any, other: "Cells") -> "Cells | None":
        """Returns this array where ``take`` is true, else ``other``; None where the two aren't of one origin."""
        if self.base is not other.base or not same_index(self.named, other.named) or self.kept != other.kept:
            return None
        shared = 0
        for left, right in zip(self.writes, other.writes, strict=False):
            if left is not right:
                break
            shared += 1
        if shared == len(self.writes) == len(other.writes):
            return self
        mine = [write._replace(active=write.active & take) for write in self.writes[shared:]]
        theirs = [write._replace(active=write.active & ~take) for write in other.writes[shared:]]
        return replace(self, writes=(*self.writes[:shared], *mine, *theirs), parent=None)

    def value(self, after: list[Any]) -> jax.Array:
        """Returns the array itself; the writes wait until ``after`` is known, so that nobody reads under them."""
        if self.parent is not None:
            return self._axes(_slice_first(self.parent.settle(after), self.lead[0]))
        if self.lead:
            return self._axes(self._small())
        return self.settle(after)

    def settle(self, after: list[Any]) -> jax.Array:
        """Returns the array with everything written, and keeps it so."""
        if self.writes:
            self.base, self.writes = write_all(self.base, self.writes, after), ()
        return self.base

    def _small(self) -> jax.Array:
        part = _slice_first(self.base, self.lead[0])
        inner = [w._replace(place=w.place[1:], active=w.active & (w.place[0] == self.lead[0])) for w in self.writes]
        return write_all(part, tuple(inner), [])

    def _axes(self, part: jax.Array) -> jax.Array:
        return part[None] if self.kept else part


def _slice_first(base: Any, index: Any) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(base, index, keepdims=False)


def write_all(base: Any, writes: tuple[Write, ...], after: list[Any]) -> jax.Array:
    """Returns ``base`` after ``writes``, in their order."""
    late = too_many(after)
    for write in writes:
        first = jnp.where(write.active, write.place[0], base.shape[0]) + late
        base = base.at[(first, *write.place[1:])].set(write.value, mode="drop")
        late = 0
    return base


def too_many(values: list[Any]) -> Any:
    """Returns 0, by way of every one of ``values``, in a way that no compiler sees through.

    It says whether more of them are 1 than there are of them. XLA drops its own barrier before it decides on copies.
    """
    if not values:
        return 0
    flags = [(jnp.asarray(value).reshape(-1)[0] == 1).astype(jnp.int32) for value in values]
    return (functools.reduce(operator.add, flags) > len(values)).astype(jnp.int32)


def clamp(index: Index, shape: tuple[int, ...]) -> Index:
    """Returns ``index`` moved into ``shape``, axis by axis."""
    return tuple(jnp.clip(i, 0, length - 1) for i, length in zip(index, shape, strict=False))


def in_bounds(index: Index, shape: tuple[int, ...]) -> Any:
    """Returns whether ``index`` lies in ``shape``."""
    inside = jnp.bool_(True)
    for i, length in zip(index, shape, strict=True):
        inside &= (i >= 0) & (i < length)
    return inside


def same_index(left: Any, right: Any) -> bool:
    """Returns whether two indices are known to be equal before anything is computed."""
    if left is right:
        return True
    if left is None or right is None or isinstance(left, jax.Array) or isinstance(right, jax.Array):
        return False
    return int(left) == int(right)


def same_place(left: Index, right: Index) -> Any:
    """Returns whether two cells are one."""
    same = jnp.bool_(True)
    for a, b in zip(left, right, strict=True):
        if a is not b:
            same &= a == b
    return same
