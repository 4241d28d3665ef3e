"""A trial of skill functions before training. Shapes, types and finite numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from flowrl.env.flow_env import FlowEnv, evaluate_skill
from flowrl.env.player import PlayerState
from flowrl.env.skill_inputs import SkillInputs, inputs_at_rest
from flowrl.errors import ModuleError
from flowrl.skillcode.functions import ExportedSkill, SkillFunction, SkillFunctions, TaskModule
from flowrl.skillcode.inputs import DRAWN, input_problem

_SAMPLES = 256


class TaskNames(NamedTuple):
    """A task's functions in messages. File and function, as the author knows them."""

    is_done: str
    reward: str


def try_tasks(env: FlowEnv, names: Sequence[TaskNames], key: jax.Array) -> None:
    """Run every task's functions on new worlds and on random transitions.

    Only the first task begins in a new world, so only it may not be done in all of them.

    Raises:
        ModuleError: a function fails, or returns no scalar, the wrong type or a number that is not finite, or the
            first task is done in every new world; names the file and the function.
    """
    inputs = _initial_inputs(env, key)
    made_up = _scrambled(inputs, key)
    for i, which in enumerate(env.tasks.skill_of_task):
        if which in env.tasks.skill_of_task[:i]:
            continue
        for values in (made_up, inputs):
            done, reward = _outcomes(env.tasks.skills[which], values, names[i])
            _require_finite(reward, names[i].reward)
        if i == 0 and bool(np.asarray(done).astype(bool).all()):
            raise ModuleError(f"{names[i].is_done} is true in every new world; the task would teach nothing.")


def _outcomes(skill: SkillFunctions | ExportedSkill, inputs: SkillInputs, names: TaskNames) -> tuple[Array, Array]:
    if isinstance(skill, ExportedSkill):
        return evaluate_skill(skill, inputs)
    done = _run(skill.is_done, skill.is_done_arguments, inputs, names.is_done)
    return done, _run(skill.reward, skill.reward_arguments, inputs, names.reward)


def check_module_arguments(tasks: TaskModule, domain_has_floors: bool, names: Sequence[TaskNames]) -> None:
    """Check that no function asks for inputs that this game lacks.

    Raises:
        ModuleError: names the file, the function and the argument.
    """
    for which, task in zip(tasks.skill_of_task, names, strict=True):
        skill = tasks.skills[which]
        if isinstance(skill, ExportedSkill):
            continue  # its inputs were checked when it was loaded
        for where, taken in ((task.is_done, skill.is_done_arguments), (task.reward, skill.reward_arguments)):
            for name in taken:
                if (problem := input_problem(name, where, domain_has_floors)) is not None:
                    raise ModuleError(problem)


def _initial_inputs(env: FlowEnv, key: jax.Array) -> SkillInputs:
    players = jax.jit(env.new_players)(jax.random.split(key, 64))

    def one(player: PlayerState) -> SkillInputs:
        return inputs_at_rest(env.domain, player.world, player.memory, max(env.amounts.high))

    return jax.jit(jax.vmap(one))(players)


def _scrambled(inputs: SkillInputs, key: jax.Array) -> SkillInputs:
    """Transitions drawn at random. They find numbers that are not finite."""
    rng = np.random.default_rng(np.asarray(key)[-1])

    def draw(low: int, high: int) -> Any:
        return lambda leaf: jnp.asarray(rng.integers(low, high + 1, (_SAMPLES, *leaf.shape[1:])), leaf.dtype)

    values = inputs._asdict()
    return SkillInputs(**{name: jax.tree.map(draw(*DRAWN.get(name, (-1, 1))), value) for name, value in values.items()})


def _run(function: SkillFunction, names: tuple[str, ...], inputs: SkillInputs, where: str) -> Array:
    values = {name: getattr(inputs, name) for name in names}
    try:
        out = jax.vmap(lambda values: function(**values), axis_size=len(inputs.n))(values)
        result = jnp.asarray(out)
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise ModuleError(f"{where} fails when it is tried: {type(error).__name__}: {first}") from error
    if result.ndim != 1:
        raise ModuleError(f"{where} must return one number a world, not an array of shape {list(result.shape[1:])}.")
    if not (jnp.issubdtype(result.dtype, jnp.number) or result.dtype == bool):
        raise ModuleError(f"{where} must return a bool or a number, not {result.dtype}.")
    return result


def _require_finite(values: Array, where: str) -> None:
    bad = int((~np.isfinite(np.asarray(values, dtype=np.float64))).sum())
    if bad:
        raise ModuleError(f"{where} returns NaN or infinity in {bad} of {len(values)} tried transitions.")
