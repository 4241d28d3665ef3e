"""The task layer on real Classic worlds."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from craftax.craftax_classic.constants import Achievement, Action, BlockType

from flowrl.env import classic
from flowrl.env.block_memory import SLOTS, UNKNOWN, closest_blocks, empty_memory, first_cells, nearest_cells, remember
from flowrl.env.flow_env import FlowEnv, FlowState, TaskAmounts
from flowrl.env.interrupts import Interrupt
from flowrl.env.observation import expand
from flowrl.env.player import PlayerState
from flowrl.env.side_rewards import SideRewards
from flowrl.env.skill_inputs import SkillInputs, health_penalty, skill_inputs
from flowrl.skillcode.functions import SkillFunctions, TaskModule
from flowrl.skillcode.inputs import SKILL_INPUTS

DOMAIN = classic.domain()
TREE, GRASS, TABLE, STONE = (BlockType[name].value for name in ("TREE", "GRASS", "CRAFTING_TABLE", "STONE"))
WOOD = Achievement.COLLECT_WOOD.value


def functions(
    is_done: Callable[..., Any],
    reward: Callable[..., Any],
    names: tuple[str, ...],
    reward_names: tuple[str, ...] = (),
) -> SkillFunctions:
    return SkillFunctions(is_done, reward, names, reward_names or names)


CHOP = functions(
    lambda achievements, n: achievements[WOOD] > 0,
    lambda achievements, n: achievements[WOOD] * 1.0,
    ("achievements", "n"),
)


def make_env(*skills: SkillFunctions, amounts: tuple[int, ...] | None = None, steps: int = 20) -> FlowEnv:
    count = len(skills)
    tasks = TaskModule(
        tuple(dict.fromkeys(skills)),
        tuple(list(dict.fromkeys(skills)).index(s) for s in skills),
        tuple(range(count)),
        (None,) * count,
    )
    wanted = amounts or (1,) * count
    return FlowEnv(DOMAIN, tasks, TaskAmounts(wanted, wanted, (0,) * count), steps)


@pytest.fixture(scope="module")
def worlds() -> Any:
    """Three calm worlds: a player at (32, 32) that faces a tree, with two more trees and a table around."""
    made = jax.jit(jax.vmap(DOMAIN.reset_fn))(jax.random.split(jax.random.PRNGKey(0), 3))
    ground = jnp.full_like(made.map, GRASS)
    ground = ground.at[:, 31, 32].set(TREE).at[:, 32, 34].set(TREE).at[:, 35, 32].set(TREE).at[:, 32, 29].set(TABLE)
    return made.replace(map=ground)


def player_in(worlds: Any) -> PlayerState:
    table = nearest_cells(DOMAIN.view)

    def one(world: Any) -> PlayerState:
        seen = DOMAIN.observe_fn(world)
        return PlayerState(world, seen, remember(DOMAIN, table, empty_memory(DOMAIN), world, seen.cells))

    return jax.jit(jax.vmap(one))(worlds)


class Play:
    """Plays scripted actions, compiled once."""

    def __init__(self, env: FlowEnv, worlds: Any):
        self.env, self.state = env, env.start(player_in(worlds), env.draw_amounts(jax.random.PRNGKey(1), 3))
        self.compiled = jax.jit(env.step)
        self.key = jax.random.PRNGKey(2)

    def __call__(self, *actions: Action) -> Any:
        result = None
        for action in actions:
            self.key, key = jax.random.split(self.key)
            chosen = jnp.full(3, action.value)
            self.state, result = self.compiled(key, self.state, chosen)
        return jax.tree.map(np.asarray, result)


def test_what_skill_code_sees_is_what_the_names_promise() -> None:
    assert set(SkillInputs._fields) == set(SKILL_INPUTS)


def test_closest_blocks_are_offsets_nearest_first_columns_then_rows(worlds: Any) -> None:
    player = player_in(worlds)
    closest = np.asarray(closest_blocks(DOMAIN, player.memory[0], jax.tree.map(lambda x: x[0], player.world)))
    assert closest.shape == (len(BlockType), 2, SLOTS)
    assert closest[TREE, :, :3].T.tolist() == [[0, -1], [2, 0], [0, 3]], "dx is columns, dy is rows"
    assert (closest[TREE, :, 3:] == UNKNOWN).all() and (closest[STONE] == UNKNOWN).all()
    assert closest[TABLE, :, 0].tolist() == [-3, 0]


def test_blocks_are_remembered_out_of_view_and_forgotten_when_seen_gone(worlds: Any) -> None:
    def look(memory: Any, world: Any) -> tuple[Any, np.ndarray]:
        seen = DOMAIN.observe_fn(world)
        memory = remember(DOMAIN, nearest_cells(DOMAIN.view), memory, world, seen.cells)
        return memory, np.asarray(closest_blocks(DOMAIN, memory, world))

    world = jax.tree.map(lambda x: x[0], worlds)
    memory, _ = look(empty_memory(DOMAIN), world)
    away = world.replace(player_position=jnp.array([50, 32]))
    memory, closest = look(memory, away)
    assert closest[TREE, :, 0].tolist() == [0, 35 - 50] and closest[TABLE, :, 0].tolist() == [-3, -18]
    gone = away.replace(map=away.map.at[35, 32].set(GRASS), player_position=jnp.array([36, 32]))
    memory, closest = look(memory, gone)
    assert closest[TREE, :, 0].tolist() == [0, -5], "seen again, the tree is gone; the others were not looked at"
    assert (closest[TREE, :, 2:] == UNKNOWN).all()


def test_the_nearest_five_of_many_are_kept(worlds: Any) -> None:
    world = jax.tree.map(lambda x: x[0], worlds)
    world = world.replace(map=world.map.at[29:36, 28:37].set(TREE).at[32, 32].set(GRASS))
    seen = DOMAIN.observe_fn(world)
    memory = remember(DOMAIN, nearest_cells(DOMAIN.view), empty_memory(DOMAIN), world, seen.cells)
    closest = np.asarray(closest_blocks(DOMAIN, memory, world))
    assert np.abs(closest[TREE]).sum(axis=0).tolist() == [1, 1, 1, 1, 2]


def test_first_cells_equals_a_plain_search() -> None:
    kinds, cells = 7, 99
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((2, cells)) < 0.6, rng.integers(0, kinds - 1, (2, cells)), -1)
    rows[1] = np.where(rng.random(cells) < 0.3, rows[0], rows[1])  # the same kind twice at a cell counts once
    found = np.asarray(first_cells(jnp.asarray(rows), kinds, 5))
    assert found.shape == (kinds, 5) and (found[-1] == cells).all(), "no cell is of the last kind"
    for kind in range(kinds):
        at = np.flatnonzero((rows == kind).any(axis=0))[:5]
        np.testing.assert_array_equal(found[kind], np.pad(at, (0, 5 - len(at)), constant_values=cells))


def test_achievements_count_from_the_start_of_the_task(worlds: Any) -> None:
    play = Play(make_env(CHOP, CHOP), worlds)
    first = play(Action.DO)
    assert first.task_done.all() and not first.success.any() and (first.task == 0).all()
    assert (np.asarray(play.state.task) == 1).all(), "the next task begins in the same step"
    still = play(Action.NOOP)
    assert not still.task_done.any() and (still.reward == 0).all(), (
        "the wood of the first task does not finish the second"
    )
    assert np.asarray(play.state.player.world.achievements)[:, WOOD].all(), "the game's own flags stay"
    second = play(Action.RIGHT, Action.RIGHT, Action.DO)
    assert second.success.all() and (second.reward == 1).all() and (second.length == 5).all()


def test_the_time_limit_is_neither_success_nor_death(worlds: Any) -> None:
    play = Play(make_env(CHOP, steps=2), worlds)
    assert not play(Action.NOOP).ended.any()
    last = play(Action.NOOP)
    assert last.timeout.all() and not last.died.any() and not last.success.any()
    play = Play(make_env(CHOP, steps=2), worlds)
    last = play(Action.NOOP, Action.DO)
    assert last.success.all() and not last.timeout.any(), "done in the last step is done"


def test_the_games_own_clock_is_neither_success_nor_death(worlds: Any) -> None:
    """A healthy player in the last step of the game, which upstream ends after 10,000."""
    late = worlds.replace(timestep=jnp.full(3, 9_998, jnp.int32))
    play = Play(make_env(CHOP, steps=10_000), late)
    assert not play(Action.NOOP).ended.any()
    last = play(Action.NOOP)
    assert last.timeout.all() and not last.died.any() and not last.success.any()
    play = Play(make_env(CHOP, steps=10_000), late)
    last = play(Action.NOOP, Action.DO)
    assert last.success.all() and not last.timeout.any(), "done in the game's last step is done"
    dying = late.replace(
        timestep=jnp.full(3, 9_999, jnp.int32),
        player_health=jnp.ones(3, jnp.int32),
        player_drink=jnp.zeros(3, jnp.int32),
        player_recover=jnp.full(3, -15.0),
    )
    last = Play(make_env(CHOP, steps=10_000), dying)(Action.NOOP)
    assert last.died.all() and not last.timeout.any(), "a death in the last step is a death"


WAIT = functions(
    lambda n: n >= 1,
    lambda player_intrinsics_diff: player_intrinsics_diff[2] * 1.0,
    ("n",),
    ("player_intrinsics_diff",),
)


def interrupted(worlds: Any, *interrupts: Interrupt) -> Play:
    """Two tasks of the plan, wood and wood again, and what pre-empts them."""
    env = make_env(CHOP, CHOP, *[WAIT] * len(interrupts))
    return Play(dataclasses.replace(env, interrupts=interrupts), worlds)


def test_an_interrupt_acts_until_its_level_is_back_and_the_plan_waits(worlds: Any) -> None:
    water = worlds.map.at[:, 31, 32].set(BlockType.WATER.value)
    thirsty = worlds.replace(player_drink=jnp.array([3, 9, 3]), map=water)
    play = interrupted(thirsty, Interrupt((("drink", 3),), (("drink", 5),)))
    assert play.env.plan_tasks == 2 and play.env.expert(play.state).tolist() == [0, 0, 0], "before the first step"
    play(Action.NOOP)
    assert play.state.interrupt.tolist() == [2, -1, 2] and play.env.expert(play.state).tolist() == [2, 0, 2]
    first = play(Action.DO)
    assert first.reward.tolist() == [1, 0, 1], "its own reward"
    assert not first.task_done.any() and first.task.tolist() == [0, 0, 0], "what it does finishes nothing of the plan"
    second = play(Action.DO)
    assert second.reward.tolist() == [1, 0, 1] and play.state.player.world.player_drink.tolist() == [5, 9, 5]
    assert play.state.interrupt.tolist() == [-1, -1, -1]
    wood = play(Action.RIGHT, Action.RIGHT, Action.DO)
    assert wood.task_done.all() and play.state.task.tolist() == [1, 1, 1], "the plan goes on where it was"


def test_the_first_interrupt_that_applies_acts_and_only_with_what_it_needs_in_hand(worlds: Any) -> None:
    dusk = worlds.replace(timestep=jnp.full(3, 179), player_food=jnp.full(3, 1))
    dusk = dusk.replace(inventory=dusk.inventory.replace(stone=jnp.array([0, 2, 0])))
    shelter = Interrupt((("light", 45),), (("light", 45),), (("stone", 2),))
    play = interrupted(dusk, shelter, Interrupt((("food", 2),), (("food", 5),)))
    play(Action.NOOP)
    assert play.state.interrupt.tolist() == [3, 2, 3]
    morning = play.state.player.world.replace(timestep=jnp.full(3, 299))
    play.state = play.state._replace(player=player_in(morning))
    play(Action.NOOP)
    assert play.state.interrupt.tolist() == [3, 3, 3], "day has come, and the next danger takes over"


class Sought(SideRewards):
    """Pays what is looked for, so that a test can see it."""

    def of_step(self, target: Any, before: PlayerState, moved: Any) -> Any:
        return target.astype(jnp.float32)


def test_what_pre_empts_is_not_paid_for_searching(worlds: Any) -> None:
    play = interrupted(worlds.replace(player_drink=jnp.array([3, 9, 3])), Interrupt((("drink", 3),), (("drink", 5),)))
    amounts = dataclasses.replace(play.env.amounts, seeks=(TREE, TREE))
    play = Play(dataclasses.replace(play.env, amounts=amounts, side_rewards=Sought()), play.state.player.world)
    assert play(Action.NOOP).reward.tolist() == [TREE, TREE, TREE], "not yet begun"
    assert play(Action.NOOP).reward.tolist() == [-1, TREE, -1]


def test_what_wants_a_shelter_is_done_nowhere_else_and_only_by_what_pre_empts(worlds: Any) -> None:
    """Rock all around the first two, but a way out for the second; nothing pre-empts the third."""
    ground = worlds.map.at[:2, 30:35, 30:35].set(STONE).at[:2, 32, 32].set(GRASS).at[:2, 32, 33].set(GRASS)
    ground = ground.at[1, 31, 33].set(BlockType.PATH.value)
    env = interrupted(worlds, Interrupt((("drink", 3),), (("drink", 5),), sheltered=("SLEEP",))).env
    state = env.start(player_in(worlds.replace(map=ground)), env.draw_amounts(jax.random.PRNGKey(1), 3))
    state = state._replace(interrupt=jnp.array([2, 2, -1]))
    chosen = [env.game_actions(state, jnp.full(3, action.value)).tolist() for action in (Action.SLEEP, Action.DO)]
    assert chosen == [[Action.SLEEP.value, Action.NOOP.value, Action.SLEEP.value], [Action.DO.value] * 3]


def test_death_ends_an_episode_and_names_its_cause(worlds: Any) -> None:
    lava = worlds.replace(map=worlds.map.at[:, 32, 33].set(BlockType.LAVA.value))
    result = Play(make_env(CHOP), lava)(Action.RIGHT)
    assert result.died.all() and [DOMAIN.causes[c] for c in result.cause] == ["lava"] * 3
    thirsty = worlds.replace(
        player_health=jnp.ones(3, jnp.int32), player_drink=jnp.zeros(3, jnp.int32), player_recover=jnp.full(3, -15.0)
    )
    result = Play(make_env(CHOP), thirsty)(Action.NOOP)
    assert result.died.all() and [DOMAIN.causes[c] for c in result.cause] == ["thirst"] * 3


def test_a_zombie_that_strikes_is_the_cause(worlds: Any) -> None:
    zombies = worlds.zombies.replace(
        position=jnp.tile(jnp.array([[32, 33], [0, 0], [0, 0]]), (3, 1, 1)),
        mask=jnp.tile(jnp.array([True, False, False]), (3, 1)),
    )
    hurt = worlds.replace(
        zombies=zombies, mob_map=worlds.mob_map.at[:, 32, 33].set(True), player_health=jnp.full(3, 2, jnp.int32)
    )
    result = Play(make_env(CHOP), hurt)(Action.NOOP)
    assert result.died.all() and [DOMAIN.causes[c] for c in result.cause] == ["zombie"] * 3


def test_the_policy_sees_upstream_then_offsets_then_the_amounts(worlds: Any) -> None:
    from craftax.craftax_classic.renderer import render_craftax_symbolic

    env = make_env(CHOP, amounts=(3,))
    state = env.start(
        player_in(worlds.replace(inventory=worlds.inventory.replace(wood=jnp.full(3, 2)))),
        env.draw_amounts(jax.random.PRNGKey(0), 3),
    )
    flat = np.asarray(expand(DOMAIN, env.observe(state)))
    assert flat.shape == (3, DOMAIN.observation_size)
    np.testing.assert_array_equal(
        flat[0, : DOMAIN.upstream_size], render_craftax_symbolic(jax.tree.map(lambda x: x[0], state.player.world))
    )
    extras = flat[0, DOMAIN.upstream_size :]
    np.testing.assert_allclose(extras[3 * TREE : 3 * TREE + 3], [0, -0.1, 1], atol=1e-6)
    np.testing.assert_allclose(extras[3 * STONE : 3 * STONE + 3], [0, 0, 0])
    np.testing.assert_allclose(extras[-2:], [3 / 5, 2 / 5], rtol=1e-6)


def test_restarting_replaces_ended_worlds_alone_whatever_the_platform(worlds: Any) -> None:
    from flowrl.env.flow_env import _replace_by_select, _replace_in_place

    env = make_env(CHOP)
    play = Play(env, worlds)
    play(Action.RIGHT)
    old, ended = play.state, jnp.array([False, True, True])
    fresh = jax.jit(env.new_players)(jax.random.split(jax.random.PRNGKey(9), 2))
    amounts = jnp.full((3, 1), 7)
    new: FlowState = jax.jit(env.restart)(old, ended, fresh, jnp.int32(1), amounts, 5)
    for leaf, before, pool in zip(*map(jax.tree.leaves, (new.player, old.player, fresh)), strict=True):
        np.testing.assert_array_equal(leaf[0], before[0])
        np.testing.assert_array_equal(leaf[1], pool[1], err_msg="the pool goes round from where it was left")
        np.testing.assert_array_equal(leaf[2], pool[0])
    assert (
        new.steps.tolist() == [1, 0, 0]
        and new.started.tolist() == [0, 5, 5]
        and new.amounts[:, 0].tolist() == [1, 7, 7]
    )
    source = jnp.array([0, 1, 0])
    ways = [jax.jit(way)(old.player, ended, fresh, source) for way in (_replace_by_select, _replace_in_place)]
    jax.tree.map(np.testing.assert_array_equal, *ways)


def test_the_health_penalty_adds_up(worlds: Any) -> None:
    before = DOMAIN.vitals_fn(jax.tree.map(lambda x: x[0], worlds))
    after = before._replace(intrinsics=jnp.array([7, 8, 9, 8]))
    assert float(health_penalty(before, after)) == pytest.approx(0.1 * -2 + 0.1 * -2)
    assert float(health_penalty(before, after._replace(in_lava=jnp.bool_(True)))) == pytest.approx(-9 - 0.4)
    closest = jnp.zeros((17, 2, SLOTS), jnp.int32)
    values = skill_inputs(
        before, after, closest, closest, jnp.zeros(22, bool), jnp.ones(22, bool), jnp.float32(2), jnp.int32(4)
    )
    assert values.player_intrinsics_diff.tolist() == [-2, -1, 0, -1] == values.intrinsics_diff.tolist()
    assert values.achievements_diff.sum() == 22 and values.achievements.sum() == 0 and int(values.n) == 4


def test_amounts_are_drawn_from_the_whole_range() -> None:
    env = make_env(CHOP)
    ranged = FlowEnv(DOMAIN, env.tasks, TaskAmounts((1,), (4,), (0,)), 10)
    drawn = np.asarray(ranged.draw_amounts(jax.random.PRNGKey(0), 500))
    assert set(drawn[:, 0]) == {1, 2, 3, 4}


def test_a_nan_of_a_skill_that_is_not_the_current_one_does_not_spread(worlds: Any) -> None:
    broken = functions(lambda n: False, lambda n: jnp.float32(jnp.nan), ("n",))
    result = Play(make_env(CHOP, broken), worlds)(Action.NOOP)
    assert np.isfinite(result.reward).all()
