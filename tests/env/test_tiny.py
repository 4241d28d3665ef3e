"""The tiny game's rules, its look, and the task layer on top of it."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.env import tiny
from flowrl.env.code_parser import bind_tasks, load_module
from flowrl.env.flow_env import FlowEnv, TaskAmounts
from flowrl.env.observation import expand
from flowrl.env.tiny import Achievement, Action, Block, TinyState
from flowrl.knowledge.base import load_base
from flowrl.planning.planner import plan
from flowrl.skillcode.source import SkillSource, compose_module

WORLDS = 16
LEFT, RIGHT, UP, DOWN, DO = Action.LEFT, Action.RIGHT, Action.UP, Action.DOWN, Action.DO
step = jax.jit(tiny.step)


def meadow(**inventory: int) -> TinyState:
    """A world of grass with the player in the middle, looking up."""
    held = {item: jnp.int32(inventory.get(item, 0)) for item in tiny.ITEMS}
    return TinyState(
        map=jnp.full((tiny.SIZE, tiny.SIZE), Block.GRASS, dtype=jnp.int32),
        position=jnp.array([4, 4]),
        direction=jnp.int32(UP),
        inventory=tiny.Inventory(**held),
        timestep=jnp.int32(0),
    )


def put(world: TinyState, row: int, column: int, block: Block) -> TinyState:
    return dataclasses.replace(world, map=world.map.at[row, column].set(block))


def play(world: TinyState, *actions: Action) -> tuple[TinyState, list[set[str]]]:
    """Play the actions: the world after them, and what happened in each."""
    happened = []
    for action in actions:
        transition = step(jax.random.key(0), world, jnp.int32(action))
        world = transition.world
        happened.append({a.name for a in Achievement if transition.events[a]})
        assert transition.reward == len(happened[-1])
    return world, happened


def hand(world: TinyState) -> dict[str, int]:
    return {item: int(getattr(world.inventory, item)) for item in tiny.ITEMS}


@pytest.mark.parametrize("move", [LEFT, RIGHT, UP, DOWN])
def test_a_move_turns_and_walks_on_grass_alone(move: Action) -> None:
    row, column = {LEFT: (4, 3), RIGHT: (4, 5), UP: (3, 4), DOWN: (5, 4)}[move]
    for block in Block:
        world, _ = play(put(meadow(), row, column, block), move)
        assert world.direction == move
        assert world.position.tolist() == ([row, column] if block == Block.GRASS else [4, 4])


def test_the_map_has_an_edge() -> None:
    for move in (LEFT, RIGHT, UP, DOWN):
        world, happened = play(meadow(wood=1), *[move] * 9, DO, Action.PLACE_TABLE)
        assert sorted(set(world.position.tolist()) - {4})[0] in (0, 8)
        assert happened[-1] == set() and hand(world)["wood"] == 1
        assert (world.map == Block.GRASS).all()


@pytest.mark.parametrize(
    ("block", "held", "action", "event", "after", "left"),
    [
        (Block.TREE, {}, DO, {"COLLECT_WOOD"}, {"wood": 1}, Block.GRASS),
        (Block.TREE, {"wood": 9}, DO, {"COLLECT_WOOD"}, {"wood": 9}, Block.GRASS),
        (Block.STONE, {"pickaxe": 1}, DO, {"COLLECT_STONE"}, {"stone": 1, "pickaxe": 1}, Block.GRASS),
        (Block.STONE, {}, DO, set(), {}, Block.STONE),
        (Block.WATER, {}, DO, {"COLLECT_DRINK"}, {}, Block.WATER),
        (Block.GRASS, {}, DO, set(), {}, Block.GRASS),
        (Block.GRASS, {"wood": 1}, Action.PLACE_TABLE, {"PLACE_TABLE"}, {}, Block.TABLE),
        (Block.GRASS, {}, Action.PLACE_TABLE, set(), {}, Block.GRASS),
        (Block.TREE, {"wood": 1}, Action.PLACE_TABLE, set(), {"wood": 1}, Block.TREE),
        (Block.TABLE, {"wood": 1}, Action.MAKE_PICKAXE, {"MAKE_PICKAXE"}, {"pickaxe": 1}, Block.TABLE),
        (Block.TABLE, {}, Action.MAKE_PICKAXE, set(), {}, Block.TABLE),
        (Block.GRASS, {"wood": 1}, Action.MAKE_PICKAXE, set(), {"wood": 1}, Block.GRASS),
    ],
)
def test_what_an_action_takes_and_gives(
    block: Block, held: dict[str, int], action: Action, event: set[str], after: dict[str, int], left: Block
) -> None:
    world, happened = play(put(meadow(**held), 3, 4, block), action)
    assert happened == [event]
    assert hand(world) == dict.fromkeys(tiny.ITEMS, 0) | after
    assert world.map[3, 4] == left


def test_a_table_is_near_at_the_corner_but_not_two_cells_away() -> None:
    assert play(put(meadow(wood=1), 5, 5, Block.TABLE), Action.MAKE_PICKAXE)[1] == [{"MAKE_PICKAXE"}]
    assert play(put(meadow(wood=1), 4, 6, Block.TABLE), Action.MAKE_PICKAXE)[1] == [set()]


def test_who_only_waits_starves() -> None:
    world = meadow()
    for t in range(1, 154):
        before, transition = world, step(jax.random.key(t), world, jnp.int32(Action.NOOP))
        world = transition.world
        assert bool(transition.over) == (t == 153)
    assert tiny.vitals(before).intrinsics.tolist() == [1, 9, 9, 9]
    domain = tiny.domain()
    assert domain.causes[int(domain.cause_fn(before, world))] == "hunger"


def test_worlds_differ_and_hold_what_the_skills_need() -> None:
    worlds = jax.jit(jax.vmap(tiny.reset))(jax.random.split(jax.random.key(0), 200))
    for block, count in ((Block.TREE, tiny.TREES), (Block.STONE, tiny.STONES), (Block.WATER, tiny.WATERS)):
        assert ((worlds.map == block).sum(axis=(1, 2)) == count).all()
    assert (worlds.map[jnp.arange(200), worlds.position[:, 0], worlds.position[:, 1]] == Block.GRASS).all()
    assert len({np.asarray(each).tobytes() for each in worlds.map}) == 200
    assert np.unique(np.asarray(worlds.position), axis=0).shape[0] > 60
    assert sorted(np.unique(worlds.direction).tolist()) == [1, 2, 3, 4]


def test_the_observation_shows_what_stands_where() -> None:
    domain = tiny.domain()
    world = put(put(meadow(wood=2, stone=3, pickaxe=1), 3, 4, Block.TREE), 6, 2, Block.WATER)
    flat = expand(domain, domain.observe_fn(world))
    assert flat.shape == (domain.upstream_size,) == (25 * 6 + 11,)
    grid = np.asarray(flat[: 25 * 6]).reshape(5, 5, 6)
    assert grid[1, 2, Block.TREE] == grid[4, 0, Block.WATER] == grid[2, 2, Block.GRASS] == 1 and grid.sum() == 25
    np.testing.assert_allclose(flat[150:], [0.2, 0.3, 0.1, 0.9, 0.9, 0.9, 0.9, 0, 0, 1, 0], atol=1e-6)
    corner = dataclasses.replace(world, position=jnp.array([0, 8]))
    outside = np.asarray(domain.observe_fn(corner).cells[:, 0]).reshape(5, 5) == Block.OUT_OF_BOUNDS
    assert outside[:2].all() and outside[:, 3:].all() and not outside[2:, :3].any()


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> FlowEnv:
    """The task layer over the plan for stone."""
    base, domain = load_base("Tiny-Grid-v1"), tiny.domain()
    steps = plan("Collect Stone", base.named()).steps
    sources = [SkillSource(f"skill_{i}", base.skill(step.skill).code) for i, step in enumerate(steps)]
    path = tmp_path_factory.mktemp("tiny") / "3.py"
    Path(path).write_text(compose_module(sources, range(len(steps)), range(len(steps))))
    wanted = tuple(step.n for step in steps)
    items = tuple(domain.items.index(base.skill(step.skill).spec.item or "") for step in steps)
    return FlowEnv(domain, bind_tasks(load_module(path)), TaskAmounts(wanted, wanted, items), episode_steps=200)


def place(state: Any, world: TinyState) -> Any:
    """Put ``world`` in every place of the batch."""
    worlds = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (WORLDS, *leaf.shape)), world)
    return state._replace(player=state.player._replace(world=worlds))


def test_an_episode_works_through_the_plan(env: FlowEnv) -> None:
    players = jax.jit(env.new_players)(jax.random.split(jax.random.key(0), WORLDS))
    state = env.start(players, env.draw_amounts(jax.random.key(1), WORLDS))
    flat = expand(env.domain, jax.jit(env.observe)(state))
    assert flat.shape == (WORLDS, env.domain.observation_size) and jnp.isfinite(flat).all()
    world = put(put(put(meadow(), 3, 4, Block.TREE), 4, 3, Block.TREE), 5, 4, Block.STONE)
    state, jitted = place(state, world), jax.jit(env.step)
    tasks, rewards = [], []
    for action in (DO, LEFT, DO, Action.PLACE_TABLE, Action.MAKE_PICKAXE, DOWN, DO):
        state, result = jitted(jax.random.key(0), state, jnp.full(WORLDS, action))
        tasks.append(int(result.task[0]))
        rewards.append(round(float(result.reward[0]), 6))
    assert tasks == [0, 0, 0, 1, 2, 3, 3]
    assert rewards[2:5] == [0.5, 1, 1] and rewards[6] >= 1
    assert result.success.all() and not result.died.any()
