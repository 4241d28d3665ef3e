"""A skill's code as functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

SkillFunction = Callable[..., Any]
DoneAndReward = tuple[Any, Any]
"""(done, reward): bool and float32."""


@dataclass(frozen=True)
class SkillFunctions:
    """The two functions of one skill and the names that each takes."""

    is_done: SkillFunction
    reward: SkillFunction
    is_done_arguments: tuple[str, ...]
    reward_arguments: tuple[str, ...]

    def outcome(self, values: Mapping[str, Any]) -> DoneAndReward:
        """Returns (done, reward) of one world, given all that skill code may see by name."""
        done = self.is_done(**{name: values[name] for name in self.is_done_arguments})
        reward = self.reward(**{name: values[name] for name in self.reward_arguments})
        return jnp.asarray(done).astype(bool), jnp.asarray(reward).astype(jnp.float32)


@dataclass(frozen=True)
class ExportedSkill:
    """A skill as the sandbox exported it: one function of a whole batch, never to be called under `vmap`.

    Attributes:
        name: of the skill, for messages.
        outcomes: returns (done [B], reward [B]) of a batch of B worlds, given `flat_leaves`.
    """

    name: str
    outcomes: Callable[[Mapping[str, Any]], DoneAndReward]


@dataclass(frozen=True)
class TaskModule:
    """The tasks of a run; a skill that appears in several tasks is held once.

    Attributes:
        skills: the distinct skills.
        skill_of_task: for each task, its index in ``skills``.
        expert_of_task: for each task, the local index of its expert.
        default_amounts: for each task, the default of `n` in its signature, or None.
    """

    skills: tuple[SkillFunctions | ExportedSkill, ...]
    skill_of_task: tuple[int, ...]
    expert_of_task: tuple[int, ...]
    default_amounts: tuple[int | None, ...]
