"""A game's step evaluated anew with less work. Four changes, none of which changes a bit of the results:
large arrays are written to at the end (`lazy_writes`), loops without a carry run as one vector, short loops are written
out, and random numbers come from `threefry`.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.extend import core

from flowrl.env.fast.lazy_writes import LazyArray
from flowrl.env.fast.threefry import IMPL

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W")
LARGE = 512
"""From how many cells on an array counts as large."""
LONGEST = 16
"""Up to how many rounds a loop is written out."""
SCAN_PARAMETERS = frozenset({"num_consts", "num_carry", "jaxpr", "length", "reverse"})
"""How jax states a loop; where it does so in another way, as 0.11.2 does, loops are left as they are."""


def rewrite_step(fn: Callable[P, R]) -> Callable[P, R]:
    """Rewrite ``fn`` of one world; for use under `jax.vmap` and `jax.jit`."""

    @functools.wraps(fn)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        traced, shape = jax.make_jaxpr(functools.partial(fn, **kwargs), return_shape=True)(*args)
        evaluation = JaxprEvaluator()
        leaves = [evaluation.tracked(leaf) for leaf in jax.tree.leaves(args)]
        results = evaluation.run(traced.jaxpr, traced.consts, leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), [evaluation.plain(result) for result in results])

    return wrapped


@jax.jit
def flush_writes(world: W) -> W:
    """Mark where pending writes are done: a function that changes nothing.

    Every read of a large array is compared with each pending write, so a step flushes between its stages.
    """
    return world


class JaxprEvaluator:
    """One pass over a trace. It knows what was computed already, and which cells were read from which large array."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Any, list[Any]]] = {}
        self._literals: dict[Any, Any] = {}
        self._scalars: dict[int, tuple[Any, tuple[Any, ...]]] = {}
        self._reads: dict[int, list[Any]] = {}
        self._rules: dict[str, Callable[[Any, list[Any]], list[Any] | None]] = {
            "jit": self._call,
            "scan": self._scan,
            "random_wrap": self._wrap,
            "convert_element_type": self._convert,
            "broadcast_in_dim": self._broadcast,
            "concatenate": self._concatenate,
            "slice": self._slice,
            "dynamic_slice": self._dynamic_slice,
            "squeeze": self._squeeze,
            "scatter": self._scatter,
            "select_n": self._select,
        }

    def tracked(self, value: Any) -> Any:
        """Wrap a large array as a `LazyArray`."""
        return LazyArray(value) if getattr(value, "ndim", 0) >= 2 and value.size >= LARGE else value

    def plain(self, value: Any) -> Any:
        """Unwrap a `LazyArray` with all its writes done."""
        return value.value(self._reads.get(id(value.base), [])) if isinstance(value, LazyArray) else value

    def _flushed(self, value: Any) -> Any:
        """Do a large array's pending writes."""
        if isinstance(value, LazyArray) and not value.lead:
            self.plain(value)
        return value

    def _flush_all(self, args: list[Any]) -> list[Any]:
        """Do all pending writes. What is written to large arrays from now on waits for all the small values."""
        small = [
            arg for arg in args if not isinstance(arg, LazyArray) and not jnp.issubdtype(arg.dtype, jax.dtypes.extended)
        ]
        for arg in args:
            if isinstance(self._flushed(arg), LazyArray):
                self._reads.setdefault(id(arg.base), []).extend(small)
        return args

    def run(self, jaxpr: core.Jaxpr, consts: list[Any], args: list[Any]) -> list[Any]:
        """Evaluate ``jaxpr``; large outputs come as `LazyArray`."""
        values: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
        read = functools.partial(self._value_of, values)
        for eqn in jaxpr.eqns:
            values.update(zip(eqn.outvars, self._evaluate(eqn, [read(v) for v in eqn.invars]), strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _value_of(self, values: dict[Any, Any], atom: Any) -> Any:
        if not isinstance(atom, core.Literal):
            return values[atom]
        key = (str(atom.aval), repr(atom.val))
        return self._literals.setdefault(key, atom.val)

    def _evaluate(self, eqn: Any, args: list[Any]) -> list[Any]:
        rule = self._rules.get(eqn.primitive.name)
        results = rule(eqn, args) if rule else None
        return self._bind(eqn, [self.plain(arg) for arg in args]) if results is None else results

    def _bind(self, eqn: Any, args: list[Any]) -> list[Any]:
        """Apply a primitive or look up its result."""
        # The arguments are kept with the results, so that no id is used again.
        key = (eqn.primitive.name, tuple(map(id, args)), str(eqn.params) if len(eqn.params) < 8 else id(eqn))
        if key not in self._known:
            results = eqn.primitive.bind(*args, **eqn.params)
            results = list(results) if eqn.primitive.multiple_results else [results]
            self._known[key] = (args, [self.tracked(result) for result in results])
        return self._known[key][1]

    def _call(self, eqn: Any, args: list[Any]) -> list[Any]:
        if eqn.params["name"] == "flush_writes":
            return self._flush_all(args)
        inner = eqn.params["jaxpr"]
        return self.run(inner.jaxpr, inner.consts, args)

    def _scan(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        if not eqn.params.keys() >= SCAN_PARAMETERS:
            return None
        consts, carry = eqn.params["num_consts"], eqn.params["num_carry"]
        fixed, state, rows = args[:consts], args[consts : consts + carry], args[consts + carry :]
        body = eqn.params["jaxpr"]
        if not carry and rows:
            return self._at_once(body, fixed, [self.plain(row) for row in rows])
        if eqn.params["length"] > LONGEST:
            return None
        return self._written_out(eqn, fixed, state, [self.plain(row) for row in rows])

    # Example, a scan over 8 directions that reads a cell of the map in each: one `jax.vmap` over 8 rows.
    def _at_once(self, body: Any, fixed: list[Any], rows: list[Any]) -> list[Any]:
        def one(*row: Any) -> list[Any]:
            inner = JaxprEvaluator()
            return [inner.plain(out) for out in inner.run(body.jaxpr, body.consts, [*fixed, *row])]

        results = jax.vmap(one)(*rows)
        # Later writes to the arrays that were read wait for these results.
        for value in fixed:
            if isinstance(value, LazyArray):
                self._reads.setdefault(id(value.base), []).extend(results)
        return results

    def _written_out(self, eqn: Any, fixed: list[Any], state: list[Any], rows: list[Any]) -> list[Any]:
        body, length = eqn.params["jaxpr"], eqn.params["length"]
        collected: list[list[Any]] = []
        order = range(length)[::-1] if eqn.params["reverse"] else range(length)
        for i in order:
            results = self.run(body.jaxpr, body.consts, [*fixed, *state, *(row[i] for row in rows)])
            state = [self._flushed(result) for result in results[: len(state)]]
            collected.append([self.plain(out) for out in results[len(state) :]])
        if eqn.params["reverse"]:
            collected.reverse()
        return [*state, *(jnp.stack(column) for column in zip(*collected, strict=True))]

    def _wrap(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        if eqn.params["impl"].name != "threefry2x32":
            return None
        return [jax.random.wrap_key_data(args[0], impl=IMPL)]

    def _convert(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        same = args[0].dtype == eqn.params["new_dtype"] if isinstance(args[0], jax.Array) else False
        return [args[0]] if same else None

    def _broadcast(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        # jax builds an index such as [row, column] from scalars made [1] and put together. The scalars are remembered,
        # so that a write at this index can tell which cell it goes to.
        if eqn.params["shape"] != (1,) or jnp.ndim(args[0]) != 0:
            return None
        results = self._bind(eqn, args)
        self._scalars[id(results[0])] = (results[0], (args[0],))
        return results

    def _concatenate(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        if not all(id(arg) in self._scalars for arg in args):
            return None
        results = self._bind(eqn, args)
        self._scalars[id(results[0])] = (results[0], tuple(s for arg in args for s in self._scalars[id(arg)][1]))
        return results

    def _squeeze(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        (array,) = args
        # world.map[floor] is a slice [1, R, C] and then this squeeze to [R, C].
        if not isinstance(array, LazyArray) or not array.keeps_axis or eqn.params["dimensions"] != (0,):
            return None
        key = ("squeeze", id(array))
        if key not in self._known:
            part = LazyArray(array.base, array.writes, array.lead, False, array.raw_index, array.parent)
            self._known[key] = (array, [part])
        return self._known[key][1]

    def _slice(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        (array,) = args
        start, stop = eqn.params["start_indices"], eqn.params["limit_indices"]
        if not isinstance(array, LazyArray) or array.lead or eqn.params["strides"] is not None:
            return None
        if stop[0] - start[0] != 1 or any(start[1:]) or stop[1:] != array.shape[1:]:
            return None
        return [array.part(start[0])]

    def _dynamic_slice(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        array, index, sizes = args[0], tuple(args[1:]), eqn.params["slice_sizes"]
        if not isinstance(array, LazyArray):
            return None
        key = ("slice", id(array), tuple(map(id, index)), sizes)
        if key not in self._known:
            self._known[key] = ([args, array.base], self._sliced(array, index, sizes))
        return self._known[key][1]

    def _sliced(self, array: LazyArray, index: tuple[Any, ...], sizes: tuple[int, ...]) -> list[Any]:
        # One cell, one index of the first axis, or a window of a part that nothing was written to.
        if all(size == 1 for size in sizes):
            value = array.read(index)
            self._reads.setdefault(id(array.base), []).append(value)
            return [value.reshape(sizes)]
        if not array.lead and sizes == (1, *array.shape[1:]):
            return [array.part(index[0])]
        if array.parent is not None and not array.keeps_axis:
            whole = self.plain(array.parent)
            return [jax.lax.dynamic_slice(whole, (*array.lead, *index), (1, *sizes)).reshape(sizes)]
        return [jax.lax.dynamic_slice(self.plain(array), index, sizes)]

    def _scatter(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        array, places, update = args
        _, index = self._scalars.get(id(places), (None, ()))
        # Only .at[i, j].set(value) and .at[i].set(part): the index fills the first axes, one number each.
        numbers, axes = eqn.params["dimension_numbers"], len(index)
        plain = numbers.inserted_window_dims == numbers.scatter_dims_to_operand_dims == tuple(range(axes))
        if not isinstance(array, LazyArray) or not index or not plain or "CLIP" in str(eqn.params["mode"]):
            return None
        if axes == len(array.shape) and not isinstance(update, LazyArray):
            return [array.write(index, update)]
        whole = array.put_part(index[0], update) if axes == 1 and isinstance(update, LazyArray) else None
        return None if whole is None else [whole]

    def _select(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        which, *cases = args
        if len(cases) != 2 or jnp.ndim(which) != 0 or not all(isinstance(case, LazyArray) for case in cases):
            return None
        chosen = cases[1].select(which, cases[0])
        return None if chosen is None else [chosen]
