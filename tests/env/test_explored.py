"""The map of what a player has seen: layout classic-2, and what discovery pays."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from craftax.craftax_classic.constants import BlockType

from benchmarks.tables.setup import plan_steps, run_env
from flowrl.config import build_config
from flowrl.env import classic
from flowrl.env.block_memory import closest_blocks, empty_memory, offset_to
from flowrl.env.explored import explore, map_shares, newly_seen, nothing_explored, round_about, where_to_look
from flowrl.env.flow_env import FlowEnv
from flowrl.env.observation import expand
from flowrl.env.player import player_in
from flowrl.env.side_rewards import SideRewards
from flowrl.env.snapshots import pack, players_at, snapshots_of, unpack
from flowrl.env.ways import things_known
from flowrl.errors import UsageError

DOMAIN = classic.domain(layout="classic-2")
ROCKY = classic.domain(layout="classic-3")
LOOKING = classic.domain(layout="classic-4")


@pytest.fixture(scope="module")
def world() -> Any:
    """A new world; its player stands at (32, 32)."""
    return jax.jit(DOMAIN.reset_fn)(jax.random.PRNGKey(0))


def at(world: Any, row: int, column: int) -> Any:
    return world.replace(player_position=jnp.array([row, column]))


def test_a_view_is_seen_and_nothing_else(world: Any) -> None:
    nothing = nothing_explored(DOMAIN)
    assert nothing is not None and nothing.shape == (1, 64, 64) and not nothing.any()
    seen = np.asarray(explore(DOMAIN, nothing, at(world, 32, 32)))[0]
    assert seen.sum() == 63 and seen[29:36, 28:37].all()
    corner = np.asarray(explore(DOMAIN, nothing, at(world, 0, 63)))[0]
    assert corner.sum() == 4 * 5 and corner[:4, 59:].all()


def test_shares_say_where_there_is_something_to_see(world: Any) -> None:
    first = explore(DOMAIN, nothing_explored(DOMAIN), at(world, 32, 32))
    assert first is not None
    shares = np.asarray(round_about(map_shares(DOMAIN, first, at(world, 32, 32))))
    assert shares.shape == (24,) and (shares == 1).all(), "all round is unseen"
    moved = explore(DOMAIN, first, at(world, 32, 33))
    assert moved is not None
    shares = np.asarray(round_about(map_shares(DOMAIN, moved, at(world, 32, 33)))).round(3)
    assert shares[11] == round(8 / 9, 3) and shares[12] == 1, "to the left a column is seen, to the right none"
    corner = np.asarray(round_about(map_shares(DOMAIN, moved, at(world, 0, 0))))
    assert (corner[:10] == 0).all() and (corner[[10, 11]] == 0).all(), "beyond the map there is nothing to see"
    assert corner[12] == pytest.approx(4 / 7), "four of the seven rows are on the map"


def test_cells_count_once() -> None:
    before = jnp.zeros((2, 1, 64, 64), bool).at[0, 0, :3].set(True)
    after = before.at[:, 0, :4].set(True)
    assert newly_seen(before, after).tolist() == [64, 256] and newly_seen(after, after).tolist() == [0, 0]
    assert newly_seen(None, None) == 0


def env_for(*settings: str, goal: str = "Collect Coal") -> FlowEnv:
    config = build_config(settings=["env.layout=classic-2", *settings])
    return run_env(config, plan_steps(config.env.name, goal))


def test_the_layout_adds_to_what_classic_1_shows() -> None:
    plain, mapped = env_for("env.layout=classic-1"), env_for()
    key = jax.random.split(jax.random.PRNGKey(1), 4)
    amounts = jnp.ones((4, len(plain.amounts.high)), jnp.int32)
    flat = [expand(env.domain, env.observe(env.start(env.new_players(key), amounts))) for env in (plain, mapped)]
    assert flat[1].shape[1] == flat[0].shape[1] + 24 + 23 + 3 == mapped.domain.observation_size
    np.testing.assert_array_equal(flat[0], flat[1][:, :-50])
    with pytest.raises(UsageError, match="has no layout 'classic-9'"):
        build_config(settings=["env.layout=classic-9"])


def test_classic_2_shows_what_is_ahead_the_hour_and_the_way_to_the_target(world: Any) -> None:
    zombies = world.zombies.replace(position=world.zombies.position.at[0].set(jnp.array([31, 32])))
    zombies = zombies.replace(mask=zombies.mask.at[0].set(True))
    bare = at(world, 32, 32).replace(player_direction=jnp.int32(3), zombies=zombies, timestep=jnp.int32(75))  # up
    ahead = np.asarray(classic.nearby(bare.replace(map=bare.map.at[31, 32].set(BlockType.COAL.value))))
    assert ahead[:17].argmax() == BlockType.COAL.value and ahead[:17].sum() == 1
    np.testing.assert_allclose(ahead[17:], [1, 0, 0, 0, 1, 0], atol=1e-6)
    edge = np.asarray(classic.nearby(at(bare, 0, 5)))
    assert edge[:17].argmax() == BlockType.OUT_OF_BOUNDS.value and not edge[17:21].any()
    env = env_for()
    coal = max(i for i, target in enumerate(env.amounts.seeks) if target == BlockType.COAL.value)
    blocks = jnp.full((17, 2), 30).at[BlockType.COAL.value].set(jnp.array([-5, 3]))
    assert offset_to(blocks, env._sought(jnp.int32(coal))).tolist() == [-5, 3]
    assert offset_to(blocks, env._sought(jnp.int32(0))).tolist() == [30, 30], "no tree is known"
    assert offset_to(blocks, jnp.int32(-1)).tolist() == [30, 30]


def test_snapshots_keep_the_map() -> None:
    env = env_for()
    player = env.new_players(jax.random.split(jax.random.PRNGKey(2), 3))
    stored = snapshots_of(player)
    again = players_at(env.domain, unpack(env.domain, pack(env.domain, stored)))
    for one, other in zip(jax.tree.leaves(player), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert player.explored is not None and int(player.explored[0].sum()) == 63


def rewards_of(env: FlowEnv, tree: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Reward of two steps to the right and two back, the only tree at the given place."""
    state, step, rewards = meadow(env, tree), jax.jit(env.step), []
    for i, action in enumerate([2, 2, 1, 1]):  # RIGHT, RIGHT, LEFT, LEFT
        state, result = step(jax.random.PRNGKey(i), state, jnp.full(2, action))
        rewards.append(np.asarray(result.reward))
    return np.stack(rewards), np.asarray(state.player.world.player_position)


def meadow(env: FlowEnv, tree: tuple[int, int] | None = None) -> Any:
    """Two players at (32, 32) on grass only, no zombies."""
    player = env.new_players(jax.random.split(jax.random.PRNGKey(3), 2))
    trees = player.world.map == 5
    grass = jnp.where(trees, 2, player.world.map)
    bare = player.world.replace(map=grass.at[:, 20:44, 20:44].set(2), zombies=_gone(player.world.zombies))
    if tree:
        bare = bare.replace(map=bare.map.at[:, *tree].set(5))
    snapshots = snapshots_of(player._replace(world=bare))
    fresh = snapshots._replace(memory=np.full_like(snapshots.memory, -100), explored=np.zeros_like(snapshots.explored))
    state = env.start(players_at(env.domain, fresh), jnp.ones((2, len(env.amounts.high)), jnp.int32))
    return state._replace(player=_look(env, state.player))


def _gone(herd: Any) -> Any:
    return herd.replace(mask=jnp.zeros_like(herd.mask))


def _look(env: FlowEnv, player: Any) -> Any:
    """As the player stands, without a step."""
    look = functools.partial(player_in, env.domain)
    return jax.vmap(look)(player.world, player.memory, player.explored)


def test_discovery_pays_each_cell_once_while_the_target_is_unknown() -> None:
    env = env_for("ppo.discovery_reward=0.01")
    paid, _ = rewards_of(env, tree=None)
    np.testing.assert_allclose(paid, [[0.07] * 2, [0.07] * 2, [0] * 2, [0] * 2], atol=1e-6)
    known, _ = rewards_of(env, tree=(30, 30))
    assert (np.abs(known) < 0.06).all() and not np.isclose(np.abs(known[:2]), 0.07).any(), "only the way to the tree"
    unpaid = dataclasses.replace(env, side_rewards=SideRewards())
    without, _ = rewards_of(unpaid, tree=None)
    assert (without == 0).all()
    np.testing.assert_allclose(known, rewards_of(unpaid, tree=(30, 30))[0], atol=1e-6)


def test_the_step_that_shows_the_target_is_paid() -> None:
    env = env_for("ppo.discovery_reward=0.01", "ppo.found_reward=3")
    paid, _ = rewards_of(env, tree=(32, 38))
    np.testing.assert_allclose(paid[0], 0.07, atol=1e-6)
    assert (np.abs(paid[1] - 3.07) < 0.06).all(), "the tree comes into view in the second step"
    assert (np.abs(paid[2:]) < 0.06).all(), "and is known from then on"


def test_a_target_that_the_player_put_there_is_none_found() -> None:
    env = env_for("ppo.found_reward=3", goal="Collect Stone")
    state = meadow(env)
    world = state.player.world
    held = world.inventory.replace(stone=jnp.full(2, 1, world.inventory.stone.dtype))
    state = state._replace(player=state.player._replace(world=world.replace(inventory=held)))
    state = state._replace(task=jnp.full(2, env.plan_tasks - 1, jnp.int32), amounts=state.amounts + 5)
    place = env.domain.actions.index("PLACE_STONE")
    state, result = jax.jit(env.step)(jax.random.PRNGKey(0), state, jnp.full(2, place))
    assert (np.asarray(state.player.world.inventory.stone) == 0).all(), "it was put down"
    assert (np.asarray(result.reward) <= 0).all()


def test_rock_is_told_where_it_was_seen(world: Any) -> None:
    rocky = world.replace(map=jnp.full((64, 64), BlockType.GRASS.value).at[:, :32].set(BlockType.COAL.value))
    seen = explore(DOMAIN, nothing_explored(DOMAIN), at(rocky, 32, 23))
    assert seen is not None
    there = at(rocky, 32, 32)
    rock = np.asarray(round_about(map_shares(ROCKY, seen, there)))[24:]
    assert rock[11] == pytest.approx(7 / 9), "left of the view, patches of 9 x 9: the seven rows seen are rock"
    assert rock.sum() == rock[11], "where nothing was seen no rock is known"


def looked_for(seen: np.ndarray, rock: np.ndarray, position: tuple[int, int], in_rock: bool) -> list[int]:
    """What `where_to_look` says, cell by cell."""
    worth = {}
    for row in range(2, 64, 4):
        for column in range(2, 64, 4):
            unseen = (~seen[row - 2 : row + 2, max(0, column - 4) : column + 5]).sum()
            nine = slice(max(0, row - 6), row + 6), slice(max(0, column - 6), column + 6)
            right = (seen[nine] & (rock[nine] == in_rock)).sum()
            likely = (right + 12) / (144 - (~seen[nine]).sum() + 24)
            steps = abs(row - position[0]) + abs(column - position[1])
            worth[column - position[1], row - position[0]] = round(unseen * likely / (steps + 8), 5)
    return list(max(worth, key=lambda offset: worth[offset]))


@pytest.mark.parametrize("target", [BlockType.IRON, BlockType.TREE])
def test_where_to_look_is_where_most_is_to_be_learned(world: Any, target: BlockType) -> None:
    draw = np.random.default_rng(0)
    said = jax.jit(functools.partial(where_to_look, LOOKING))
    rock, in_rock = np.asarray(classic.rock(world)), target.name in classic.ORES
    for _ in range(20):
        seen, position = np.zeros((64, 64), bool), tuple(draw.integers(0, 64, 2).tolist())
        for row, column in draw.integers(0, 64, (12, 2)):
            seen[max(0, row - 9) : row + 9, max(0, column - 9) : column + 9] = True
        found = said(jnp.asarray(seen[None]), at(world, *position), jnp.int32(target.value)).tolist()
        assert found == looked_for(seen, rock, position, in_rock)
    assert said(jnp.asarray(seen[None]), world, jnp.int32(-1)).tolist() == [30, 30]
    assert where_to_look(ROCKY, jnp.asarray(seen[None]), world, jnp.int32(target.value)).tolist() == [30, 30]


def test_the_way_that_is_shown_leads_to_the_block_or_to_where_it_may_be(world: Any) -> None:
    env = env_for("env.layout=classic-4")
    assert env.domain.observation_size == env_for("env.layout=classic-3").domain.observation_size - 48
    task = max(i for i, target in enumerate(env.amounts.seeks) if target == BlockType.COAL.value)
    bare = at(world, 32, 32).replace(
        map=jnp.full((64, 64), BlockType.GRASS.value).at[:, 40:].set(BlockType.STONE.value),
        player_direction=jnp.int32(3),
    )

    def shown(blocks: Any) -> list[float]:
        player = player_in(env.domain, blocks, empty_memory(env.domain), nothing_explored(env.domain))
        state = env.start(
            jax.tree.map(lambda leaf: leaf[None], player), jnp.ones((1, len(env.amounts.high)), jnp.int32)
        )
        return np.asarray(env.observe(state._replace(task=jnp.array([task]))).floats)[0, -3:].tolist()

    nothing = nothing_explored(env.domain)
    assert nothing is not None
    seen, coal = explore(env.domain, nothing, bare), jnp.int32(BlockType.COAL.value)
    assert seen is not None
    dx, dy = where_to_look(env.domain, seen, bare, coal).tolist()
    assert shown(bare) == pytest.approx([abs(dx) / 10, dy / 10, 0]), "mirrored, so that it lies to the right"
    assert shown(bare.replace(map=bare.map.at[30, 31].set(BlockType.COAL.value))) == pytest.approx([0.1, -0.2, 1])


def test_a_cow_that_was_seen_is_remembered_until_its_place_is_seen_without_it(world: Any) -> None:
    env = env_for("env.layout=classic-4")
    cow = len(env.domain.sight.names) + env.domain.creatures.index("cow")

    def with_cow(row: int, column: int) -> Any:
        cows = world.cows.replace(
            position=world.cows.position.at[0].set(jnp.array([row, column])),
            mask=jnp.zeros_like(world.cows.mask).at[0].set(True),
        )
        return world.replace(cows=cows)

    def offset(player: Any) -> list[int]:
        return things_known(env.domain, player)[cow].tolist()

    memory = empty_memory(env.domain)
    player = player_in(env.domain, at(with_cow(34, 35), 32, 32), memory, nothing_explored(env.domain))
    assert offset(player) == [3, 2]
    away = player_in(env.domain, at(with_cow(34, 35), 32, 25), player.memory, player.explored)
    assert offset(away) == [10, 2], "out of view"
    gone = player_in(env.domain, at(with_cow(50, 50), 32, 25), player.memory, player.explored)
    assert offset(gone) == [10, 2], "nobody saw it go"
    back = player_in(env.domain, at(with_cow(50, 50), 32, 33), gone.memory, gone.explored)
    assert offset(back) == [30, 30], "it is not where it was"
    assert closest_blocks(env.domain, away.memory, away.world).shape == (17, 2, 5), "skill code sees blocks, as before"
    plain = env_for("env.layout=classic-3")
    first = player_in(plain.domain, at(with_cow(34, 35), 32, 32), empty_memory(plain.domain), player.explored)
    away = player_in(plain.domain, at(with_cow(34, 35), 32, 25), first.memory, first.explored)
    assert things_known(plain.domain, away)[cow].tolist() == [30, 30]
