"""Skill code as functions, and its inputs as flat, named arrays for recordings and exports: `inventory.wood`,
`inventory_diff.wood`, `closest_blocks`, ...; inputs that a game lacks are left out.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax.numpy as jnp

Leaves = dict[str, Any]
"""Arrays by name, all with the same leading axes."""


def flat_leaves(inputs: NamedTuple) -> Leaves:
    """The inputs' arrays by name. A struct's fields are named STRUCT.FIELD."""
    leaves: Leaves = {}
    for name, value in inputs._asdict().items():
        if value is None:
            continue
        if dataclasses.is_dataclass(value):
            leaves |= {f"{name}.{field.name}": getattr(value, field.name) for field in dataclasses.fields(value)}
        else:
            leaves[name] = value
    return leaves


def bound_inputs(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of skill functions by name. Structs become plain objects with the same fields."""
    arguments: dict[str, Any] = {}
    for name, value in leaves.items():
        struct, dot, field = name.partition(".")
        if dot:
            arguments.setdefault(struct, SimpleNamespace())
            setattr(arguments[struct], field, value)
        else:
            arguments[name] = value
    return arguments


SkillFunction = Callable[..., Any]
DoneAndReward = tuple[Any, Any]
"""(done, reward): bool and float32."""


@dataclass(frozen=True)
class SkillFunctions:
    """The two functions of a skill with arguments."""

    is_done: SkillFunction
    reward: SkillFunction
    is_done_arguments: tuple[str, ...]
    reward_arguments: tuple[str, ...]

    def outcome(self, values: Mapping[str, Any]) -> DoneAndReward:
        """(done, reward) of one world, given all inputs by name."""
        done = self.is_done(**{name: values[name] for name in self.is_done_arguments})
        reward = self.reward(**{name: values[name] for name in self.reward_arguments})
        return jnp.asarray(done).astype(bool), jnp.asarray(reward).astype(jnp.float32)


@dataclass(frozen=True)
class ExportedSkill:
    """A skill as exported by the sandbox. One function of a batch, which cannot be called under `vmap`.

    Attributes:
        outcomes: `flat_leaves` of a batch of B worlds -> (done [B], reward [B]).
    """

    name: str
    outcomes: Callable[[Mapping[str, Any]], DoneAndReward]


@dataclass(frozen=True)
class TaskModule:
    """The tasks of a run and its distinct skills.

    Attributes:
        skill_of_task: for each task, its index in ``skills``.
        expert_of_task: for each task, the local index of its expert.
        default_amounts: for each task, the default of `n` in its signature, if any.
    """

    skills: tuple[SkillFunctions | ExportedSkill, ...]
    skill_of_task: tuple[int, ...]
    expert_of_task: tuple[int, ...]
    default_amounts: tuple[int | None, ...]
