"""What the rewards of the shipped skills pay for: finishing, and nothing that can be done in a loop."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from craftax.craftax_classic.constants import BlockType
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrl.env.memory import UNKNOWN
from flowrl.env.shaping import LOSS_PRICE, REACH, STEP_VALUE, approach, gathered
from tests.played import BASES, CLASSIC, TINY, WORLDS, Moment, copies, game_of, hold, new_worlds, plain, put, replace

SKILLS = [(env, skill.name) for env in BASES for skill in BASES[env].skills]
STEPS = 200
RICH = {
    CLASSIC: {"wood": 8, "stone": 5, "sapling": 3, "wood_pickaxe": 1, "iron": 2, "coal": 2, "stone_pickaxe": 1},
    TINY: {"wood": 8, "pickaxe": 1},
}


@pytest.fixture(scope="module", params=["poor", "rich"])
def recorded(request: pytest.FixtureRequest) -> dict[str, list[Any]]:
    """Returns random play in new worlds of each game, half of the times with full pockets."""
    plays = {}
    for env in BASES:
        game = game_of(env)
        worlds = new_worlds(env)
        if request.param == "rich":
            worlds = hold(worlds, **{item: np.full(WORLDS, amount) for item, amount in RICH[env].items()})
        moment = Moment(game, worlds)
        actions = np.random.default_rng(0).integers(0, len(game.actions), (STEPS, WORLDS))
        plays[env] = [moment.step(each) for each in actions]
    return plays


@pytest.mark.parametrize(("env", "name"), SKILLS)
@pytest.mark.parametrize("n", [1, 3])
def test_rewards_are_finite_and_bounded_in_random_play(
    recorded: dict[str, list[Any]], env: str, name: str, n: int
) -> None:
    done, reward = game_of(env).judge(name, recorded[env], n)
    assert done.shape == reward.shape == (STEPS, WORLDS)
    assert np.isfinite(reward).all()
    assert (reward <= 1 + STEP_VALUE + 1e-6).all() and (reward >= -2 / n - 2 * LOSS_PRICE - STEP_VALUE).all()


@pytest.mark.parametrize(("env", "name"), SKILLS)
def test_no_skill_is_done_or_paid_before_anything_is_done(env: str, name: str) -> None:
    game = game_of(env)
    done, reward = game.play(name, new_worlds(env), [0] * 3)
    assert not done.any() and np.abs(reward).max() == 0


def test_random_play_does_much_of_what_can_be_done(recorded: dict[str, list[Any]]) -> None:
    for env in BASES:
        events = np.stack([np.asarray(each.achievements_diff) for each in recorded[env]]).any(axis=(0, 1))
        assert {"COLLECT_WOOD"} <= {
            name for name, seen in zip(game_of(env).domain.achievements, events, strict=True) if seen
        }


@pytest.mark.parametrize("env", [CLASSIC, TINY])
def test_a_table_of_an_earlier_task_does_not_count(env: str) -> None:
    game = game_of(env)
    moment = Moment(game, copies(hold(plain(env), wood=5)))
    first = moment.step(game.actions["PLACE_TABLE"])
    moment.achieved = jnp.zeros_like(moment.achieved)
    idle = moment.step(0)
    moment.step(game.actions["DOWN"])
    second = moment.step(game.actions["PLACE_TABLE"])
    done, reward = game.judge("Place Table", [first, idle, second], 1)
    assert done[:, 0].tolist() == [True, False, True]
    assert reward[:, 0].tolist() == [1, 0, 1]


# Loops


def to_and_fro() -> tuple[Any, list[str]]:
    return put(plain(CLASSIC), "TREE", (0, 4)), ["RIGHT", "RIGHT", "LEFT", "LEFT"] * 50


def round_the_lake() -> tuple[Any, list[str]]:
    lake = put(plain(CLASSIC), "WATER", (1, 1), (1, 2), (2, 1), (2, 2))
    side = ["RIGHT"] * 3 + ["DOWN"] * 3 + ["LEFT"] * 3 + ["UP"] * 3
    return lake, (side * 17)[:STEPS]


def between_two_trees() -> tuple[Any, list[str]]:
    """Two trees too far apart to be seen from each other."""
    return put(plain(CLASSIC), "TREE", (0, 8), (0, -8)), (["RIGHT"] * 7 + ["LEFT"] * 14 + ["RIGHT"] * 7) * 8


def away_from_the_table() -> tuple[Any, list[str]]:
    world = put(hold(plain(CLASSIC), wood=1), "CRAFTING_TABLE", (0, 1))
    return world, (["LEFT"] * 5 + ["RIGHT"] * 5) * 20


def place_and_mine() -> tuple[Any, list[str]]:
    world = put(hold(plain(CLASSIC), stone=1, wood_pickaxe=1), "STONE", (0, 6))
    return world, ["PLACE_STONE", "DO"] * 100


def mine_from_behind() -> tuple[Any, list[str]]:
    """Places a stone, takes it away from its far side, and so has farther to go to the old stone each time."""
    world = put(hold(plain(CLASSIC), stone=1, wood_pickaxe=1), "STONE", (0, 5))
    loop = ["PLACE_STONE", "UP", "LEFT", "LEFT", "DOWN", "RIGHT", "DO", "RIGHT", "RIGHT", "RIGHT", "LEFT"]
    return world, ["RIGHT", "LEFT", *loop * 18]


def chop_for_tables() -> tuple[Any, list[str]]:
    """Spends every second wood on a table, along a row of trees, and never has three."""
    world = put(plain(CLASSIC), "TREE", *[(0, column) for column in range(-28, 30, 3)])
    world = replace(world, player_position=world.player_position + jnp.array([0, -31]))
    pair = ["RIGHT", "RIGHT", "RIGHT", "DO", "PLACE_TABLE", "UP", "RIGHT", "RIGHT", "DOWN", "RIGHT", "DO"]
    return world, ["RIGHT", "RIGHT", "DO", *pair * 9]


def plant_and_search() -> tuple[Any, list[str]]:
    """Plants ahead, then goes one cell aside to search the next grass for another sapling."""
    world = hold(plain(CLASSIC), sapling=1)
    world = replace(world, map=jnp.full_like(world.map, BlockType.GRASS.value))
    return world, ["PLACE_PLANT", "LEFT", *["DO"] * 8, "PLACE_PLANT", "UP", *["DO"] * 8] * 10


LOOPS = [
    (to_and_fro, "Collect Wood", 1),
    (between_two_trees, "Collect Wood", 1),
    (chop_for_tables, "Collect Wood", 3),
    (round_the_lake, "Collect Drink", 1),
    (away_from_the_table, "Make Wood Pickaxe", 1),
    (away_from_the_table, "Make Wood Sword", 1),
    (place_and_mine, "Collect Stone", 2),
    (mine_from_behind, "Collect Stone", 2),
    (plant_and_search, "Collect Sapling", 9),
]


@pytest.mark.parametrize(("script", "name", "n"), LOOPS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_going_in_circles_pays_less_than_finishing(
    script: Callable[[], tuple[Any, list[str]]], name: str, n: int
) -> None:
    game, (world, actions) = game_of(CLASSIC), script()
    done, reward = game.play(name, copies(world), [game.actions[action] for action in actions], n)
    assert not done.any()
    assert reward.cumsum(axis=0).max() < 1 and reward.sum(axis=0).max() < 0.5
    assert np.abs(reward).max() > 0


@pytest.mark.parametrize(
    ("script", "event", "turns"),
    [
        (place_and_mine, "PLACE_STONE", 100),
        (mine_from_behind, "PLACE_STONE", 18),
        (chop_for_tables, "PLACE_TABLE", 9),
        (plant_and_search, "PLACE_PLANT", 5),
    ],
)
def test_the_loops_really_turn(script: Callable[[], tuple[Any, list[str]]], event: str, turns: int) -> None:
    """Creatures stand in the way of some of the worlds."""
    game, (world, actions) = game_of(CLASSIC), script()
    moment, which = Moment(game, copies(world)), game.domain.achievements.index(event)
    times = sum(np.asarray(moment.step(game.actions[action]).achievements_diff[:, which]) for action in actions)
    assert times.max() >= turns


# The approach term


def known(*offsets: tuple[int, int]) -> Any:
    """Returns `closest_blocks` of one type, from (dx, dy) pairs, nearest first."""
    nearest = sorted(offsets, key=lambda offset: abs(offset[0]) + abs(offset[1]))
    padded = itertools.chain(nearest, itertools.repeat((UNKNOWN, UNKNOWN)))
    return jnp.array(list(itertools.islice(padded, 5))).T[None]


@pytest.mark.parametrize(
    ("before", "after", "paid"),
    [
        ([(3, 0)], [(2, 0)], STEP_VALUE),
        ([(2, 0)], [(3, 0)], -STEP_VALUE),
        ([(3, 0)], [(3, 0)], 0),
        ([], [(4, 0)], 0),
        ([(4, 0)], [], 0),
        ([], [], 0),
        ([(9, 0)], [(8, 0), (4, 1)], 0),
        ([(1, 0), (6, 0)], [(6, 0)], 0),
        ([(1, 0), (2, 0)], [(2, 0)], -STEP_VALUE),
        ([(REACH, 0)], [(REACH - 1, 0)], STEP_VALUE),
        ([(REACH + 1, 0)], [(REACH, 0)], 0),
        ([(UNKNOWN, 2)], [(UNKNOWN - 1, 2)], 0),
        ([(2, -2)], [(2, -1)], STEP_VALUE),
        ([(-2, 2)], [(-1, 2)], STEP_VALUE),
    ],
)
def test_approach_pays_steps_and_no_jumps(before: list[Any], after: list[Any], paid: float) -> None:
    assert approach(known(*after), known(*before), 0) == pytest.approx(paid)


def test_a_tree_that_comes_into_view_pays_nothing_and_then_by_the_step() -> None:
    game = game_of(CLASSIC)
    world = copies(put(plain(CLASSIC), "TREE", (0, 6)))
    _, reward = game.play("Collect Wood", world, [game.actions["RIGHT"]] * 6)
    assert reward[:, 0].tolist() == pytest.approx([0, 0, STEP_VALUE, STEP_VALUE, STEP_VALUE, 0])


def test_chopping_the_nearest_tree_pays_for_the_wood_alone() -> None:
    game = game_of(CLASSIC)
    world = copies(put(plain(CLASSIC), "TREE", (-1, 0), (0, 4)))
    _, reward = game.play("Collect Wood", world, [game.actions["DO"]], n=2)
    assert reward[0, 0] == pytest.approx(0.5)


walks = st.lists(st.sampled_from([(0, 1), (1, 0), (0, -1), (-1, 0), (0, 0)]), min_size=1, max_size=60)
places = st.lists(st.tuples(st.integers(-12, 12), st.integers(-12, 12)), min_size=1, max_size=5)
approach_all = jax.jit(jax.vmap(lambda after, before: approach(after, before, 0)))


@settings(max_examples=60, deadline=None)
@given(walk=walks, blocks=places)
def test_a_walk_among_known_blocks_earns_the_rise_of_a_potential(walk: list[Any], blocks: list[Any]) -> None:
    path = np.concatenate([[[0, 0]], np.cumsum(walk + [(0, 0)] * (60 - len(walk)), axis=0)])
    seen = jnp.stack([known(*[(x - dx, y - dy) for x, y in blocks]) for dx, dy in path.tolist()])
    earned = float(approach_all(seen[1:], seen[:-1]).sum())
    nearest = [min(abs(x - dx) + abs(y - dy) for x, y in blocks) for dx, dy in (path[0], path[-1])]
    first, last = (min(REACH, distance) for distance in nearest)
    assert earned == pytest.approx(STEP_VALUE * (first - last), abs=1e-4)


# Gathering


gathered_all = jax.jit(jax.vmap(gathered, in_axes=(0, 0, None)))


@settings(max_examples=100, deadline=None)
@given(start=st.integers(0, 9), changes=st.lists(st.integers(-3, 2), min_size=20, max_size=20), n=st.integers(1, 9))
def test_gathering_pays_one_in_all_and_never_for_a_loop(start: int, changes: list[int], n: int) -> None:
    amounts = [start]
    for change in changes:
        amounts.append(min(9, max(0, amounts[-1] + change)))
    held = jnp.array(amounts)
    paid = float(gathered_all(held[1:], held[1:] - held[:-1], jnp.int32(n)).sum())
    lost = sum(max(0, min(a, n) - min(b, n)) for a, b in itertools.pairwise(amounts))
    assert paid == pytest.approx((min(amounts[-1], n) - min(start, n)) / n - LOSS_PRICE * lost, abs=1e-4)
    assert paid <= 1 + 1e-4
    assert STEP_VALUE * (REACH - 1) < LOSS_PRICE
