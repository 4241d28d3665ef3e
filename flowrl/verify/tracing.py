"""The first child's work. Runs a skill's text, traces its functions, checks and exports them.

Its answer is trusted no further: a second child that never saw the text judges the artefact (`behaviour/judge.py`).
"""

import builtins
import importlib
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from flowrl.errors import nearest_names
from flowrl.skillcode.artefact import export_functions
from flowrl.skillcode.functions import bound_inputs
from flowrl.skillcode.source import without_mark
from flowrl.verify.text.allow_list import BUILTINS, CONSTANTS, FREE_MODULES, MAX_SIZE

FILE = "the skill file"
_MAX_CHARACTERS = 400
MAX_EQUATIONS = 2_000
_ALLOWED = """
abs add and argmax argmin broadcast_in_dim ceil clamp concatenate convert_element_type copy copy_p cos cumsum
cumprod cumlogsumexp cummax cummin custom_jvp_call custom_vjp_call div dot_general dynamic_slice
dynamic_update_slice eq exp exp2 expand_dims expm1 floor gather ge gt integer_pow iota is_finite jit le log log1p
logistic lt max min mul ne neg nextafter not or pad pjit population_count pow reduce_and reduce_max reduce_min
reduce_or reduce_prod reduce_sum reduce_xor rem reshape rev round rsqrt scatter scatter-add scatter_add
scatter-mul scatter_mul scatter-min scatter_min scatter-max scatter_max select_n shift_left shift_right_arithmetic
shift_right_logical sign sin slice sort split sqrt square squeeze stack stop_gradient sub tan tanh
tile transpose unstack xor
"""
ALLOWED = frozenset(_ALLOWED.split())
"""Nothing that calls back into Python, loops, draws random numbers, or leaves the device."""


class Refused(Exception):
    """The code is rejected. The message is a sentence that its author can act on."""


def modules_of(env: str) -> tuple[str, ...]:
    """The modules that skill code may import."""
    return ("__future__", *FREE_MODULES, "flowrl.env.shaping", *CONSTANTS.get(env, {}))


def warm_up(env: str) -> None:
    """Import what the code may import. Later the sandbox forbids opening files."""
    for name in modules_of(env):
        importlib.import_module(name)


def load_functions(text: str, env: str, trusted: bool) -> Mapping[str, Any]:
    """The names that a skill's text defines. This runs it, with few built-ins and imports.

    Raises:
        Refused: it fails.
    """
    module = ModuleType("skill")
    if not trusted:
        few: dict[str, Any] = {name: getattr(builtins, name) for name in sorted(BUILTINS)}
        module.__dict__["__builtins__"] = {**few, "__import__": _import_fn(modules_of(env))}
    try:
        exec(compile(without_mark(text), FILE, "exec", dont_inherit=True), vars(module))
    except Exception as error:
        raise Refused(sentence(error, "the skill file fails when it is loaded")) from None
    return vars(module)


def _import_fn(allowed: Sequence[str]) -> Callable[..., Any]:
    real = builtins.__import__

    def only(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if level or name not in allowed:
            raise ImportError(f"{name} may not be imported")
        return real(name, globals, locals, fromlist, 0)

    return only


def trace(function: Callable[..., Any], arguments: Sequence[str], shapes: Mapping[str, Any], name: str) -> Any:
    """A skill function's jaxpr for one world. It must return one plain number.

    Raises:
        Refused: it fails, returns something else, or uses operations that are not on the list.
    """
    taken = {leaf: value for leaf, value in shapes.items() if leaf.partition(".")[0] in arguments}

    def one(leaves: Mapping[str, Any]) -> Any:
        bound = bound_inputs(leaves)
        value = function(**{argument: bound[argument] for argument in arguments})
        if isinstance(value, SimpleNamespace):
            raise Refused(f"{name} returns a whole inventory; it must return one number or truth value.")
        return value

    try:
        jaxpr, result = jax.make_jaxpr(one, return_shape=True)(taken)
    except Refused:
        raise
    except Exception as error:
        raise Refused(sentence(error, f"{name} fails when it is traced")) from None
    if not isinstance(result, jax.ShapeDtypeStruct):
        what = "None" if result is None else f"a {type(result).__name__}"
        raise Refused(f"{name} returns {what}; it must return one number or truth value.")
    if result.shape != ():
        raise Refused(
            f"{name} returns an array of shape {list(result.shape)}; it must return one number a world. "
            "Take one element, or reduce it with .sum(), .any() or .all()."
        )
    wanted = (jnp.bool_, jnp.integer) if name == "is_done" else (jnp.bool_, jnp.integer, jnp.floating)
    if not any(jnp.issubdtype(result.dtype, kind) for kind in wanted):
        must = "a truth value, as a comparison gives" if name == "is_done" else "a real number"
        raise Refused(f"{name} returns {result.dtype}; it must return {must}.")
    if (problem := problem_of(jaxpr)) is not None:
        raise Refused(f"{name}: {problem}")
    return jaxpr


def traced_artefact(request: Mapping[str, Any]) -> bytes:
    """Trace and export the skill in a request.

    Raises:
        Refused: its code is rejected.
    """
    module = load_functions(request["text"], request["env"], request["trusted"])
    shapes = {name: jax.ShapeDtypeStruct(tuple(shape), kind) for name, (shape, kind) in request["shapes"].items()}
    arguments = {name: tuple(request[f"{name}_arguments"]) for name in ("is_done", "reward")}
    for name, taken in arguments.items():
        trace(module[name], taken, shapes, name)
    batch = {name: jax.ShapeDtypeStruct((2, *shape.shape), shape.dtype) for name, shape in shapes.items()}
    try:
        return export_functions(module["is_done"], module["reward"], arguments["is_done"], arguments["reward"], batch)
    except Exception as error:
        raise Refused(sentence(error, "the functions cannot be mapped over a batch of worlds")) from None


def sentence(error: BaseException, what: str) -> str:
    """An error as a sentence. Where in the text, what happened, what to write instead."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == FILE and f.lineno]
    where = f"line {lines[-1]}: " if lines else ""
    shown = _first_line(error)
    return f"{where}{what}: {_advice(error, shown)}"


def _first_line(error: BaseException) -> str:
    try:
        said = str(error)[: 10 * _MAX_CHARACTERS]
    except Exception:  # the error class is skill code's own
        return ""
    first = next((line.strip() for line in said.splitlines() if line.strip()), "")
    return "".join(c for c in first if c.isprintable())[:_MAX_CHARACTERS]


def _advice(error: BaseException, shown: str) -> str:
    kind = type(error).__name__
    if kind in ("TracerBoolConversionError", "ConcretizationTypeError"):
        return (
            "an array was used as a Python truth value, by if, and, or, not, min or max. The inputs are traced: "
            "write jnp.where(c, a, b), &, |, ~, jnp.minimum and jnp.maximum."
        )
    if kind in ("TracerIntegerConversionError", "TracerArrayConversionError"):
        return "an array was used where Python needs a plain number. The inputs are traced: use jax.numpy throughout."
    if isinstance(error, AttributeError):
        owner = getattr(error, "obj", None)
        known = [name for name in dir(owner) if not name.startswith("_")] if owner is not None else []
        near = nearest_names(str(error.name), known) if known and len(known) < 200 else ""
        return f"{shown.rstrip('.')}. {near}".rstrip()
    if isinstance(error, RecursionError):
        return "functions call each other endlessly. Write it without recursion."
    return f"{kind}: {shown}".rstrip(": ").rstrip(".") + "."


def problem_of(closed: Any) -> str | None:
    """What a jaxpr may not contain as a sentence. None if nothing."""
    count = 0
    for jaxpr in _nested(closed):
        for constant in getattr(jaxpr, "consts", ()):
            if np.size(constant) > MAX_SIZE:
                return f"it holds a constant of {np.size(constant):,} numbers; at most {MAX_SIZE:,} are allowed."
        equations = getattr(jaxpr, "jaxpr", jaxpr).eqns
        count += len(equations)
        if problem := next(filter(None, map(_equation_problem, equations)), None):
            return problem
    if count > MAX_EQUATIONS:
        return f"it makes {count:,} operations; at most {MAX_EQUATIONS:,} are allowed. Write it shorter."
    return None


def _equation_problem(equation: Any) -> str | None:
    name = equation.primitive.name
    if name not in ALLOWED:
        return (
            f"it uses the operation {name!r} of jax, which skill code may not: no loops, no calls back into Python, "
            "no random numbers. Write it with plain jax.numpy on whole arrays."
        )
    for out in equation.outvars:
        size = int(np.prod(getattr(out.aval, "shape", ()), dtype=object))
        if size > MAX_SIZE:
            return f"it makes an array of {size:,} numbers in {name!r}; at most {MAX_SIZE:,} are allowed in a world."
    return None


def _nested(closed: Any) -> Iterator[Any]:
    """Yield a jaxpr and all inside it."""
    yield closed
    for equation in getattr(closed, "jaxpr", closed).eqns:
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else [value]:
                if isinstance(part, core.ClosedJaxpr | core.Jaxpr):
                    yield from _nested(part)
