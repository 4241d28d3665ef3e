"""Practice: episodes that begin where others of the run began one of its later tasks."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.tables.setup import plan_env, plan_trainer
from flowrl.env.flow_env import FlowEnv, FlowState
from flowrl.paths import RunPaths
from flowrl.rollout.start_ring import Practice, StartRing, empty_ring
from flowrl.training.checkpoints import load_newest, save_checkpoint
from flowrl.training.episode_stats import Progress
from flowrl.training.programs import Programs
from tests.support.played import TINY
from tests.support.runs import tiny_config

WORLDS, PLACES = 8, 3


@functools.cache
def pickaxe() -> FlowEnv:
    """Wood, table, wood, pickaxe in the tiny game."""
    return plan_env(TINY, "Make Pickaxe")


def batch(
    env: FlowEnv, task: list[int], task_steps: list[int], from_snapshot: Sequence[int] = (), wood: int = 0
) -> FlowState:
    state = env.start(env.new_players(jax.random.split(jax.random.key(0), WORLDS)), amounts_of(env, wood))
    kept = np.isin(np.arange(WORLDS), list(from_snapshot))
    return state._replace(
        task=jnp.asarray(task, jnp.int32),
        task_steps=jnp.asarray(task_steps, jnp.int32),
        from_snapshot=jnp.asarray(kept),
    )


def amounts_of(env: FlowEnv, first: int) -> jax.Array:
    """Amounts that tell the worlds apart, and this call from others."""
    return jnp.asarray([[first, *[world] * (env.plan_tasks - 1)] for world in range(WORLDS)], jnp.int32)


def noted(ring: StartRing, task: int) -> list[tuple[int, int]]:
    rows = np.asarray(ring.amounts)[task * PLACES : (task + 1) * PLACES]
    return [(int(row[0]), int(row[1])) for row in rows[: int(ring.noted[task])]]


def test_the_newest_beginnings_of_each_later_task_are_kept() -> None:
    env = pickaxe()
    assert env.plan_tasks == 3
    state = batch(env, [0, 1, 1, 1, 2, 2, 1, 1], [0, 4, 5, 0, 3, 9, 1, 2], from_snapshot=[3], wood=7)
    ring = empty_ring(env, state, PLACES, 1).note(state, 5)
    assert ring.noted.tolist() == [0, 3, 1], "no first task, none that began long ago, none that practises itself"
    assert noted(ring, 1) == [(7, 1), (7, 6), (7, 7)] and noted(ring, 2) == [(7, 4)]
    for leaf, kept in zip(jax.tree.leaves(state.player), jax.tree.leaves(ring.player), strict=True):
        np.testing.assert_array_equal(np.asarray(leaf)[4], np.asarray(kept)[2 * PLACES])
    ring = ring.note(batch(env, [2] * 8, [0] * 8, wood=8), 5)
    assert ring.noted.tolist() == [0, 3, 1 + PLACES], "of more than there are places only the first are taken"
    assert sorted(noted(ring, 2)) == [(8, 0), (8, 1), (8, 2)], "and the oldest made room"


def begun(weights: list[float], share: float, ended: Any, worlds: int = 3000) -> tuple[np.ndarray, FlowState]:
    """Begin episodes of a batch at a ring with two states of the second task and one of the third."""
    env = pickaxe()
    held = batch(env, [1, 1, 2, 0, 0, 0, 0, 0], [0] * 8, wood=5)
    held = held._replace(achieved=held.achieved.at[2].set(True))
    ring = empty_ring(env, held, PLACES, 1).note(held, 5)
    state = env.start(env.new_players(jax.random.split(jax.random.key(1), worlds)), jnp.ones((worlds, 3), jnp.int32))
    practice = Practice(ring, jnp.asarray(weights), jnp.float32(share))
    new, after = jax.jit(lambda key, ended: practice.begin(env, key, state, ended, 4))(jax.random.key(2), ended)
    return np.asarray(new), after


def test_a_share_of_the_ended_episodes_begins_there_by_weight() -> None:
    ended = np.arange(3000) % 2 == 0
    new, after = begun([5.0, 1.0, 3.0], 0.4, jnp.asarray(ended))
    kept, task, amounts = (np.asarray(leaf) for leaf in (after.from_snapshot, after.task, after.amounts))
    assert not kept[~ended].any() and (new == (ended & ~kept)).all()
    assert abs(kept[ended].mean() - 0.4) < 0.05, "four standard deviations"
    assert set(task[kept]) == {1, 2}, "of the first task nothing is kept, whatever its weight"
    assert abs((task[kept] == 2).mean() - 0.75) < 0.08
    assert set(amounts[kept & (task == 1), 1]) == {0, 1} and set(amounts[kept & (task == 2), 1]) == {2}
    achieved = np.asarray(after.achieved)
    assert achieved[kept & (task == 2)].all() and not achieved[kept & (task == 1)].any(), "as it was there"
    assert (np.asarray(after.started)[kept] == 4).all() and (np.asarray(after.steps)[kept] == 0).all()


def test_without_states_or_a_share_every_episode_begins_in_a_new_world() -> None:
    everyone = jnp.ones(3000, bool)
    for weights, share in ([1.0, 1.0, 1.0], 0.0), ([1.0, 0.0, 0.0], 0.9):
        new, after = begun(weights, share, everyone)
        assert new.all() and not np.asarray(after.from_snapshot).any()


def practising(devices: int) -> Programs:
    config = tiny_config(start__source="ring", start__ring=4, env__episode_steps=40, ppo__credit="plan")
    return Programs(plan_trainer(pickaxe(), config, (0, 1, 2)), jax.local_devices()[:devices])


def updated(programs: Programs, state: Any, updates: int) -> Any:
    for _ in range(updates):
        programs.draw_starts([0.0, 1.0, 1.0], 0.5)
        state, _ = programs.update(state)
    return state


def bits(state: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def test_practice_is_the_same_on_any_devices_and_after_a_restart(tmp_path: Path) -> None:
    one, two = practising(1), practising(2)
    first = updated(one, one.init(jax.random.PRNGKey(0), {}), 3)
    assert int(first.ring.noted.sum()) > 0
    paths = RunPaths(tmp_path, 0)
    save_checkpoint(paths, 3, first, Progress())
    whole = updated(one, first, 3)
    assert bits(whole) == bits(updated(two, two.init(jax.random.PRNGKey(0), {}), 6))
    restored = load_newest(paths, one.trainer.state_shape({}))
    assert restored is not None
    again = practising(2)
    assert bits(updated(again, restored[0], 3)) == bits(whole)
    assert np.asarray(whole.flow.from_snapshot).any(), "some practise"


def test_what_is_measured_begins_in_new_worlds() -> None:
    programs = practising(2)
    state = updated(programs, programs.init(jax.random.PRNGKey(0), {}), 4)
    flow = pickaxe().start(programs.players(jax.random.PRNGKey(1)), jnp.ones((64, 3), jnp.int32))
    fresh = programs.fresh(jax.random.PRNGKey(2))
    for _ in range(3):
        flow, _, results = programs.play(state.params, flow, jax.random.PRNGKey(3), fresh, 1)
        assert not np.asarray(results.from_snapshot).any()
    assert np.asarray(flow.started).any(), "episodes did end and begin anew"


@pytest.mark.parametrize("source", ["new", "frontier"])
def test_other_runs_have_no_ring(source: str) -> None:
    trainer = plan_trainer(pickaxe(), tiny_config(start__source=source), (0, 1, 2))
    assert trainer.state_shape({}).ring is None
