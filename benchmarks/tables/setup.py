"""Runs to measure on, made from the knowledge base without any home."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flowrl.config import RunConfig
from flowrl.env.code_parser import bind_tasks, load_module
from flowrl.env.flow_env import FlowEnv, TaskAmounts
from flowrl.env.registry import domain_named
from flowrl.errors import UsageError
from flowrl.knowledge.base import load_base
from flowrl.paths import slug
from flowrl.planning.planner import plan
from flowrl.rollout.run_env import interrupt, side_rewards
from flowrl.schema.skill import Skill
from flowrl.skillcode.source import SkillSource, compose_module
from flowrl.training.trainer import Trainer

GROUPS = RunConfig().groups
"""Groups of worlds that play side by side, as a run has them by default."""


def plan_env(name: str, goal: str, episode_steps: int = 1000) -> FlowEnv:
    """Returns the environment of the plan for ``goal``, its experts numbered in the order of their first use."""
    return _env_of(name, plan_steps(name, goal), episode_steps)


def plan_steps(name: str, goal: str) -> list[tuple[str, int]]:
    """Returns the plan for ``goal`` as skills with their amounts."""
    base = load_base(name)
    return [(step.skill, step.n) for step in plan(goal, base.named(), vocabulary=base.vocabulary).steps]


def run_env(config: RunConfig, steps: Sequence[tuple[str, int]]) -> FlowEnv:
    """Returns the environment of a plan under a configuration, its experts numbered in the order of their first use.

    What pre-empts the plan, if the configuration asks for it, follows with an expert each.
    """
    base = load_base(config.env.name)
    beside = base.interrupts if config.interrupts else ()
    env = _env_of(config.env.name, steps, config.env.episode_steps, beside)
    rows, known = env.domain.sight.names, base.named()
    seeks = tuple(rows.index(block) if (block := known[skill].spec.seeks) in rows else -1 for skill, _ in steps)
    return replace(
        env,
        domain=domain_named(config.env.name, config.env.fast, config.layout),
        amounts=replace(env.amounts, seeks=seeks),
        side_rewards=side_rewards(config.ppo),
        interrupts=tuple(interrupt(each.name, rule, env.domain) for each in beside if (rule := each.spec.interrupt)),
    )


def chain_env(name: str, tasks: int, episode_steps: int = 1000) -> FlowEnv:
    """Returns the environment of so many tasks, the first skills of the base one after another, each its own expert.

    No plan is as long as one likes and repeats nothing; how long a step takes does not depend on the order.
    """
    skills = list(load_base(name).named())[:tasks]
    if len(skills) < tasks:
        raise UsageError(f"The knowledge base of {name} has {len(skills)} skills, which make no {tasks} tasks.")
    return _env_of(name, [(skill, 1) for skill in skills], episode_steps)


def _env_of(name: str, steps: Sequence[tuple[str, int]], episode_steps: int, beside: Sequence[Skill] = ()) -> FlowEnv:
    domain, known = domain_named(name), load_base(name).named()
    played = [*(known[skill] for skill, _ in steps), *beside]
    skills = list(dict.fromkeys(skill.name for skill in played))
    order = [skills.index(skill.name) for skill in played]
    code = {skill.name: skill.code for skill in played}
    sources = [SkillSource(slug(skill).lower(), code[skill]) for skill in skills]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.py"
        path.write_text(compose_module(sources, order, order))
        tasks = bind_tasks(load_module(path))
    amounts = tuple(n for _, n in steps)
    items = [known[skill].spec.item for skill, _ in steps]
    held = tuple(domain.items.index(item) if item in domain.items else -1 for item in items)
    return FlowEnv(domain, tasks, TaskAmounts(amounts, amounts, held), episode_steps)


def plan_trainer(env: FlowEnv, config: RunConfig, trained: Sequence[int]) -> Trainer:
    """Returns a trainer of some of the plan's experts."""
    return Trainer(env, config, max(env.tasks.expert_of_task) + 1, tuple(trained))
