"""Runs to measure on, made from the knowledge base without any home."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from flowrl.config import RunConfig
from flowrl.env.code_parser import bind_tasks, load_module
from flowrl.env.domains import domain_named
from flowrl.env.flow_env import FlowEnv, TaskAmounts
from flowrl.env.module_source import SkillSource, compose_module
from flowrl.knowledge import load_base
from flowrl.learning.trainer import Trainer
from flowrl.parallel.paths import slug
from flowrl.planning.planner import plan


def plan_env(name: str, goal: str, episode_steps: int = 1000) -> FlowEnv:
    """Returns the environment of the plan for ``goal``, its experts numbered in the order of their first use."""
    base = load_base(name)
    domain = domain_named(name)
    steps = plan(goal, base.named(), vocabulary=base.vocabulary).steps
    skills = list(dict.fromkeys(step.skill for step in steps))
    order = [skills.index(step.skill) for step in steps]
    sources = [SkillSource(slug(skill).lower(), base.skill(skill).code) for skill in skills]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.py"
        path.write_text(compose_module(sources, order, order))
        tasks = bind_tasks(load_module(path))
    amounts = tuple(step.n for step in steps)
    items = [base.skill(step.skill).spec.item for step in steps]
    held = tuple(domain.items.index(item) if item in domain.items else -1 for item in items)
    return FlowEnv(domain, tasks, TaskAmounts(amounts, amounts, held), episode_steps)


def plan_trainer(env: FlowEnv, config: RunConfig, trained: Sequence[int]) -> Trainer:
    """Returns a trainer of some of the plan's experts."""
    return Trainer(env, config, max(env.tasks.expert_of_task) + 1, tuple(trained))
