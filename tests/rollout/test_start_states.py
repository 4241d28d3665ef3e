"""Episodes that begin at snapshots, and success measured without them."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.tables.setup import plan_env, plan_trainer
from flowrl.config import RunConfig
from flowrl.env.block_memory import empty_memory
from flowrl.env.flow_env import FlowEnv, FlowState
from flowrl.env.registry import domain_named
from flowrl.env.snapshots import Snapshots, pack, players_at
from flowrl.env.staging.worlds import hold, put
from flowrl.env.symbolic_state import fluents_of
from flowrl.errors import UsageError
from flowrl.evaluation.play import play_worlds
from flowrl.evaluation.summary import amounts_to_play
from flowrl.files import pack_arrays, read_json, write_bytes
from flowrl.growing.run_setup import SkillSetUp
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from flowrl.library.versions import VersionCandidate, install, restore, shelve
from flowrl.parallel.scheduler import Proposal
from flowrl.parallel.training_setup import start_files
from flowrl.rollout import collect_states
from flowrl.rollout.collect_states import StateCollector
from flowrl.rollout.start_states import Starts, starts_at, supported
from flowrl.rollout.world_seeds import EVALUATION, world_key
from flowrl.schema.plan import Plan, PlanStep
from flowrl.schema.run import RunSpec
from flowrl.schema.skill import Quantity, SkillSpec
from flowrl.training.episode_stats import Progress
from flowrl.training.programs import Programs
from flowrl.weights import sha256
from tests.support.episodes import results
from tests.support.homes import add_skill, empty_home, weights
from tests.support.played import CLASSIC, TINY, plain
from tests.support.runs import tiny_config

ONE, EACH = Quantity(base=1), Quantity(per_n=1)


def snapshots_at(name: str, *worlds: Any) -> Snapshots:
    """The given worlds as snapshots whose players remember nothing."""
    domain = domain_named(name)
    stacked = jax.tree.map(lambda *leaves: np.stack([_plain_key(leaf) for leaf in leaves]), *worlds)
    return Snapshots(stacked, np.stack([np.asarray(empty_memory(domain))] * len(worlds)))


def _plain_key(leaf: Any) -> Any:
    """Staged worlds have keys of the new kind, those of the game the old one."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def ranged(name: str, goal: str, low: int, high: int) -> FlowEnv:
    """A plan whose last task wants ``low`` to ``high``."""
    env = plan_env(name, goal)
    amounts = env.amounts
    return dataclasses.replace(
        env, amounts=dataclasses.replace(amounts, low=(*amounts.low[:-1], low), high=(*amounts.high[:-1], high))
    )


def test_a_state_supports_the_amounts_that_its_needs_are_there_for() -> None:
    """Four sticks of wood for each thing that is made: with 9 in hand, two can be asked for."""
    env = ranged(CLASSIC, "Collect Wood", 1, 4)
    spec = SkillSpec(
        requires={"near:crafting_table": ONE}, consumes={"wood": Quantity(per_n=4)}, yields={"stone": EACH}
    )
    near = put(plain(CLASSIC), "CRAFTING_TABLE", (-1, 0))
    worlds = [
        hold(near, wood=9),
        hold(near, wood=3),
        hold(plain(CLASSIC), wood=9),
        hold(near, wood=9, stone=1),
        hold(near, wood=9, stone=2),
    ]
    min_n, max_n = supported(env, spec, snapshots_at(CLASSIC, *worlds))
    assert [(int(a), int(b)) for a, b in zip(min_n, max_n, strict=True) if a <= b] == [(1, 2), (2, 2)]
    assert list(min_n <= max_n) == [True, False, False, True, False], "nothing is asked for that is there already"


def test_only_states_on_the_floors_of_a_skill_are_used() -> None:
    env = ranged(CLASSIC, "Collect Wood", 1, 1)
    snapshots = snapshots_at(CLASSIC, plain(CLASSIC))
    for floors, holds in (((0,), True), ((1,), False), (None, True)):
        min_n, max_n = supported(env, SkillSpec(floors=floors), snapshots)
        assert bool(min_n[0] <= max_n[0]) is holds


def test_what_the_shipped_skills_need_is_found_in_staged_worlds() -> None:
    spec = load_base(CLASSIC).skill("Make Stone Pickaxe").spec
    env = plan_env(CLASSIC, "Make Stone Pickaxe")
    there = hold(put(plain(CLASSIC), "CRAFTING_TABLE", (-1, 0)), wood=1, stone=1, wood_pickaxe=1)
    elsewhere = hold(plain(CLASSIC), wood=1, stone=1, wood_pickaxe=1)
    worlds = [there, hold(there, stone=0), hold(there, stone_pickaxe=1), elsewhere]
    min_n, max_n = supported(env, spec, snapshots_at(CLASSIC, *worlds))
    assert list(min_n <= max_n) == [True, False, False, False]
    found = starts_at(env, spec, snapshots_at(CLASSIC, *worlds), 0.5)
    assert found is not None and found.min_n.shape == (1,) and int(found.players.world.inventory.stone[0]) == 1
    assert starts_at(env, spec, snapshots_at(CLASSIC, *worlds[1:]), 0.5) is None


def test_a_need_that_no_world_can_have_is_refused() -> None:
    with pytest.raises(UsageError, match=r"No fluent 'wod' in Tiny-Grid-v1\. Did you mean 'wood'"):
        supported(plan_env(TINY, "Collect Wood"), SkillSpec(consumes={"wod": ONE}), snapshots_at(TINY, plain(TINY)))


def begun(share: float, ended: Any, env: FlowEnv, worlds: int) -> tuple[FlowState, np.ndarray, FlowState]:
    """Begin episodes: batch before, which go to new worlds, batch after."""
    snapshots = snapshots_at(TINY, hold(plain(TINY), wood=2), hold(plain(TINY), wood=5))
    starts = Starts(players_at(env.domain, snapshots), jnp.array([1, 3]), jnp.array([2, 3]), jnp.float32(share))
    state = env.start(env.new_players(jax.random.split(jax.random.key(0), worlds)), jnp.full((worlds, 3), 1))
    state = state._replace(achieved=jnp.ones_like(state.achieved), steps=state.steps + 9)
    begin = jax.jit(lambda key, state, ended: starts.begin(env, key, state, ended, 4))
    new, after = begin(jax.random.key(1), state, jnp.asarray(ended))
    return state, np.asarray(new), after


def test_a_share_of_the_ended_episodes_begins_at_snapshots() -> None:
    worlds = 2000
    env = plan_env(TINY, "Make Pickaxe")
    ended = np.arange(worlds) % 2 == 0
    before, new, after = begun(0.3, ended, env, worlds)
    kept = np.asarray(after.from_snapshot)
    assert abs(kept[ended].mean() - 0.3) < 0.045, "four standard deviations"
    assert not kept[~ended].any() and (new == (ended & ~kept)).all()
    amounts, wood = np.asarray(after.amounts), np.asarray(after.player.world.inventory.wood)
    assert set(zip(wood[kept], amounts[kept, -1], strict=True)) == {(2, 1), (2, 2), (5, 3)}
    assert abs((wood[kept] == 2).mean() - 0.5) < 0.12, "every state as often as another"
    assert (np.asarray(after.task)[kept] == 2).all() and (np.asarray(after.steps)[kept] == 0).all()
    assert not np.asarray(after.achieved)[kept].any() and (np.asarray(after.started)[kept] == 4).all()
    for old, now in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(np.asarray(old)[~kept], np.asarray(now)[~kept])


def test_an_episode_after_one_from_a_kept_state_begins_in_a_new_world() -> None:
    env, worlds = plan_env(TINY, "Make Pickaxe"), 64
    _, _, state = begun(0.9, np.ones(worlds, bool), env, worlds)
    assert np.asarray(state.from_snapshot).mean() > 0.5
    fresh = env.new_players(jax.random.split(jax.random.key(5), 8))
    after = jax.jit(env.restart)(state, jnp.ones(worlds, bool), fresh, jnp.int32(0), state.amounts, 5)
    assert not np.asarray(after.from_snapshot).any() and not np.asarray(after.task).any()


IMPOSSIBLE = 3
"""Steps in which nobody makes a pickaxe out of nothing: wood, table, wood, pickaxe are four."""


def pickaxe_programs(share: float) -> Programs:
    """Training of one task that cannot be done from new worlds in time, and often is from the snapshot."""
    env = plan_env(TINY, "Make Pickaxe", IMPOSSIBLE)
    tasks = dataclasses.replace(env.tasks, skill_of_task=(2,), expert_of_task=(0,), default_amounts=(None,))
    amounts = dataclasses.replace(env.amounts, low=(1,), high=(1,), item=(-1,))
    env = dataclasses.replace(env, tasks=tasks, amounts=amounts)
    config: RunConfig = tiny_config(ppo__epochs=1)
    trainer = dataclasses.replace(plan_trainer(env, config, (0,)), experts=1)
    programs = Programs(trainer)
    snapshots = snapshots_at(TINY, hold(put(plain(TINY), "TABLE", (-1, 0)), wood=3))
    starts = starts_at(env, load_base(TINY).skill("Make Pickaxe").spec, snapshots, share)
    assert starts is not None
    programs.start_from(starts)
    return programs


@pytest.fixture(scope="module")
def half() -> Programs:
    return pickaxe_programs(0.5)


def test_success_is_counted_from_new_worlds_only(half: Programs) -> None:
    state, progress = half.init(jax.random.PRNGKey(0), {}), Progress()
    progress.begin(half.trainer.config.env.worlds)
    kept_successes = kept_episodes = new_episodes = 0
    for update in range(1, 6):
        state, stats = half.update(state)
        rows = jax.tree.map(np.asarray, stats.results)
        kept_successes += int((rows.success & rows.from_snapshot).sum())
        kept_episodes += int((rows.ended & rows.from_snapshot).sum())
        new_episodes += int((rows.ended & ~rows.from_snapshot).sum())
        progress.count(rows, update, half.trainer.env.domain.causes, 0, np.asarray(state.flow.from_snapshot))
    assert kept_successes > 300, "what begins at the table with wood in hand often has a pickaxe in time"
    recent = progress.recent(10**9)
    assert recent.step_success.successes == recent.success.successes == 0 and recent.step_success.total > 300
    started = sum(cohort.started for cohort in progress.cohorts.values())
    ended = sum(cohort.ended for cohort in progress.cohorts.values())
    assert ended == new_episodes and recent.causes["timeout"] <= ended
    under_way = int((~np.asarray(state.flow.from_snapshot)).sum())
    assert started == ended + under_way, "an episode from a snapshot counts neither as begun nor as ended"
    assert 0.4 < kept_episodes / (kept_episodes + new_episodes) < 0.6


def test_what_is_measured_begins_in_new_worlds(half: Programs) -> None:
    params = half.init(jax.random.PRNGKey(0), {}).params
    env = half.trainer.env
    flow = env.start(half.players(jax.random.PRNGKey(1)), jnp.ones((64, 1), jnp.int32))
    flow, _, rows = half.play(params, flow, jax.random.PRNGKey(2), half.fresh(jax.random.PRNGKey(3)), 1)
    assert not np.asarray(rows.from_snapshot).any() and not np.asarray(flow.from_snapshot).any()
    outcome = play_worlds(half, params, world_key(EVALUATION, 0), amounts_to_play(env, 128, 0))
    assert outcome.ended.all() and not outcome.success.any()


def test_progress_leaves_out_episodes_from_snapshots() -> None:
    """Of four that end one began at a snapshot, and so do two of those that follow."""
    progress = Progress()
    progress.begin(3)
    ended = results([0, 0, 0, 7], [False, False, True, True], [0] * 4)
    ended = ended._replace(from_snapshot=np.array([[False, False, False, True]]))
    progress.count(ended, 8, ("died",), 0, np.array([True, False, True, False]))
    first, now = progress.cohorts[0], progress.cohorts[8]
    assert (first.ended, first.succeeded, first.reached, first.causes) == (3, 1, 3, {"died": 2})
    assert now.started == 2 and progress.cohorts.keys() == {0, 8}


@functools.cache
def table_programs() -> Programs:
    env = plan_env(TINY, "Place Table", 60)
    return Programs(plan_trainer(env, tiny_config(), ()))


def harvested(tasks: int, wanted: int = 200, worlds: int = 200, key: int = 0) -> Snapshots | None:
    programs = table_programs()
    players = programs.players(jax.random.PRNGKey(0))
    params = programs.trainer.init(jax.random.PRNGKey(1), {}, players).params
    return StateCollector(programs, tasks).states(params, jax.random.PRNGKey(key), wanted, worlds)


def fluents(snapshots: Snapshots) -> dict[str, np.ndarray]:
    return jax.tree.map(
        np.asarray, jax.vmap(lambda w: fluents_of(table_programs().trainer.env.domain, w))(snapshots.world)
    )


def test_states_are_kept_from_the_step_that_does_the_task() -> None:
    """The tasks are wood, then the table: it stands ahead, has just been put there, and no other ever was."""
    before, after = harvested(1), harvested(2)
    assert before is not None and after is not None and 20 < after.size <= before.size <= 256
    wood = table_programs().trainer.env.amounts.high[0]
    assert (fluents(before)["wood"] == wood).all(), "the task ended in the step in which there was so much"
    assert (fluents(after)["near:table"] == 1).all() and (fluents(after)["wood"] >= wood - 1).all()
    assert ((np.asarray(after.world.map) == 5).sum(axis=(1, 2)) == 1).mean() > 0.9
    assert len({world.tobytes() for world in before.world.map}) > before.size / 2, "worlds of their own"


def test_no_more_states_are_kept_than_are_wanted_or_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    few, all_of_them = harvested(1, wanted=5), harvested(1)
    assert few is not None and few.size == 5 and all_of_them is not None
    domain = table_programs().trainer.env.domain
    max_bytes = len(pack_arrays(pack(domain, all_of_them))) * 2 // 3
    monkeypatch.setattr(collect_states, "MAX_BYTES", max_bytes)
    fitting = harvested(1)
    assert fitting is not None and all_of_them.size // 2 < fitting.size < all_of_them.size
    assert len(pack_arrays(pack(domain, fitting))) <= max_bytes


def test_the_same_key_gives_the_same_states_and_another_one_others() -> None:
    one, two, other = harvested(1, 50), harvested(1, 50), harvested(1, 50, key=1)
    assert one is not None and two is not None and other is not None
    assert one.world.map.tobytes() == two.world.map.tobytes() != other.world.map.tobytes()


def test_the_costly_program_is_the_same_for_every_skill() -> None:
    """So the compilation cache has it: it knows neither the tasks nor the policy, nor how many experts there are."""
    texts = set()
    for goal, episode_steps in (("Place Table", 60), ("Make Pickaxe", 100)):
        env = plan_env(TINY, goal, episode_steps)
        programs = Programs(plan_trainer(env, tiny_config(), ()))
        player = jax.eval_shape(lambda key, env=env: env.new_players(jax.random.split(key, 64)), jax.random.PRNGKey(0))
        numbers = jax.ShapeDtypeStruct((64,), jnp.int32)
        achieved = jax.ShapeDtypeStruct((64, len(env.domain.achievements)), bool)
        step = StateCollector(programs, 1)._move
        texts.add(step.lower(jax.random.PRNGKey(0), player, achieved, numbers, numbers).as_text())
    assert len(texts) == 1


def test_where_no_episode_comes_so_far_there_is_nothing_to_keep() -> None:
    programs = pickaxe_programs(0.5)
    params = programs.init(jax.random.PRNGKey(0), {}).params
    assert StateCollector(programs, 1).states(params, jax.random.PRNGKey(0), 64, 64) is None


def test_files_are_taken_of_skills_whose_plans_yield_all_that_is_needed(tmp_path: Path) -> None:
    library = empty_home(tmp_path / "home")
    for expert, (name, spec) in enumerate(
        {
            "Wood": SkillSpec(yields={"wood": EACH}),
            "Table": SkillSpec(requires={"wood": ONE}, yields={"near:table": ONE}),
            "Weak": SkillSpec(yields={"wood": ONE, "near:table": ONE}),
            "Unkept": SkillSpec(yields={"wood": ONE, "near:table": ONE}),
        }.items()
    ):
        record = add_skill(library, name, expert, spec=spec, status="weak" if name == "Weak" else "learned")
        paths = library.skill_paths(record)
        if name == "Table":
            steps = tuple(PlanStep(skill=step, n=1) for step in ("Wood", "Table"))
            paths.record.write_text(record.model_copy(update={"plan": Plan(goal=name, steps=steps)}).model_dump_json())
        if name != "Unkept":
            write_bytes(paths.start_states, name.encode())
    known, home = library.named(), library.paths.root
    assert start_files("New", SkillSpec(requires={"wood": ONE, "near:table": ONE}), known, home) == {"Table": b"Table"}
    assert start_files("New", SkillSpec(requires={"wood": ONE}), known, home) == {"Table": b"Table", "Wood": b"Wood"}
    assert start_files("Wood", SkillSpec(requires={"wood": ONE}), known, home) == {"Table": b"Table"}
    assert start_files("New", SkillSpec(), known, home) == {}, "what needs nothing begins in new worlds"


def test_start_states_go_into_the_history_with_their_version_and_come_back(tmp_path: Path) -> None:
    library = empty_home(tmp_path / "home")
    first = add_skill(library, "Wood", 0)
    paths = library.skill_paths(first)
    write_bytes(paths.start_states, b"first")
    second = first.model_copy(update={"version": 2})
    install(library, VersionCandidate(second, weights(2), "two", {}, b"second"))
    assert paths.start_states.read_bytes() == b"second"
    shelve(library, VersionCandidate(first.model_copy(update={"version": 3}), weights(3), "three", {}, b"third"))
    assert paths.start_states.read_bytes() == b"second", "what lost is put on the shelf"
    old = {path.parents[1].name: path.read_bytes() for path in paths.history.glob("*/start_states/*")}
    assert old == {"version_1": b"first", "version_3": b"third"}
    restore(library, "Wood", 1)
    assert paths.start_states.read_bytes() == b"first"
    assert read_json(paths.record, type(first)).version == 4
    install(library, VersionCandidate(first.model_copy(update={"version": 5}), weights(4), "five", {}))
    assert paths.start_states.read_bytes() == b"first", "a success stays one, and nothing is deleted"


def test_states_of_skills_that_lead_there_are_copied_into_the_run(tmp_path: Path) -> None:
    """At set-up, which imports no jax and looks into no file."""
    configured = tiny_config(model__width=8, start__source="frontier")
    library = SkillLibrary.open_for(tmp_path / "home", configured)
    base = load_base(TINY)
    record = add_skill(library, "Collect Wood", 0, status="learned", spec=base.skill("Collect Wood").spec)
    states = library.skill_paths(record).start_states
    states.parent.mkdir()
    states.write_bytes(b"states")
    run = SkillSetUp(base, library, configured)(Proposal("Place Table", frozenset({"Collect Wood"})), 1)
    digest = sha256(b"states")
    assert read_json(run.config, RunSpec).start_files == {"Collect Wood": digest}
    assert run.start_states(digest).read_bytes() == b"states"
    without = SkillSetUp(base, library, tiny_config(model__width=8))
    run = without(Proposal("Place Table", frozenset({"Collect Wood"})), 1)
    assert read_json(run.config, RunSpec).start_files == {}
