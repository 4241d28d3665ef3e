"""Postconditions of a skill, checked in worlds where its task was finished."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.tables.setup import plan_env, plan_trainer
from flowrl.env.flow_env import FlowEnv, FlowState
from flowrl.env.registry import domain_named
from flowrl.env.staging.worlds import hold, put
from flowrl.env.symbolic_state import postconditions
from flowrl.errors import UsageError
from flowrl.evaluation.play import play_worlds
from flowrl.evaluation.summary import amounts_to_play, summarise
from flowrl.knowledge.base import load_base
from flowrl.rollout.world_seeds import EVALUATION, world_key
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.skill import Quantity, SkillSpec
from flowrl.training.programs import Programs
from tests.support.played import CLASSIC, TINY, copies, game_of, plain
from tests.support.runs import tiny_config

ONE = Quantity(base=1)


def spec_of(env: str, name: str) -> SkillSpec:
    return load_base(env).skill(name).spec


@pytest.mark.parametrize(
    ("env", "name", "n", "promised"),
    [
        (CLASSIC, "Collect Wood", 5, {"wood": 5, "achievement:COLLECT_WOOD": 1}),
        (CLASSIC, "Collect Coal", 2, {"coal": 2, "wood_pickaxe": 1, "achievement:COLLECT_COAL": 1}),
        (
            CLASSIC,
            "Place Table",
            1,
            {"near:crafting_table": 1, "placed:crafting_table": 1, "achievement:PLACE_TABLE": 1},
        ),
        (
            CLASSIC,
            "Make Iron Sword",
            1,
            {"near:crafting_table": 1, "near:furnace": 1, "iron_sword": 1, "achievement:MAKE_IRON_SWORD": 1},
        ),
        (
            CLASSIC,
            "Eat Plant",
            1,
            {"placed:plant": 1, "intrinsic:food": 4, "achievement:EAT_PLANT": 1},
        ),
        (CLASSIC, "Return To Table", 1, {"placed:crafting_table": 1, "near:crafting_table": 1}),
    ],
)
def test_a_skill_promises_what_it_yields_and_what_it_does_not_spend(
    env: str, name: str, n: int, promised: dict[str, int]
) -> None:
    assert dict(postconditions(domain_named(env), spec_of(env, name), n)) == promised


def test_a_promise_that_no_world_can_keep_is_refused() -> None:
    assert postconditions(domain_named(TINY), SkillSpec(), 1) == ()
    with pytest.raises(UsageError, match=r"No fluent 'wod' in Tiny-Grid-v1\. Did you mean 'wood'"):
        postconditions(domain_named(TINY), SkillSpec(yields={"wod": ONE}), 1)


def with_promises(env: FlowEnv, spec: SkillSpec) -> FlowEnv:
    return dataclasses.replace(env, postconditions=postconditions(env.domain, spec, env.amounts.high[-1]))


def played(goal: str, spec: SkillSpec, worlds: int = 128) -> Evaluation:
    """Play tiny worlds with an untrained policy."""
    env = with_promises(plan_env(TINY, goal, 100), spec)
    programs = Programs(plan_trainer(env, tiny_config(), ()))
    players = programs.players(jax.random.PRNGKey(0))
    params = programs.trainer.init(jax.random.PRNGKey(1), {}, players).params
    amounts = amounts_to_play(env, worlds, 0)
    outcome = play_worlds(programs, params, world_key(EVALUATION, 3), amounts)
    return summarise(env, outcome, amounts, env.domain.causes, 3)


def test_an_evaluation_says_in_what_share_each_promise_held() -> None:
    """The tiny game keeps what the base says; a specification that promises more is found out."""
    honest = spec_of(TINY, "Place Table")
    boastful = honest.model_copy(update={"yields": honest.yields | {"pickaxe": ONE, "wood": ONE}})
    evaluation = played("Place Table", boastful)
    finished = evaluation.success.successes
    assert finished > 20
    assert {share.total for share in evaluation.postconditions_met.values()} == {finished}
    held = {fluent: share.successes for fluent, share in evaluation.postconditions_met.items()}
    assert held.keys() == {"near:table", "placed:table", "achievement:PLACE_TABLE", "pickaxe", "wood"}
    for fluent in ("near:table", "placed:table", "achievement:PLACE_TABLE"):
        assert held[fluent] == finished
    assert held["pickaxe"] == 0 and held["wood"] < finished, "some chopped more than they needed"
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_without_promises_nothing_is_looked_up() -> None:
    assert played("Collect Wood", SkillSpec(), worlds=64).postconditions_met == {}


def test_the_world_is_looked_at_in_the_step_that_finishes_the_plan() -> None:
    """Three trees around the player, two wood wanted: held is false before, true then, and false for what is not."""
    game = game_of(TINY)
    spec = SkillSpec(yields={"wood": Quantity(base=2), "stone": ONE})
    env = with_promises(plan_env(TINY, "Collect Wood", 50), spec)
    env = dataclasses.replace(env, amounts=dataclasses.replace(env.amounts, low=(2,), high=(2,)))
    trees = hold(put(plain(TINY), "TREE", (-1, 0), (0, 1), (0, -1)), wood=0)
    state: Any = env.start(env.new_players(jax.random.split(jax.random.key(0), 8)), jnp.full((8, 1), 2))
    state = FlowState(state.player._replace(world=copies(trees)), *state[1:])
    step, seen = jax.jit(env.step), []
    for action in ("DO", "RIGHT", "DO"):
        state, result = step(jax.random.key(0), state, jnp.full(8, game.actions[action]))
        seen.append(
            (
                bool(result.success[0]),
                dict(zip(dict(env.postconditions), np.asarray(result.postconditions_met)[0], strict=True)),
            )
        )
    assert [success for success, _ in seen] == [False, False, True]
    assert not any(seen[0][1].values()) and not any(seen[1][1].values())
    assert seen[2][1] == {"stone": False, "wood": True}
    later = step(jax.random.key(0), state._replace(started=jnp.full(8, 7)), jnp.full(8, 0))[1]
    assert later.success.all() and not later.postconditions_met.any(), "training's later episodes are not looked into"
