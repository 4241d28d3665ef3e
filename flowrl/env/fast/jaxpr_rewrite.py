"""A step function of upstream's evaluated so that a CPU does less, with the same results bit for bit.

Upstream is written for accelerators. Its functions are traced as they are and the trace is evaluated anew, with four
changes: large arrays are written to at the end (`lazy_writes`), loops without a carry run as one vector, short loops
are written out, and random numbers come from `threefry`.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.extend import core

from flowrl.env.fast.lazy_writes import Cells
from flowrl.env.fast.threefry import IMPL

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W")
LARGE = 512
"""From how many cells on an array counts as large."""
LONGEST = 16
"""Up to how many rounds a loop is written out."""


def lean(fn: Callable[P, R]) -> Callable[P, R]:
    """Returns ``fn`` of one world, evaluated as this module says; for use under `jax.vmap` and `jax.jit`."""

    @functools.wraps(fn)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        traced, shape = jax.make_jaxpr(functools.partial(fn, **kwargs), return_shape=True)(*args)
        evaluation = JaxprEvaluator()
        leaves = [evaluation.tracked(leaf) for leaf in jax.tree.leaves(args)]
        results = evaluation.run(traced.jaxpr, traced.consts, leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), [evaluation.plain(result) for result in results])

    return wrapped


@jax.jit
def written_down(world: W) -> W:
    """Returns the same; `lean` writes here what was written so far, to be looked up no more."""
    return world


class JaxprEvaluator:
    """One pass over a trace: what was computed already, and which cells were read from which large array."""

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
        """Returns a large array as `Cells`, anything else as it is."""
        return Cells(value) if getattr(value, "ndim", 0) >= 2 and value.size >= LARGE else value

    def plain(self, value: Any) -> Any:
        """Returns the array that `Cells` stand for, anything else as it is."""
        return value.value(self._reads.get(id(value.base), [])) if isinstance(value, Cells) else value

    def _settled(self, value: Any) -> Any:
        """Returns the same with all writes done: what is read later needn't be compared with each of them."""
        if isinstance(value, Cells) and not value.lead:
            self.plain(value)
        return value

    def _all_settled(self, args: list[Any]) -> list[Any]:
        """Returns the same, settled; what is written to large arrays from now on waits for all the small ones."""
        small = [
            arg for arg in args if not isinstance(arg, Cells) and not jnp.issubdtype(arg.dtype, jax.dtypes.extended)
        ]
        for arg in args:
            if isinstance(self._settled(arg), Cells):
                self._reads.setdefault(id(arg.base), []).extend(small)
        return args

    def run(self, jaxpr: core.Jaxpr, consts: list[Any], args: list[Any]) -> list[Any]:
        """Returns the outputs of ``jaxpr``, large ones as `Cells`."""
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
        """Returns what the primitive gives, which is looked up where the same was asked before."""
        key = (eqn.primitive.name, tuple(map(id, args)), str(eqn.params) if len(eqn.params) < 8 else id(eqn))
        if key not in self._known:
            results = eqn.primitive.bind(*args, **eqn.params)
            results = list(results) if eqn.primitive.multiple_results else [results]
            self._known[key] = (args, [self.tracked(result) for result in results])
        return self._known[key][1]

    def _call(self, eqn: Any, args: list[Any]) -> list[Any]:
        if eqn.params["name"] == "written_down":
            return self._all_settled(args)
        inner = eqn.params["jaxpr"]
        return self.run(inner.jaxpr, inner.consts, args)

    def _scan(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        consts, carry = eqn.params["num_consts"], eqn.params["num_carry"]
        fixed, state, rows = args[:consts], args[consts : consts + carry], args[consts + carry :]
        body = eqn.params["jaxpr"]
        if not carry and rows:
            return self._at_once(body, fixed, [self.plain(row) for row in rows])
        if eqn.params["length"] > LONGEST:
            return None
        return self._written_out(eqn, fixed, state, [self.plain(row) for row in rows])

    def _at_once(self, body: Any, fixed: list[Any], rows: list[Any]) -> list[Any]:
        def one(*row: Any) -> list[Any]:
            inner = JaxprEvaluator()
            return [inner.plain(out) for out in inner.run(body.jaxpr, body.consts, [*fixed, *row])]

        results = jax.vmap(one)(*rows)
        for value in fixed:
            if isinstance(value, Cells):
                self._reads.setdefault(id(value.base), []).extend(results)
        return results

    def _written_out(self, eqn: Any, fixed: list[Any], state: list[Any], rows: list[Any]) -> list[Any]:
        body, length = eqn.params["jaxpr"], eqn.params["length"]
        collected: list[list[Any]] = []
        order = range(length)[::-1] if eqn.params["reverse"] else range(length)
        for i in order:
            results = self.run(body.jaxpr, body.consts, [*fixed, *state, *(row[i] for row in rows)])
            state = [self._settled(result) for result in results[: len(state)]]
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
        (cells,) = args
        if not isinstance(cells, Cells) or not cells.kept or eqn.params["dimensions"] != (0,):
            return None
        key = ("squeeze", id(cells))
        if key not in self._known:
            self._known[key] = (cells, [Cells(cells.base, cells.writes, cells.lead, False, cells.named, cells.parent)])
        return self._known[key][1]

    def _slice(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        (cells,) = args
        start, stop = eqn.params["start_indices"], eqn.params["limit_indices"]
        if not isinstance(cells, Cells) or cells.lead or eqn.params["strides"] is not None:
            return None
        if stop[0] - start[0] != 1 or any(start[1:]) or stop[1:] != cells.shape[1:]:
            return None
        return [cells.part(start[0])]

    def _dynamic_slice(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        cells, index, sizes = args[0], tuple(args[1:]), eqn.params["slice_sizes"]
        if not isinstance(cells, Cells):
            return None
        key = ("slice", id(cells), tuple(map(id, index)), sizes)
        if key not in self._known:
            self._known[key] = ([args, cells.base], self._sliced(cells, index, sizes))
        return self._known[key][1]

    def _sliced(self, cells: Cells, index: tuple[Any, ...], sizes: tuple[int, ...]) -> list[Any]:
        if all(size == 1 for size in sizes):
            value = cells.read(index)
            self._reads.setdefault(id(cells.base), []).append(value)
            return [value.reshape(sizes)]
        if not cells.lead and sizes == (1, *cells.shape[1:]):
            return [cells.part(index[0])]
        if cells.parent is not None and not cells.kept:
            whole = self.plain(cells.parent)
            return [jax.lax.dynamic_slice(whole, (*cells.lead, *index), (1, *sizes)).reshape(sizes)]
        return [jax.lax.dynamic_slice(self.plain(cells), index, sizes)]

    def _scatter(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        cells, places, update = args
        _, index = self._scalars.get(id(places), (None, ()))
        numbers, axes = eqn.params["dimension_numbers"], len(index)
        plain = numbers.inserted_window_dims == numbers.scatter_dims_to_operand_dims == tuple(range(axes))
        if not isinstance(cells, Cells) or not index or not plain or "CLIP" in str(eqn.params["mode"]):
            return None
        if axes == len(cells.shape) and not isinstance(update, Cells):
            return [cells.written(index, update)]
        whole = cells.with_part(index[0], update) if axes == 1 and isinstance(update, Cells) else None
        return None if whole is None else [whole]

    def _select(self, eqn: Any, args: list[Any]) -> list[Any] | None:
        which, *cases = args
        if len(cases) != 2 or jnp.ndim(which) != 0 or not all(isinstance(case, Cells) for case in cases):
            return None
        chosen = cases[1].chosen(which, cases[0])
        return None if chosen is None else [chosen]
