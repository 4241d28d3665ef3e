"""Task modules as functions: loaded, bound by name, ready for `FlowEnv`. Code that ships with the package or that the
user passes by hand runs here, in a worker process. The control process only reads such files as text
(`skillcode/source.py`).
"""

import inspect
import operator
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from flowrl.errors import ModuleError
from flowrl.skillcode.functions import SkillFunction, SkillFunctions, TaskModule
from flowrl.skillcode.inputs import input_problem
from flowrl.skillcode.source import count_tasks, network_numbers
from flowrl.weights import sha256


class TaskFunctions(NamedTuple):
    """The values of `task_and_reward_funcs` in order."""

    is_done_functions: tuple[SkillFunction, ...]
    reward_functions: tuple[SkillFunction, ...]
    common_heads: Int[Array, "H"]
    num_common_heads: int
    task_to_skill_index: list[int]


def task_to_skill(module_dict: Mapping[str, Any]) -> list[int]:
    """The network number of each task, in order, e.g. [0, 2, 3, 0]; the numbers may be sparse."""
    count = count_tasks(module_dict, _file_of(module_dict))
    return [int(module_dict[f"task_{i}_network_number"]()) for i in range(count)]


def task_and_reward_funcs(module_dict: Mapping[str, Any]) -> TaskFunctions:
    """Each task's functions and network heads.

    The number of heads is the largest network number plus one: after `inject_remapping_header`, exactly the number of
    experts in use.
    """
    numbers = task_to_skill(module_dict)
    heads = max(numbers) + 1
    count = range(len(numbers))
    return TaskFunctions(
        tuple(module_dict[f"task_{i}_is_done"] for i in count),
        tuple(module_dict[f"task_{i}_reward"] for i in count),
        jnp.arange(heads),
        heads,
        numbers,
    )


def bind_tasks(module_dict: Mapping[str, Any], file: str = "") -> TaskModule:
    """The module's tasks with arguments bound by name.

    Args:
        file: the module's name in messages; empty: the file that it was loaded from.

    Raises:
        ModuleError: an argument is unknown or cannot be bound by name, or the default of `n` is no amount.
    """
    functions = task_and_reward_funcs(module_dict)
    file = file or _file_of(module_dict)
    pairs = list(zip(functions.is_done_functions, functions.reward_functions, strict=True))
    distinct = list(dict.fromkeys(pairs))
    skills = tuple(
        SkillFunctions(done, reward, _argument_names(done, file), _argument_names(reward, file))
        for done, reward in distinct
    )
    return TaskModule(
        skills=skills,
        skill_of_task=tuple(distinct.index(pair) for pair in pairs),
        expert_of_task=tuple(functions.task_to_skill_index),
        default_amounts=tuple(_default_amount(done, reward, file) for done, reward in pairs),
    )


def load_module(path: Path, file: str = "", digest: str = "") -> dict[str, Any]:
    """Check a task module's text and run it. Gives the names that it defines.

    Args:
        file: the module's name in messages; empty: the path.
        digest: the hash of the only bytes that may run; empty: any.

    Raises:
        ModuleError: the file is missing, has another hash, is no task module, or fails when run; names the file.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModuleError(f"Cannot read the task module {path}: {error}") from error
    if digest not in ("", sha256(data)):
        raise ModuleError(
            f"{path} was changed after its run was set up, so it is not run. Move {path.parent} out of the home, "
            f"and train the skill again."
        )
    if "GLOBAL_TO_LOCAL" not in text:
        network_numbers(text, file or str(path))
    module = types.ModuleType(f"flowrl_tasks_{path.stem}")
    module.__file__ = str(path)
    try:
        # Exactly the checked bytes run: a file loader would use a `__pycache__` beside them.
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
    except Exception as error:
        raise ModuleError(f"{file or path} fails when it is loaded: {type(error).__name__}: {error}") from error
    return vars(module)


def _file_of(module_dict: Mapping[str, Any]) -> str:
    return str(module_dict.get("__file__", "the task module"))


def _argument_names(function: SkillFunction, file: str) -> tuple[str, ...]:
    if not callable(function):
        raise ModuleError(f"{file}: {function!r} is bound to a task but is no function.")
    where, parameters = f"{file}: {getattr(function, '__name__', function)}", inspect.signature(function).parameters
    for name, parameter in parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ModuleError(f"{where} may take named arguments only, not {parameter}.")
        if (problem := input_problem(name, where)) is not None:
            raise ModuleError(problem)
    return tuple(parameters)


def _default_amount(is_done: SkillFunction, reward: SkillFunction, file: str) -> int | None:
    for function in (is_done, reward):
        parameter = inspect.signature(function).parameters.get("n")
        if parameter is None or parameter.default is parameter.empty:
            continue
        try:
            amount = -1 if isinstance(parameter.default, bool) else operator.index(parameter.default)
        except TypeError:
            amount = -1
        if amount < 0:
            raise ModuleError(
                f"{file}: {getattr(function, '__name__', function)} has the default n={parameter.default!r}, which is "
                "no amount. Write a whole number, or no default: then n is the plan's amount, else 1."
            )
        return amount
    return None
