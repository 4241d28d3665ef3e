"""A large array with pending single-cell writes. Where writes go into the array one after another, XLA copies
the whole of it wherever it can't prove that an earlier version is no longer read; a game's step reads single cells
between writes all the time. Reads here look at the old array and at the pending writes.
"""

import functools
import operator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Index = tuple[Any, ...]


# Example, a map [R, C] of grass in which a cow moves from (3, 4) to (3, 5):
#     base = the map before, writes = ((3, 4) -> 0 if moved, (3, 5) -> cow if moved)
#     read (3, 5): base[3, 5], then cow where moved is true and the places are the same
#     write (3, 5) again: the last write is of this very index, so its value is replaced
# With floors, part(k) of [floors, R, C] has lead = (k,) and the same base: its writes are at (k, row, column).
class Write(NamedTuple):
    """One cell's new value if ``active``. An index out of bounds makes it inactive."""

    place: Index
    value: Any
    active: Any


@dataclass(eq=False)
class LazyArray:
    """An array: ``base`` after ``writes``.

    With ``lead``, its part at these first indices: ``keeps_axis`` says that the part still has its leading axis, of
    length 1, ``raw_index`` is that index before clamping, and ``parent`` the array that an unchanged part was taken
    from.
    """

    base: Any
    writes: tuple[Write, ...] = ()
    lead: Index = ()
    keeps_axis: bool = False
    raw_index: Any = None
    parent: "LazyArray | None" = None

    @property
    def shape(self) -> tuple[int, ...]:
        ones = (1,) * len(self.lead) if self.keeps_axis else ()
        return (*ones, *self.base.shape[len(self.lead) :])

    def _full(self, index: Index) -> Index:
        return (*self.lead, *(index[len(self.lead) :] if self.keeps_axis else index))

    def read(self, index: Index) -> jax.Array:
        """Read a cell. An index out of bounds is clamped, as in `dynamic_slice`."""
        full = clamp(self._full(index), self.base.shape)
        # [], the cell as it was, then as each write that hits it left it
        value = jax.lax.dynamic_slice(self.base, full, (1,) * len(full)).reshape(())
        for write in self.writes:
            value = jnp.where(write.active & same_place(write.place, full), write.value, value)
        return value

    def write(self, index: Index, value: Any) -> "LazyArray":
        """Write a cell. An index out of bounds is dropped, as in `scatter`."""
        full = self._full(index)
        write = Write(full, value, in_bounds(full, self.base.shape))
        last = self.writes[-1] if self.writes else None
        if last is not None and all(a is b for a, b in zip(last.place, full, strict=True)):
            merged = jnp.where(write.active, value, last.value)
            return replace(
                self, writes=(*self.writes[:-1], Write(full, merged, last.active | write.active)), parent=None
            )
        return replace(self, writes=(*self.writes, write), parent=None)

    def part(self, index: Any) -> "LazyArray":
        """Slice one index of the first axis and keep the axis."""
        return LazyArray(
            self.base, self.writes, clamp((index,), self.base.shape), keeps_axis=True, raw_index=index, parent=self
        )

    def put_part(self, index: Any, part: "LazyArray") -> "LazyArray | None":
        """Put ``part`` back at ``index``. None where it can't be seen to come from there."""
        before = len(self.writes)
        if (
            self.lead
            or part.base is not self.base
            or not same_index(part.raw_index, index)
            or part.writes[:before] != self.writes
        ):
            return None
        inside = in_bounds((index,), self.base.shape[:1])
        changed = [write._replace(active=write.active & inside) for write in part.writes[before:]]
        return LazyArray(self.base, (*self.writes, *changed))

    def select(self, take: Any, other: "LazyArray") -> "LazyArray | None":
        """This array where ``take`` is true and else ``other``. None where the two don't share a base."""
        if (
            self.base is not other.base
            or not same_index(self.raw_index, other.raw_index)
            or self.keeps_axis != other.keeps_axis
        ):
            return None
        # Writes before the two parted are done in either case; those after it only where theirs is the case.
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
        """The array itself. Its writes wait until ``after`` is known, so that no later read sees them too early."""
        if self.parent is not None:
            return self._axes(_slice_first(self.parent.flush(after), self.lead[0]))
        if self.lead:
            return self._axes(self._small())
        return self.flush(after)

    def flush(self, after: list[Any]) -> jax.Array:
        """Do the pending writes and keep the result."""
        if self.writes:
            self.base, self.writes = write_all(self.base, self.writes, after), ()
        return self.base

    def _small(self) -> jax.Array:
        part = _slice_first(self.base, self.lead[0])
        inner = [w._replace(place=w.place[1:], active=w.active & (w.place[0] == self.lead[0])) for w in self.writes]
        return write_all(part, tuple(inner), [])

    def _axes(self, part: jax.Array) -> jax.Array:
        return part[None] if self.keeps_axis else part


def _slice_first(base: Any, index: Any) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(base, index, keepdims=False)


def write_all(base: Any, writes: tuple[Write, ...], after: list[Any]) -> jax.Array:
    """Apply ``writes`` to ``base`` in their order."""
    late = zero_after(after)
    for write in writes:
        # An inactive write goes to a row past the end, which is dropped.
        first = jnp.where(write.active, write.place[0], base.shape[0]) + late
        base = base.at[(first, *write.place[1:])].set(write.value, mode="drop")
        late = 0  # the others wait for the first write anyway
    return base


def zero_after(values: list[Any]) -> Any:
    """An opaque zero that depends on all ``values``.

    It says whether more of them are 1 than there are of them. XLA drops its own barrier before it decides on copies.
    """
    if not values:
        return 0
    flags = [(jnp.asarray(value).reshape(-1)[0] == 1).astype(jnp.int32) for value in values]
    return (functools.reduce(operator.add, flags) > len(values)).astype(jnp.int32)


def clamp(index: Index, shape: tuple[int, ...]) -> Index:
    """Clamp ``index`` to ``shape`` axis by axis."""
    return tuple(jnp.clip(i, 0, length - 1) for i, length in zip(index, shape, strict=False))


def in_bounds(index: Index, shape: tuple[int, ...]) -> Any:
    """Whether ``index`` lies in ``shape``."""
    inside = jnp.bool_(True)
    for i, length in zip(index, shape, strict=True):
        inside &= (i >= 0) & (i < length)
    return inside


def same_index(left: Any, right: Any) -> bool:
    """Whether two indices are surely equal."""
    if left is right:
        return True
    if left is None or right is None or isinstance(left, jax.Array) or isinstance(right, jax.Array):
        return False
    return int(left) == int(right)


def same_place(left: Index, right: Index) -> Any:
    """Whether two cells are the same."""
    same = jnp.bool_(True)
    for a, b in zip(left, right, strict=True):
        if a is not b:
            same &= a == b
    return same
