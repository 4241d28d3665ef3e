"""Every game fits the whole chain: worlds, tasks, policy and rollout agree in shape and type. Traced, not compiled."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from flowrl.config import ENVIRONMENTS, LAYOUTS, build_config
from flowrl.env.flow_env import FlowEnv, TaskAmounts
from flowrl.env.registry import domain_named
from flowrl.skillcode.functions import SkillFunctions, TaskModule
from flowrl.skillcode.inputs import FULL_GAME_ONLY, SKILL_INPUTS
from flowrl.training.trainer import Trainer


def skill(names: tuple[str, ...]) -> SkillFunctions:
    """A skill that asks for everything it may see."""

    def is_done(**values: Any) -> Any:
        return values["inventory"].wood >= values["n"]

    def reward(**values: Any) -> Any:
        return sum(jnp.asarray(leaf, jnp.float32).sum() for leaf in jax.tree.leaves(values))

    return SkillFunctions(is_done, reward, names, names)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_rollout_leaves_the_episodes_as_it_found_them_but_for_their_values(name: str) -> None:
    domain = domain_named(name)
    assert (domain.name, domain.layout) == (name, LAYOUTS[name][0])
    names = tuple(n for n in SKILL_INPUTS if domain.sight.floors > 1 or n not in FULL_GAME_ONLY)
    env = FlowEnv(domain, TaskModule((skill(names),), (0,), (0,), (None,)), TaskAmounts((1,), (2,), (0,)), 100)
    config = build_config(env__name=name, env__worlds=4, env__fresh_worlds=4, ppo__steps=2, model__width=8)
    trainer = Trainer(env, config, 1, (0,))
    key = jax.random.PRNGKey(0)
    state = trainer.state_shape({})
    fresh = jax.eval_shape(env.new_players, jax.random.split(key, config.env.fresh_worlds))
    flow, rollout, _ = jax.eval_shape(lambda s, f: trainer.play(s.params, s.flow, key, f, jnp.int32(1)), state, fresh)
    assert rollout.observation.cells.shape[:3] == (2, 4, domain.cells)
    assert rollout.observation.marks.shape == (2, 4, len(domain.slots))
    added = 2 * (len(domain.sight.names) + len(domain.creatures))
    assert rollout.observation.levels.shape == (2, 4, domain.levels + added)
    assert rollout.observation.floats.shape == (2, 4, domain.floats + 2)
    types = [jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree) for tree in (state.flow, flow)]
    assert types[0] == types[1], "a type that changes would compile every program twice"
