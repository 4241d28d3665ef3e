"""Homes that are written down rather than grown: skills with made-up numbers and weights, for tests without workers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from flowrl.config import RunConfig, build_config
from flowrl.files import Arrays, write_json, write_text
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.home import SkillRecord
from flowrl.schema.plan import Plan, PlanStep
from flowrl.schema.skill import SkillSpec
from flowrl.stats import Share
from tests.support.runs import TINY

SMALL = build_config(env__name=TINY, model__width=8)

MODULE = """
import jax.numpy as jnp


def task_0_is_done(inventory):
    return inventory.wood >= 1


def task_0_reward(inventory_diff):
    return inventory_diff.wood * 1.0


def task_0_network_number():
    return {first}


def task_1_is_done(inventory, n=2):
    return inventory.wood >= n


def task_1_reward(inventory_diff):
    return {reward}


def task_1_network_number():
    return {own}
"""


def two_wood(first: int = 0, own: int = 50, reward: str = "inventory_diff.wood * 1.0") -> str:
    """A task module: wood by one expert, a second wood by another."""
    return MODULE.format(first=first, own=own, reward=reward)


def weights(value: float) -> Arrays:
    """An expert that is told apart by one number."""
    return {f"{tower}.layer_0.bias": np.full(3, value, np.float32) for tower in ("actor", "critic")}


def empty_home(home: Path, config: RunConfig = SMALL) -> SkillLibrary:
    return SkillLibrary.open_for(home, config)


def add_skill(
    library: SkillLibrary,
    name: str,
    expert: int,
    companions: Sequence[int] = (),
    module: str = "",
    status: Literal["learned", "weak"] = "weak",
    spec: SkillSpec | None = None,
    code: str = "",
    description: str = "",
) -> SkillRecord:
    """Puts a skill into a library; the weights of expert g are full of g, those of a companion of g + 0.5.

    Args:
        module: a task module; ``code``: a skill file instead.
    """
    share = Share(successes=180 if status == "learned" else 20, total=200)
    evaluation = Evaluation(
        success=share, step_success=share, reached=(200,), finished=(share.successes,), causes={}, length=31.5,
        amount=1, worlds_seed=0,
    )  # fmt: skip
    steps = [PlanStep(skill=f"expert {g}", n=1, expert=g) for g in companions]
    record = SkillRecord(
        name=name,
        expert_idx=expert,
        description=description,
        spec=spec or SkillSpec(),
        status=status,
        frames=1234,
        evaluation=evaluation,
        plan=Plan(goal=name, steps=(*steps, PlanStep(skill=name, n=1, expert=expert))),
        is_module=bool(module),
        companions=tuple(companions),
        path=str(library.paths.skill(expert, name).folder.relative_to(library.paths.root)),
    )
    paths = library.skill_paths(record)
    library.store_expert(paths, weights(expert), 1234)
    for g in companions:
        library.store_expert(paths.companion(g), weights(g + 0.5), 1234)
    shipped = load_base(TINY).named().get(name)
    write_text(paths.module, module or code or (shipped.code if shipped else ""))
    write_json(paths.record, record)
    return record
