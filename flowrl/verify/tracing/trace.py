"""The first child's work. Runs a skill's text, traces its functions and exports them.

Its answer is trusted no further: a second child that never saw the text judges the artefact (`behaviour/judge.py`).
"""

import builtins
import importlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from flowrl.errors import nearest_names
from flowrl.skillcode.artefact import export_functions
from flowrl.skillcode.flat_inputs import bound_inputs
from flowrl.skillcode.source import without_mark
from flowrl.verify.text.allow_list import BUILTINS, CONSTANTS, FREE_MODULES
from flowrl.verify.tracing.primitives import problem_of

FILE = "the skill file"
_MAX_CHARACTERS = 400


class Refused(Exception):
    """The code is rejected. The message is a sentence that its author can act on."""


def modules_of(env: str) -> tuple[str, ...]:
    """The modules that skill code of a game may import."""
    return ("__future__", *FREE_MODULES, "flowrl.env.shaping", *CONSTANTS.get(env, {}))


def warm_up(env: str) -> None:
    """Import what the code may import, before the sandbox forbids opening files."""
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
    """The jaxpr of a skill function for one world.

    It must return one plain number.

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
    """An error as a sentence: where in the text, what happened, what to write instead."""
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
