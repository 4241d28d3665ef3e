"""Exported skills, made in the sandbox and loaded by workers.

An artefact is a line of JSON about its origin, then the output of `jax.export`: one function of a batch of worlds of
any size. Tracing runs a skill's Python, so it happens in the sandbox; a worker loads the result, which contains only
array operations from an allow-list.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import jax
from jax import export
from jax.interpreters import mlir
from jaxlib.mlir import ir, passmanager
from jaxlib.mlir.dialects import stablehlo

from flowrl.errors import ModuleError
from flowrl.skillcode.artefact_cache import FORMAT
from flowrl.skillcode.functions import DoneAndReward, ExportedSkill, Leaves, SkillFunction, SkillFunctions, bound_inputs

PLATFORMS = ("cpu", "cuda")
MAX_BYTES = 4_000_000
"""Of an artefact; those of shipped skills have about 10 kB."""
CUSTOM_CALLS = frozenset({"shape_assertion"})
"""Custom calls that an artefact may make: the check of the batch's size, gone once compiled."""
_STRUCTURE = "builtin.module func.func func.call func.return"
_ARRAYS = """
abs add and atan2 bitcast_convert broadcast_in_dim case cbrt ceil clamp compare complex composite concatenate constant
convert cosine count_leading_zeros custom_call divide dot_general dynamic_broadcast_in_dim dynamic_conv dynamic_gather
dynamic_iota dynamic_pad dynamic_reshape dynamic_slice dynamic_update_slice exponential exponential_minus_one floor
gather get_dimension_size get_tuple_element if imag iota is_finite log log_plus_one logistic map maximum minimum
multiply negate not optimization_barrier or pad popcnt power real real_dynamic_slice reduce reduce_precision
reduce_window remainder reshape return reverse round_nearest_afz round_nearest_even rsqrt scatter select shift_left
shift_right_arithmetic shift_right_logical sign sine slice sort sqrt subtract tan tanh transpose tuple xor
"""
OPERATIONS = frozenset(_STRUCTURE.split()) | {f"stablehlo.{name}" for name in _ARRAYS.split()}
"""Operations that an artefact may contain: arrays in, arrays out, in a time independent of their values."""


def export_functions(
    is_done: SkillFunction,
    reward: SkillFunction,
    is_done_arguments: tuple[str, ...],
    reward_arguments: tuple[str, ...],
    example_leaves: Mapping[str, Any],
) -> bytes:
    """Export a skill's two functions. Tracing runs their Python and raises their errors.

    Args:
        example_leaves: `flat_leaves` of a batch: arrays, or their shapes and types, all with the batch as first axis.
            The artefact's inputs are those that the functions take, and `n`.
    """
    functions = SkillFunctions(is_done, reward, is_done_arguments, reward_arguments)
    asked = {*is_done_arguments, *reward_arguments, "n"}
    (size,) = export.symbolic_shape("b")
    shape_of: Any = jax.ShapeDtypeStruct
    inputs = {
        name: shape_of((size, *leaf.shape[1:]), leaf.dtype)
        for name, leaf in sorted(example_leaves.items())
        if name.partition(".")[0] in asked
    }

    def outcomes(leaves: Leaves) -> DoneAndReward:
        return jax.vmap(lambda leaves: functions.outcome(bound_inputs(leaves)))(leaves)

    exported = export.export(jax.jit(outcomes), platforms=PLATFORMS)(inputs)
    return _heading() + bytes(_without_places(exported).serialize())


def _without_places(exported: Any) -> Any:
    """The same without file names and lines: equal functions give equal bytes."""
    with mlir.make_ir_context() as context:
        module = stablehlo.deserialize_portable_artifact(context, exported.mlir_module_serialized)
        passmanager.PassManager.parse("builtin.module(strip-debuginfo)").run(module.operation)
        plain = stablehlo.serialize_portable_artifact(module, stablehlo.get_current_version())
    return dataclasses.replace(exported, mlir_module_serialized=plain)


def _heading() -> bytes:
    made_by = {"flowrl_artefact": FORMAT, "jax": jax.__version__, "craftax": metadata.version("craftax")}
    return json.dumps(made_by, sort_keys=True).encode() + b"\n"


def load_artefact(data: bytes, leaves: Mapping[str, Any], name: str = "the skill") -> ExportedSkill:
    """Check and load an artefact as batched functions.

    Args:
        leaves: the inputs that this game has, as in `export_functions`; only shapes and types matter.
        name: the skill's, for messages.

    Raises:
        ModuleError: it is no artefact, was made by another jax or craftax or for other devices, has another signature,
            or contains an operation that is not on the allow-list.
    """
    where = f"What the sandbox exported of {name!r}"
    heading, _, body = data.partition(b"\n")
    if heading + b"\n" != _heading():
        _refuse_heading(heading, where)
    if len(data) > MAX_BYTES:
        raise ModuleError(f"{where} has {len(data)} bytes; at most {MAX_BYTES} are loaded. Put no big tables into it.")
    try:
        exported: Any = export.deserialize(bytearray(body))
        _require_platform(exported, where)
        names = _require_signature(exported, leaves, where)
        require_harmless(exported.mlir_module_serialized, where)
    except ModuleError:
        raise
    except Exception as error:  # the parsers' own errors, on bytes of unknown origin
        raise ModuleError(f"{where} cannot be read: {type(error).__name__}: {_short(error)}. {_AGAIN}") from error
    call: Callable[..., DoneAndReward] = exported.call

    def outcomes(values: Mapping[str, Any]) -> DoneAndReward:
        return call({leaf: values[leaf] for leaf in names})

    return ExportedSkill(name, outcomes)


def _short(text: object) -> str:
    """Short printable text from an artefact."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:_SHORT])


_SHORT = 100
_AGAIN = "Verify the skill again, which makes it anew: flowrl kb verify NAME"


def _refuse_heading(heading: bytes, where: str) -> None:
    try:
        found = json.loads(heading)
        made_by = _short(f"format {found['flowrl_artefact']}, jax {found['jax']}, craftax {found['craftax']}")
    except (ValueError, TypeError, KeyError) as error:
        raise ModuleError(f"{where} is no artefact of flowrl. {_AGAIN}") from error
    here = f"format {FORMAT}, jax {jax.__version__}, craftax {metadata.version('craftax')}"
    raise ModuleError(f"{where} was made by {made_by}; here is {here}. {_AGAIN}")


def _require_platform(exported: Any, where: str) -> None:
    backend = jax.default_backend()
    platform = {"gpu": "cuda"}.get(backend, backend)
    if platform not in exported.platforms:
        raise ModuleError(
            f"{where} runs on {_short(' and '.join(exported.platforms))}; this worker's device is {platform}. "
            f"Let JAX_PLATFORMS name one of those."
        )


def _require_signature(exported: Any, leaves: Mapping[str, Any], where: str) -> list[str]:
    """The names of the inputs after a check."""
    given = exported.in_tree.unflatten(exported.in_avals)
    if not (len(given) == 2 and len(given[0]) == 1 and isinstance(given[0][0], dict) and not given[1]):
        raise ModuleError(f"{where} does not take one dict of named arrays. {_AGAIN}")
    inputs = given[0][0]
    for name, aval in inputs.items():
        if name not in leaves:
            raise ModuleError(f"{where} asks for an input that this game does not have. {_AGAIN}")
        leaf = leaves[name]
        if (aval.shape[1:], aval.dtype) != (tuple(leaf.shape[1:]), leaf.dtype):
            raise ModuleError(
                f"{where} takes {name!r} as {_short(f'{aval.dtype}{list(aval.shape[1:])}')} a world; "
                f"this game gives {leaf.dtype}{list(leaf.shape[1:])}. {_AGAIN}"
            )
    sizes = {str(aval.shape[:1]) for aval in (*exported.in_avals, *exported.out_avals)}
    given_back = [(str(aval.dtype), aval.ndim) for aval in exported.out_avals]
    is_pair = exported.out_tree == jax.tree.structure((0, 0))
    if not is_pair or given_back != [("bool", 1), ("float32", 1)] or len(sizes) != 1:
        raise ModuleError(f"{where} does not give (done, reward) of each world of a batch. {_AGAIN}")
    if exported.nr_devices != 1 or exported.ordered_effects or exported.unordered_effects:
        raise ModuleError(f"{where} does more than return values: it has effects, or needs several devices.")
    return sorted(inputs)


def require_harmless(module: bytes, where: str) -> None:
    """Check every operation of a StableHLO module. Nested operations too, against the allow-list.

    Raises:
        ModuleError: names the first operation that is not on it, such as a custom call, a host callback or a loop.
    """
    refused: list[str] = []

    def look(found: Any) -> ir.WalkResult:
        operation = found.operation
        if operation.name not in OPERATIONS:
            refused.append(f"the operation {operation.name}")
        elif operation.name == "stablehlo.custom_call":
            target = ir.StringAttr(operation.attributes["call_target_name"]).value
            refused.extend([] if target in CUSTOM_CALLS else [f"a call of {target!r}"])
        elif operation.name == "stablehlo.composite":
            composed = ir.StringAttr(operation.attributes["name"]).value
            refused.extend([] if composed.startswith("chlo.") else [f"the composite {composed!r}"])
        return ir.WalkResult.INTERRUPT if refused else ir.WalkResult.ADVANCE

    with mlir.make_ir_context() as context:
        stablehlo.deserialize_portable_artifact(context, module).operation.walk(look)
    if refused:
        raise ModuleError(
            f"{where} contains {_short(refused[0])}, which workers do not run. Write it with jax.numpy alone."
        )
