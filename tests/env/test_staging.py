"""Worlds staged by hand: in every game they are what the game itself reads off them."""

import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

from flowrl.env.staging.worlds import hold, plain, position, put, put_creature
from tests.support.played import CLASSIC, FULL, TINY, Moment, copies, game_of, new_worlds
from tests.support.symbolic import abstract


def bare(env: str, floor: int = 0) -> Any:
    return plain(jax.tree.map(lambda leaf: leaf[0], new_worlds(env)), floor)


def after_doing(env: str, world: Any) -> Any:
    moment = Moment(game_of(env), copies(world))
    moment.step(moment.game.actions["DO"])
    return jax.tree.map(lambda leaf: leaf[0], moment.worlds)


@pytest.mark.parametrize("env", [CLASSIC, TINY, FULL])
def test_the_player_of_a_plain_world_looks_up_at_what_is_put_before_it(env: str) -> None:
    world = hold(put(bare(env), "TREE", (-1, 0)), wood=2)
    after = after_doing(env, world)
    assert abstract(game_of(env).domain, after).amount("wood") == 3
    middle = np.asarray(world.map).shape[-1] // 2
    assert position(world).tolist() == position(after).tolist() == [middle, middle]


def test_staging_works_under_vmap_on_any_floor() -> None:
    """What is put lands on the floor that the player is on, in each of several worlds."""
    worlds = jax.vmap(
        lambda floor: put(plain(jax.tree.map(lambda leaf: leaf[0], new_worlds(FULL)), floor), "TREE", (1, 0))
    )(np.arange(3))
    tree = np.argwhere(np.asarray(worlds.map) == np.asarray(put(bare(FULL), "TREE", (1, 0)).map)[0, 25, 24])
    assert tree[:, :2].tolist() == [[0, 0], [1, 1], [2, 2]]


def test_a_creature_stands_where_it_was_put_and_takes_a_blow() -> None:
    world = put_creature(bare(CLASSIC), "cows", (-1, 0), health=9)
    after = after_doing(CLASSIC, world)
    assert world.cows.mask.sum() == 1
    assert int(after.cows.health[0]) == 8


def test_staging_for_the_tiny_game_imports_no_other() -> None:
    code = (
        "import sys, jax; from flowrl.env.registry import domain_named; "
        "from flowrl.env.staging import worlds as staging; "
        "world = staging.plain(domain_named('Tiny-Grid-v1').reset_fn(jax.random.key(0))); "
        "staging.hold(staging.put(world, 'TREE', (0, 1)), wood=1); "
        "assert not [name for name in sys.modules if name.startswith('craftax')], sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
