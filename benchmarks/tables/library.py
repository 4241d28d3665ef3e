"""Libraries to measure on: skills of the tiny game under many names, with weights of the right shape."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowrl.config import RunConfig, build_config
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from flowrl.library.versions import VersionCandidate, install
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.home import SkillRecord
from flowrl.schema.plan import Plan, PlanStep
from flowrl.stats import Share
from flowrl.weights import Expert

ENV = "Tiny-Grid-v1"


def small_config(**options: Any) -> RunConfig:
    """Returns a configuration of the tiny game with small experts."""
    return build_config(**{"env__name": ENV, "model__width": 32, **options})


def expert_arrays(config: RunConfig) -> Expert:
    """Returns the weights of an expert that knows nothing, by name."""
    import jax

    from flowrl.env.registry import domain_named
    from flowrl.models.actor_critic import ActorCriticMoE, init_network
    from flowrl.models.experts import unstack

    domain = domain_named(ENV)
    network = ActorCriticMoE(len(domain.actions), config.model.width, config.model.layers, 1, domain.observation_size)
    blank = init_network(network, jax.random.PRNGKey(0))
    return unstack(blank["params"])[0]


def fill_library(home: Path, size: int, config: RunConfig, arrays: Expert, real: Sequence[str]) -> SkillLibrary:
    """Returns a library of so many skills; the last ones are ``real`` skills of the base, the others bear numbers."""
    library = SkillLibrary.open_for(home, config)
    base = load_base(ENV)
    share = Share(successes=480, total=500)
    for expert in range(size):
        place = expert - (size - len(real))
        skill = base.skill(real[place] if place >= 0 else base.skills[expert % len(base.skills)].name)
        name = skill.name if place >= 0 else f"Skill {expert}"
        evaluation = Evaluation(
            success=share, step_success=share, reached=(500,), finished=(480,), causes={}, length=50.0, amount=1,
            worlds_seed=0,
        )  # fmt: skip
        record = SkillRecord(
            name=name,
            expert_idx=expert,
            spec=skill.spec,
            status="learned",
            frames=100_000,
            evaluation=evaluation,
            plan=Plan(goal=name, steps=(PlanStep(skill=name, n=1, expert=expert),)),
            path=str(library.paths.skill(expert, name).folder.relative_to(home)),
        )
        varied = {key: array + np.float32(expert) / 1000 for key, array in arrays.items()}
        install(library, VersionCandidate(record, varied, skill.code, {}))
    return library
