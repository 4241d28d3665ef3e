"""Layout classic-3: the player faces up, whichever way it faces."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from craftax.craftax_classic.constants import BlockType

from benchmarks.tables.setup import plan_steps, plan_trainer, run_env
from flowrl.analysis import recorder
from flowrl.analysis.recorder import SegmentRecorder
from flowrl.config import build_config
from flowrl.env.flow_env import FlowEnv
from flowrl.env.observation import expand
from flowrl.env.player import player_in
from flowrl.env.turning import TURNS, turned_actions, turned_cells
from flowrl.rollout import collect_states, rollout
from flowrl.rollout.collect_states import StateCollector
from flowrl.rollout.rollout import Policy, collect
from flowrl.training.programs import Programs

FACING = {"UP": 3, "RIGHT": 2, "DOWN": 4, "LEFT": 1}
"""The direction of a world whose player faces so, in the order of `TURNS`."""
TREE = BlockType.TREE.value


@pytest.fixture(scope="module")
def env() -> FlowEnv:
    config = build_config(settings=["env.layout=classic-3"])
    return run_env(config, plan_steps(config.env.name, "Collect Coal"))


@pytest.fixture(scope="module")
def meadow(env: FlowEnv) -> Any:
    """Four players at (32, 32) on grass, one facing each way, without creatures."""
    world = env.new_players(jax.random.split(jax.random.PRNGKey(0), 4)).world
    empty = {herd: getattr(world, herd) for herd in ("zombies", "cows", "skeletons", "arrows")}
    empty = {herd: mobs.replace(mask=jnp.zeros_like(mobs.mask)) for herd, mobs in empty.items()}
    facing = jnp.array(list(FACING.values()), world.player_direction.dtype)
    grass = jnp.full_like(world.map, BlockType.GRASS.value)
    return world.replace(
        map=grass, mob_map=jnp.zeros_like(world.mob_map), player_direction=facing, light_level=jnp.ones(4), **empty
    )


def state_of(env: FlowEnv, worlds: Any) -> Any:
    blank = env.new_players(jax.random.split(jax.random.PRNGKey(0), 4))
    memory, explored = jnp.full_like(blank.memory, -100), jnp.zeros_like(blank.explored)
    players = jax.vmap(lambda *parts: player_in(env.domain, *parts))(worlds, memory, explored)
    return env.start(players, jnp.ones((4, len(env.amounts.high)), jnp.int32))


def test_the_cell_ahead_is_above_the_middle(env: FlowEnv, meadow: Any) -> None:
    ahead = TURNS[:4].transpose(0, 2, 1) @ np.array([-1, 0])  # where each player looks
    worlds = meadow.replace(map=meadow.map.at[jnp.arange(4), 32 + ahead[:, 0], 32 + ahead[:, 1]].set(TREE))
    seen = env.observe(state_of(env, worlds))
    cells = np.asarray(seen.cells).reshape(4, 9, 9)
    assert (cells[:, 3, 4] == TREE).all() and ((cells == TREE).sum(axis=(1, 2)) == 1).all()
    assert (cells == 255).sum(axis=(1, 2)).tolist() == [18] * 4, "a view of 7 x 9 within 9 x 9"
    flat = np.array(expand(env.domain, seen))
    assert flat.shape == (4, env.domain.observation_size)
    direction = slice(81 * env.domain.cell_size + 16, 81 * env.domain.cell_size + 20)
    flat[:, direction] = 0
    inner = flat[:, : 81 * 21].reshape(4, 9, 9, 21)[:, 1:8, 1:8]
    for k in range(1, 4):
        np.testing.assert_array_equal(inner[0], inner[k])
        np.testing.assert_array_equal(flat[0, 81 * 21 :], flat[k, 81 * 21 :])


@pytest.mark.parametrize("side", [1, -1])
def test_all_that_lies_aside_is_turned_alike(env: FlowEnv, meadow: Any, side: int) -> None:
    """A tree two ahead and one aside, a zombie one behind and three aside: the tree, sought, is to the right."""
    state = with_tree_and_zombie(env, meadow, side)
    seen = env.observe(state)
    assert (np.asarray(seen.cells).reshape(4, 9, 9)[:, 2, 5] == TREE).all()
    place, column = np.divmod(np.asarray(seen.marks)[:, 0].astype(int), env.domain.cell_size)
    assert (place == 5 * 9 + 1).all() and (column == len(BlockType)).all()
    offsets = np.asarray(seen.levels)[:, env.domain.levels :].reshape(4, -1, 2)
    kinds = len(env.domain.sight.names)
    assert (offsets[:, TREE] == [1, -2]).all() and (offsets[:, kinds] == [-3, 1]).all(), "(dx, dy)"
    assert (offsets[:, BlockType.COAL.value] == 30).all(), "what is unknown stays unknown"


def with_tree_and_zombie(env: FlowEnv, meadow: Any, side: int) -> Any:
    tree, zombie = (TURNS[:4].transpose(0, 2, 1) @ np.array(offset) for offset in ((-2, side), (1, -3 * side)))
    worlds = meadow.replace(map=meadow.map.at[jnp.arange(4), 32 + tree[:, 0], 32 + tree[:, 1]].set(TREE))
    mobs = worlds.zombies
    mobs = mobs.replace(
        position=mobs.position.at[:, 0].set(jnp.asarray(32 + zombie)), mask=mobs.mask.at[:, 0].set(True)
    )
    return state_of(env, worlds.replace(zombies=mobs))


def test_with_nothing_sought_in_sight_a_zombie_is_shown_to_the_right(env: FlowEnv, meadow: Any) -> None:
    state = with_tree_and_zombie(env, meadow, side=1)
    last = env.plan_tasks - 1
    assert env.amounts.seeks[last] == BlockType.COAL.value
    offsets = np.asarray(env.observe(state._replace(task=jnp.full(4, last))).levels)[:, env.domain.levels :]
    offsets = offsets.reshape(4, -1, 2)
    assert (offsets[:, TREE] == [-1, -2]).all() and (offsets[:, len(env.domain.sight.names)] == [3, 1]).all()


def test_what_was_explored_is_turned(env: FlowEnv, meadow: Any) -> None:
    """All that lies ahead of each player has been seen, and nothing else."""
    state = state_of(env, meadow)
    rows, columns = np.divmod(np.arange(64 * 64).reshape(64, 64), 64)
    explored = np.stack([(m @ np.stack([rows - 32, columns - 32]).reshape(2, -1))[0] < -4 for m in TURNS[:4]])
    player = state.player._replace(explored=jnp.asarray(explored.reshape(4, 1, 64, 64)))
    floats = np.asarray(env.observe(state._replace(player=player)).floats)
    unseen = floats[:, env.domain.floats + 2 : env.domain.floats + 26]
    assert (unseen[:, :10] == 0).all() and (unseen[:, 10:14] == 1).all(), "two rows of patches are ahead"


@pytest.mark.parametrize("side", [1, -1])
def test_moves_are_meant_as_the_player_faces(env: FlowEnv, meadow: Any, side: int) -> None:
    step, start = jax.jit(env.step), with_tree_and_zombie(env, meadow, side)
    for name, move in {"UP": (-1, 0), "RIGHT": (0, 1), "DOWN": (1, 0), "LEFT": (0, -1)}.items():
        chosen = env.game_actions(start, jnp.full(4, env.domain.actions.index(name)))
        after, _ = step(jax.random.PRNGKey(1), start, chosen)
        went = np.asarray(after.player.world.player_position) - 32
        turns = TURNS[:4] if side == 1 else TURNS[4:]
        np.testing.assert_array_equal(np.einsum("kij,kj->ki", turns, went), [move] * 4)
    others = [name for name in env.domain.actions if name not in FACING]
    table = turned_actions(env.domain.actions)
    assert all((table[:, env.domain.actions.index(name)] == env.domain.actions.index(name)).all() for name in others)


@pytest.mark.slow
def test_whoever_plays_means_moves_so(env: FlowEnv, meadow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training, the search for start states, and the recording of segments, all of a policy that goes to the right."""
    right = env.domain.actions.index("RIGHT")
    for module in (rollout, collect_states, recorder):
        monkeypatch.setattr(module, "sample_action", lambda key, logits: jnp.full(logits.shape[0], right))
    small = ("env.worlds=4", "env.fresh_worlds=4", "env.groups=1", "model.width=8", "ppo.steps=1")
    config = build_config(settings=["env.layout=classic-3", *small])
    programs, start, key = Programs(plan_trainer(env, config, (0,))), state_of(env, meadow), jax.random.PRNGKey(0)
    runner = programs.trainer
    params = runner.init(key, {}, start.player).params
    policy = Policy(runner.network(runner.experts), params)
    trained, played, _ = collect(env, policy, key, start, start.player, jnp.int32(0), config.ppo)
    found, _ = StateCollector(programs, 1)._choose(params, start, key)
    recorded, action, _ = SegmentRecorder(env, policy, (1,))._play_step(params, start, key)
    to_the_right = [env.domain.actions.index(name) for name in ("RIGHT", "DOWN", "LEFT", "UP")]
    assert np.asarray(played.action).tolist() == [[right] * 4], "it learns from what it chose"
    assert found.tolist() == action.tolist() == to_the_right
    for after in (trained, recorded):
        went = np.asarray(after.player.world.player_position) - 32
        np.testing.assert_array_equal(np.einsum("kij,kj->ki", TURNS[:4], went), [[0, 1]] * 4)


def test_a_turned_grid_holds_each_cell_once() -> None:
    for row in turned_cells((7, 9)):
        assert sorted(row[row < 63]) == list(range(63)) and (row == 63).sum() == 18
    np.testing.assert_array_equal(turned_cells((3, 3))[1].reshape(3, 3), [[2, 5, 8], [1, 4, 7], [0, 3, 6]])
