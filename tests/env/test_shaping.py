"""What the rewards of the shipped skills pay for: finishing, and nothing that can be done in a loop."""

import functools
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

from flowrl.env.block_memory import UNKNOWN
from flowrl.env.shaping import LOSS_PRICE, REACH, STEP_VALUE, approach, gathered, within_reach
from flowrl.env.staging.worlds import hold, put, replace
from tests.support.played import BASES, CLASSIC, TINY, WORLDS, Moment, copies, game_of, new_worlds, plain

SKILLS = [(env, skill.name) for env in BASES for skill in BASES[env].skills]
STEPS = 200
RICH = {
    CLASSIC: {
        "wood": 9, "stone": 9, "sapling": 3, "wood_pickaxe": 1, "iron": 2, "coal": 2, "stone_pickaxe": 1,
        "iron_pickaxe": 1,
    },
    TINY: {"wood": 8, "pickaxe": 1},
}  # fmt: skip


def with_workshop(worlds: Any) -> Any:
    """Classic worlds of tired players between a table and a furnace."""
    rows, columns = np.asarray(worlds.player_position).T
    at = np.arange(WORLDS)
    blocks = worlds.map.at[at, rows + 1, columns + 1].set(BlockType.CRAFTING_TABLE.value)
    blocks = blocks.at[at, rows + 1, columns - 1].set(BlockType.FURNACE.value)
    return replace(worlds, map=blocks, player_energy=np.full(WORLDS, 8))


@pytest.fixture(scope="module", params=["poor", "rich"])
def recorded(request: pytest.FixtureRequest) -> dict[str, list[Any]]:
    """Random play in new worlds of each game, half with full pockets."""
    plays = {}
    for env in BASES:
        game = game_of(env)
        worlds = new_worlds(env)
        if request.param == "rich":
            worlds = hold(worlds, **{item: np.full(WORLDS, amount) for item, amount in RICH[env].items()})
            worlds = with_workshop(worlds) if env == CLASSIC else worlds
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
    happened = set()
    for env in BASES:
        events = np.stack([np.asarray(each.achievements_diff) for each in recorded[env]]).any(axis=(0, 1))
        happened |= {name for name, seen in zip(game_of(env).domain.achievements, events, strict=True) if seen}
    assert {"COLLECT_WOOD", "COLLECT_DRINK", "COLLECT_SAPLING"} <= happened
    if "MAKE_IRON_SWORD" in happened:
        assert {
            "PLACE_TABLE", "PLACE_FURNACE", "PLACE_STONE", "PLACE_PLANT", "MAKE_WOOD_SWORD", "MAKE_STONE_SWORD",
            "MAKE_IRON_PICKAXE", "WAKE_UP", "COLLECT_STONE",
        } <= happened  # fmt: skip


EVENTS = [
    (CLASSIC, "Place Table", "GRASS", "PLACE_TABLE", {"wood": 5}),
    (CLASSIC, "Place Stone", "GRASS", "PLACE_STONE", {"stone": 5}),
    (CLASSIC, "Place Furnace", "GRASS", "PLACE_FURNACE", {"stone": 5}),
    (CLASSIC, "Place Plant", "GRASS", "PLACE_PLANT", {"sapling": 5}),
    (CLASSIC, "Collect Drink", "WATER", "DO", {}),
    (CLASSIC, "Eat Plant", "RIPE_PLANT", "DO", {}),
    (TINY, "Place Table", "GRASS", "PLACE_TABLE", {"wood": 5}),
    (TINY, "Collect Drink", "WATER", "DO", {}),
]


@pytest.mark.parametrize(("env", "name", "ahead", "action", "held"), EVENTS)
def test_what_an_earlier_task_did_does_not_count(
    env: str, name: str, ahead: str, action: str, held: dict[str, int]
) -> None:
    game = game_of(env)
    moment = Moment(game, copies(put(hold(plain(env), **held), ahead, (-1, 0), (0, 1), (0, 2))))
    first = moment.step(game.actions[action])
    moment.achieved = jnp.zeros_like(moment.achieved)
    idle = moment.step(0)
    moment.step(game.actions["RIGHT"])
    second = moment.step(game.actions[action])
    done, reward = game.judge(name, [first, idle, second], 1)
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


def stones_into_ponds() -> tuple[Any, list[str]]:
    """Fills up one pond after the other, five cells apart, with stones that are mined again on the way back."""
    ponds = [(-1, column) for column in range(-20, 21, 5)]
    world = put(hold(plain(CLASSIC), stone=9, wood_pickaxe=1), "WATER", *ponds)
    world = replace(world, player_position=world.player_position + jnp.array([0, -20]))
    return world, ["PLACE_STONE", *["RIGHT"] * 5, "UP"] * 9 + [*["LEFT"] * 5, "UP", "DO"] * 8


def between_table_and_furnace() -> tuple[Any, list[str]]:
    world = put(hold(plain(CLASSIC), wood=1, stone=1), "CRAFTING_TABLE", (0, -6))
    return put(world, "FURNACE", (0, 6)), (["LEFT"] * 3 + ["RIGHT"] * 6 + ["LEFT"] * 3) * 16


def stations_all_the_way() -> tuple[Any, list[str]]:
    """Places a table and a furnace ahead, goes on below them, and does so again, out of all that is in hand."""
    world = hold(plain(CLASSIC), wood=9, stone=9)
    return world, ["PLACE_TABLE", "DOWN", *["RIGHT"] * 5, "PLACE_FURNACE", "DOWN", *["LEFT"] * 5] * 10


def round_about(name: str) -> tuple[Any, list[str]]:
    """Walks round a block at a distance of two, never within reach of it."""
    side = ["RIGHT"] * 4 + ["DOWN"] * 4 + ["LEFT"] * 4 + ["UP"] * 4
    return put(plain(CLASSIC), name, (2, 2)), (side * 13)[:STEPS]


def round_the_table() -> tuple[Any, list[str]]:
    return round_about("CRAFTING_TABLE")


def round_the_furnace() -> tuple[Any, list[str]]:
    return round_about("FURNACE")


def plants_in_a_row() -> tuple[Any, list[str]]:
    """Plants all it has, walking on and back between the plants, none of which gets ripe."""
    world = replace(hold(plain(CLASSIC), sapling=9), map=jnp.full_like(plain(CLASSIC).map, BlockType.GRASS.value))
    return world, ["UP", "PLACE_PLANT", "DOWN", "DOWN", "RIGHT", "RIGHT", "RIGHT", "UP"] * 12 + ["LEFT", "RIGHT"] * 50


def ores_out_of_reach() -> tuple[Any, list[str]]:
    """Walks to and from ores that it has no pickaxe for, and strikes them in vain."""
    world = put(put(plain(CLASSIC), "COAL", (0, 5)), "IRON", (-1, 4))
    world = put(put(world, "DIAMOND", (1, 4)), "STONE", (0, -5))
    return world, [*["RIGHT"] * 4, "DO", "UP", "DO", *["LEFT"] * 8, "DO", *["RIGHT"] * 4] * 10


def up_at_night() -> tuple[Any, list[str]]:
    """Goes to bed again and again where a zombie that cannot be reached would only wake it."""
    return replace(plain(CLASSIC), player_energy=9), ["SLEEP", "LEFT", "RIGHT"] * 10


def mine_coal_and_craft() -> tuple[Any, list[str]]:
    """Mines coal of two wanted, and spends it on swords, over and over."""
    world = hold(plain(CLASSIC), wood=9, stone=9, iron=9, wood_pickaxe=1)
    world = put(put(world, "CRAFTING_TABLE", (1, -1)), "FURNACE", (1, 1))
    return put(world, "COAL", (-1, 0), (0, 1), (0, -1)), ["DO", "MAKE_IRON_SWORD", "RIGHT", "DO", "MAKE_IRON_SWORD"]


SCRIPTS = [
    to_and_fro, between_two_trees, chop_for_tables, round_the_lake, away_from_the_table, place_and_mine,
    mine_from_behind, plant_and_search, stones_into_ponds, between_table_and_furnace, stations_all_the_way,
    round_the_table, round_the_furnace, plants_in_a_row, ores_out_of_reach, up_at_night, mine_coal_and_craft,
]  # fmt: skip
LOOPS = [
    (to_and_fro, "Collect Wood", 1),
    (between_two_trees, "Collect Wood", 1),
    (chop_for_tables, "Collect Wood", 3),
    (round_the_lake, "Collect Drink", 1),
    (stones_into_ponds, "Collect Drink", 1),
    (away_from_the_table, "Make Wood Pickaxe", 1),
    (away_from_the_table, "Make Wood Sword", 1),
    (away_from_the_table, "Make Stone Pickaxe", 1),
    (away_from_the_table, "Make Stone Sword", 1),
    (between_table_and_furnace, "Make Iron Pickaxe", 1),
    (between_table_and_furnace, "Make Iron Sword", 1),
    (stations_all_the_way, "Make Iron Sword", 1),
    (round_the_table, "Return To Table", 1),
    (round_the_furnace, "Return To Furnace", 1),
    (place_and_mine, "Collect Stone", 2),
    (mine_from_behind, "Collect Stone", 2),
    (mine_coal_and_craft, "Collect Coal", 2),
    (ores_out_of_reach, "Collect Coal", 1),
    (ores_out_of_reach, "Collect Iron", 1),
    (ores_out_of_reach, "Collect Diamond", 1),
    (plant_and_search, "Collect Sapling", 9),
    (plants_in_a_row, "Eat Plant", 1),
]


@functools.cache
def scripted(script: Callable[[], tuple[Any, list[str]]]) -> list[Any]:
    """Play a script in Classic; every step of it."""
    game, (world, actions) = game_of(CLASSIC), script()
    moment = Moment(game, copies(world))
    return [moment.step(game.actions[action]) for action in actions]


@pytest.mark.parametrize(("script", "name", "n"), LOOPS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_going_in_circles_pays_less_than_finishing(
    script: Callable[[], tuple[Any, list[str]]], name: str, n: int
) -> None:
    done, reward = game_of(CLASSIC).judge(name, scripted(script), n)
    assert not done.any()
    assert reward.cumsum(axis=0).max() < 1 and reward.sum(axis=0).max() < 0.5
    assert np.abs(reward).max() > 0


@pytest.mark.parametrize(
    ("skill", "station", "hands"),
    [("Return To Table", "CRAFTING_TABLE", {"wood": 4}), ("Return To Furnace", "FURNACE", {"stone": 1})],
)
def test_whoever_builds_a_station_instead_of_going_back_is_not_paid(
    skill: str, station: str, hands: dict[str, int]
) -> None:
    """What lies in the hands is counted on by later steps of plans."""
    world = put(hold(plain(CLASSIC), **hands), station, (0, 4))
    if station == "FURNACE":
        world = put(world, "CRAFTING_TABLE", (1, 1))
    game = game_of(CLASSIC)
    build = "PLACE_TABLE" if station == "CRAFTING_TABLE" else "PLACE_FURNACE"
    for actions, paid in (([build], False), (["RIGHT"] * 3, True)):
        moment = Moment(game, copies(world))
        done, reward = game.judge(skill, [moment.step(game.actions[action]) for action in actions], 1)
        assert done.any(axis=0).mean() > 0.5 and (done.sum(axis=0) <= 1).all()
        total = reward.sum(axis=0)[done.any(axis=0)]
        assert (total >= 1).all() if paid else (total < 0).all()


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_loop_pays_for_any_skill(script: Callable[[], tuple[Any, list[str]]]) -> None:
    """Up to the step that finishes the skill, if any does, less than finishing has been paid."""
    for skill in BASES[CLASSIC].skills:
        done, reward = game_of(CLASSIC).judge(skill.name, scripted(script), 3)
        before = (done.cumsum(axis=0) == 0) & ~done
        assert np.where(before, reward, 0).cumsum(axis=0).max() < 1, skill.name


@pytest.mark.parametrize(
    ("script", "event", "turns"),
    [
        (place_and_mine, "PLACE_STONE", 100),
        (mine_from_behind, "PLACE_STONE", 18),
        (chop_for_tables, "PLACE_TABLE", 9),
        (plant_and_search, "PLACE_PLANT", 5),
        (stones_into_ponds, "PLACE_STONE", 9),
        (stations_all_the_way, "PLACE_TABLE", 4),
        (stations_all_the_way, "PLACE_FURNACE", 9),
        (plants_in_a_row, "PLACE_PLANT", 5),
        (mine_coal_and_craft, "MAKE_IRON_SWORD", 2),
    ],
)
def test_the_loops_really_turn(script: Callable[[], tuple[Any, list[str]]], event: str, turns: int) -> None:
    """Creatures stand in the way of some of the worlds."""
    which = game_of(CLASSIC).domain.achievements.index(event)
    times = sum(np.asarray(each.achievements_diff[:, which]) for each in scripted(script))
    assert times.max() >= turns


# The approach term


def known(*offsets: tuple[int, int]) -> Any:
    """`closest_blocks` of one type, from (dx, dy) pairs, nearest first."""
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


@pytest.mark.parametrize(
    ("before", "after", "paid"),
    [
        ([(1, 0), (6, 0)], [(6, 0)], -5 * STEP_VALUE),
        ([(1, 0)], [], -(REACH - 1) * STEP_VALUE),
        ([], [(1, 0)], 0),
        ([(6, 0)], [(1, 0), (6, 0)], 0),
        ([(2, 0)], [(1, 0)], STEP_VALUE),
        ([(1, 0)], [(2, 0)], -STEP_VALUE),
    ],
)
def test_what_should_last_costs_what_it_paid_when_it_is_gone(before: list[Any], after: list[Any], paid: float) -> None:
    assert approach(known(*after), known(*before), 0, lasting=True) == pytest.approx(paid)


def test_the_nearest_of_several_types_counts() -> None:
    both = jnp.concatenate([known((5, 0)), known((0, 3))])
    nearer = jnp.concatenate([known((4, 0)), known((0, 3))])
    assert approach(nearer, both, 0, 1) == 0
    assert approach(nearer, both, 0) == pytest.approx(STEP_VALUE)
    assert approach(jnp.concatenate([known((5, 0)), known((0, 2))]), both, 0, 1) == pytest.approx(STEP_VALUE)


@settings(max_examples=200, deadline=None)
@given(blocks=st.sets(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), max_size=30))
def test_within_reach_is_the_eight_cells_around_and_underfoot(blocks: set[tuple[int, int]]) -> None:
    near = any(max(abs(dx), abs(dy)) <= 1 for dx, dy in blocks)
    assert bool(within_reach(known(*blocks), 0)) == near


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
