"""Symbolic states read off real worlds of each game."""

import dataclasses
import tomllib
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.env.registry import domain_named
from flowrl.env.staging.worlds import hold, put, replace
from flowrl.env.symbolic_state import fluents_of
from flowrl.errors import UsageError
from flowrl.fluents import KILLS, REACHED, Vocabulary
from flowrl.planning.symbolic import new_world
from tests.support.played import CLASSIC, FULL, TINY, WORLDS, Moment, copies, game_of, new_worlds, plain
from tests.support.symbolic import abstract

GAMES = {CLASSIC: "classic", TINY: "tiny", FULL: "craftax"}
TABLE = {CLASSIC: "crafting_table", TINY: "table", FULL: "crafting_table"}


def vocabulary_of(env: str) -> Vocabulary:
    text = (resources.files("flowrl.knowledge") / GAMES[env] / "base.toml").read_text(encoding="utf-8")
    return Vocabulary.model_validate(tomllib.loads(text)["vocabulary"])


def world_of(env: str, number: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[number], new_worlds(env))


@pytest.mark.parametrize("env", GAMES)
def test_the_fluents_of_a_game_are_those_of_its_vocabulary(env: str) -> None:
    domain, vocabulary = domain_named(env), vocabulary_of(env)
    world = jax.eval_shape(domain.reset_fn, jax.random.key(0))
    fluents = jax.eval_shape(lambda world: fluents_of(domain, world), world)
    by_floor = {fluent for fluent in fluents if fluent.startswith((KILLS, REACHED))}
    assert sorted(fluents.keys() - by_floor) == sorted(vocabulary.names())
    assert not any(vocabulary.problem(fluent) for fluent in fluents)
    assert {leaf.shape for leaf in fluents.values()} == {()}
    assert vocabulary.items == domain.items and vocabulary.achievements == domain.achievements
    assert vocabulary.floors == domain.sight.floors


@pytest.mark.parametrize("env", GAMES)
def test_a_new_world_holds_what_plans_begin_with(env: str) -> None:
    domain, vocabulary = game_of(env).domain, vocabulary_of(env)
    for number in range(WORLDS):
        state = abstract(domain, world_of(env, number))
        begun = ("intrinsic:", "reached:")
        assert new_world(vocabulary).facts == tuple(fact for fact in state.facts if fact[0].startswith(begun))
        assert state.floor == 0 and state.amount("reached:0") == 1
        assert not any(state.amount(item) for item in domain.items)


@pytest.mark.parametrize("env", GAMES)
def test_a_batch_reads_as_its_worlds_do(env: str) -> None:
    """After some play in different worlds."""
    game = game_of(env)
    moment = Moment(game, new_worlds(env))
    for actions in np.random.default_rng(1).integers(0, 6, (30, WORLDS)):
        moment.step(actions)
    batch = jax.jit(jax.vmap(lambda world: fluents_of(game.domain, world)))(moment.worlds)
    for number in range(WORLDS):
        state = abstract(game.domain, jax.tree.map(lambda leaf, i=number: leaf[i], moment.worlds))
        assert {
            fluent: int(amounts[number]) for fluent, amounts in batch.items() if amounts[number] > 0
        } == state.shown()
    assert sum(int(amounts.sum()) for fluent, amounts in batch.items() if fluent.startswith("achievement:")) > 0


@pytest.mark.parametrize("env", GAMES)
@pytest.mark.parametrize(
    ("offset", "near", "placed"), [((1, 1), 1, 1), ((-1, 0), 1, 1), ((0, 2), 0, 1), ((-2, 1), 0, 1), (None, 0, 0)]
)
def test_a_table_is_near_at_the_corner_and_placed_anywhere(env: str, offset: Any, near: int, placed: int) -> None:
    table = TABLE[env]
    world = plain(env) if offset is None else put(plain(env), table.upper(), offset)
    state = abstract(game_of(env).domain, world)
    assert (state.amount(f"near:{table}"), state.amount(f"placed:{table}")) == (near, placed)
    corner = replace(world, **{"position" if env == TINY else "player_position": jnp.zeros(2)})
    assert abstract(game_of(env).domain, corner).amount(f"near:{table}") == 0


@pytest.mark.parametrize("env", GAMES)
def test_amounts_and_what_happened_are_read_as_they_are(env: str) -> None:
    game = game_of(env)
    item = "pickaxe" if env != CLASSIC else "wood_pickaxe"
    world = hold(plain(env), **{"wood": 3, item: 1})
    assert {f: a for f, a in abstract(game.domain, world).facts if f in game.domain.items} == {"wood": 3, item: 1}
    moment = Moment(game, copies(put(world, "TREE", (-1, 0))))
    moment.step(game.actions["DO"])
    state = abstract(game.domain, jax.tree.map(lambda leaf: leaf[0], moment.worlds))
    assert state.amount("wood") == 4 and state.amount("achievement:COLLECT_WOOD") == 1


def test_a_ripe_plant_is_a_plant_still() -> None:
    for name in ("PLANT", "RIPE_PLANT"):
        state = abstract(game_of(CLASSIC).domain, put(plain(CLASSIC), name, (0, 1)))
        assert state.amount("placed:plant") == state.amount("near:plant") == 1


def test_levels_of_the_body_are_read() -> None:
    world = replace(plain(CLASSIC), player_food=4, player_drink=0)
    state = abstract(game_of(CLASSIC).domain, world)
    assert [state.amount(f"intrinsic:{name}") for name in ("health", "food", "drink", "energy")] == [9, 4, 0, 9]


def test_every_floor_of_the_full_game_keeps_what_is_placed_on_it() -> None:
    upstairs = put(put(plain(FULL), "CRAFTING_TABLE", (0, 1)), "LADDER_DOWN", (5, 5))
    below = put(replace(upstairs, player_level=1), "FURNACE", (1, 1))
    below = put(replace(below, monsters_killed=below.monsters_killed.at[1].set(3)), "LADDER_UP", (0, 0))
    domain = game_of(FULL).domain
    down = abstract(domain, below)
    assert down.floor == 1 and down.amount("kills:1") == 3
    assert {"placed:crafting_table@0", "placed:ladder_down@0", "placed:furnace@1", "placed:ladder_up@1"} == {
        fluent for fluent in down.amounts() if fluent.startswith("placed:")
    }
    assert [down.amount(f) for f in ("near:furnace", "near:ladder_up", "near:crafting_table", "reached:1")] == [
        1,
        1,
        0,
        1,
    ]
    up = abstract(domain, replace(below, player_level=0))
    assert up.amount("near:crafting_table") == up.amount("placed:ladder_down") == 1
    assert up.amount("placed:furnace") == up.amount("near:furnace") == up.amount("reached:1") == 0
    been = replace(
        below, player_level=0, achievements=below.achievements.at[domain.achievements.index("ENTER_DUNGEON")].set(1)
    )
    assert abstract(domain, been).amount("reached:1") == 1


def test_tiers_and_sums_of_the_full_game() -> None:
    state = abstract(game_of(FULL).domain, hold(plain(FULL), pickaxe=3, armour=5, potions=2))
    assert [state.amount(item) for item in ("pickaxe", "armour", "potions")] == [3, 5, 2]


def test_a_game_without_symbols_says_so() -> None:
    silent = dataclasses.replace(domain_named(TINY), facts=None)
    with pytest.raises(UsageError, match=r"Tiny-Grid-v1 does not say"):
        abstract(silent, plain(TINY))
