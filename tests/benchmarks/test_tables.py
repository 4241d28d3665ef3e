"""`flowrl bench`: every table makes its rows, whatever is missed or missing is told, processes take turns."""

import importlib
import json
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from benchmarks.tables import TABLES, __main__, environment, growth, learning, mixture, training
from benchmarks.tables.measure import Bound, Row, row
from benchmarks.tables.processes import Measured, measured_once
from benchmarks.tables.setup import chain_env
from benchmarks.tables.show import bench_table
from benchmarks.tables.training_process import rollout_bytes
from flowrl.cli.main import app, bench
from flowrl.errors import TrainingError, UsageError
from tests.support.runs import TINY

FIELDS = {
    "table", "name", "value", "unit", "at_least", "at_most", "ok", "spread", "bytes_moved", "operations", "per",
}  # fmt: skip
SMALL = (
    "env.worlds=16", "env.fresh_worlds=8", "env.episode_steps=20", "model.width=8", "model.layers=2", "ppo.steps=8",
    "ppo.minibatch_size=32", "ppo.min_gradient_steps=1",
)  # fmt: skip
FAKE_BASELINE = """
import jax, jax.numpy as jnp
from flowrl.training.programs import Programs
from benchmarks.tables.setup import plan_trainer

def make(env, config, experts):
    programs = Programs(plan_trainer(env, config, tuple(range(experts))))
    frames = programs.trainer.frames_per_update
    return programs.init(jax.random.PRNGKey(0), {}), programs.update, frames
"""


def names(rows: list[Row]) -> set[str]:
    assert all(set(found.model_dump()) == FIELDS and np.isfinite(found.value) for found in rows)
    for found in rows:
        above = found.at_least is None or found.value >= found.at_least
        below = found.at_most is None or found.value <= found.at_most
        assert found.ok == (above and below), found.name
    return {found.name for found in rows}


def test_the_environments_table() -> None:
    game = environment.Game("tiny", TINY, "Make Pickaxe", None)
    rows = environment.measure(environment.Sizes(games=(game,), worlds=4, steps=3, turns=2))
    assert names(rows) == {
        "ours, without the task layer",
        "ours, with the task layer",
        "with the task layer over without",
    }
    assert all(found.bytes_moved and found.operations for found in rows if found.unit == "steps/s")
    assert rows[-1].at_least == 0.6 and rows[-1].ok == (rows[-1].value >= 0.6)


def test_the_mixtures_table() -> None:
    sizes = mixture.Sizes(name=TINY, experts=3, batch=64, width=8, layers=2, worlds=4, turns=2)
    rows = {found.name: found for found in mixture.measure(sizes)}
    assert names(list(rows.values())) >= {"3 experts grouped over one", "all computed and masked over grouped"}
    assert rows["3 experts grouped over one"].at_most == 1.5
    assert rows["all computed and masked over grouped"].at_least == 15
    assert rows["experts allocated for {0, 2, 7}"].value == 3
    one, three = rows["one expert"].bytes_moved, rows["3 experts, grouped"].bytes_moved
    assert one is not None and three is not None and one < three < 3 * one


@pytest.mark.parametrize("worlds", [(), pytest.param((16,), marks=[pytest.mark.slow, pytest.mark.bench])])
def test_the_table_of_growth(worlds: tuple[int, ...]) -> None:
    sizes = growth.Sizes(
        name=TINY, worlds=worlds, tasks_trained=2, settings=SMALL, experts=(1, 2), batch=64, width=8, layers=2,
        tasks=(2,), task_worlds=4, steps=3, turns=1,
    )  # fmt: skip
    rows = growth.measure(sizes)
    assert names(rows) == {"1 experts", "2 experts", "2 tasks"} | {f"{number} worlds" for number in worlds}


def test_the_memory_rows_of_the_training_table() -> None:
    rows = training.memory_rows(training.Sizes(name=TINY, tasks=2, full=TINY, full_rollout=(16, 4)))
    assert [(found.unit, found.at_most) for found in rows] == [
        ("bytes a frame", 256),
        ("bytes a frame", 768),
        ("MB", 60),
    ]
    assert rows[2].value == pytest.approx(rows[1].value * 64 / 1e6, abs=1e-4)


@pytest.mark.slow
@pytest.mark.bench
def test_the_table_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake_baseline.py").write_text(FAKE_BASELINE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    sizes = training.Sizes(
        name=TINY, tasks=3, fewer_tasks=2, goal="Place Table", full=TINY, full_rollout=(16, 4), settings=SMALL,
        turns=1, starts=1, baseline="fake_baseline",
    )  # fmt: skip
    rows = training.measure(sizes)
    assert names(rows) >= {
        "flowrl over the baseline (aim 15)",
        "of it resets: new worlds made and handed out",
        "3 tasks over 2",
        "second run of the same shape",
        "peak memory",
        "flowrl --help",
    }
    limits = {found.name: (found.at_least, found.at_most) for found in rows}
    assert limits["flowrl over the baseline (aim 15)"] == (8, None)
    assert limits["of it resets: new worlds made and handed out"] == (None, 5)
    assert limits["3 tasks over 2"] == (None, 1.5)


def test_the_bytes_of_a_rollout_grow_with_its_frames() -> None:
    assert rollout_bytes(TINY, 2, 32, 8) == 2 * rollout_bytes(TINY, 2, 16, 8)
    assert 1.8 * rollout_bytes(TINY, 2, 16, 8) < rollout_bytes(TINY, 2, 16, 16) < 2 * rollout_bytes(TINY, 2, 16, 8)


def test_the_table_of_learning_reads_when_each_run_was_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "fake_grow.py"
    program.write_text(
        textwrap.dedent("""
        from flowrl.config import build_config
        from flowrl.files import append_line, write_json
        from flowrl.schema.metrics import CompiledRow
        from flowrl.schema.plan import Plan
        from flowrl.schema.run import RunSpec, TaskSpec
        from flowrl.stats import Share
        from tests.support.runs import update_row

        def grow(home, seed, skills, settings):
            assert (skills, settings) == (1, ["--set", "ppo.lr=1e-3"])
            folder = home / "training_runs" / "skill_0_Wood"
            spec = RunSpec(skill="Wood", config=build_config(), tasks=(TaskSpec(skill="Wood", low=1, high=1),),
                           local_to_global=(0,), trained=(0,), own=0, plan=Plan(goal="Wood", steps=()))
            write_json(folder / "run.json", spec)
            rows = [CompiledRow(seconds=7.0)]
            for i, share in enumerate((Share(successes=0, total=0), Share(successes=1, total=2),
                                       Share(successes=81, total=100), Share(successes=9, total=10))):
                rows.append(update_row(100 * (i + 1 + seed), share, seconds=10.0 * (i + 1)))
            for row in rows:
                append_line(folder / "metrics.jsonl", row)
            return [], 1.5, True
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    sizes = learning.Sizes(seeds=3, skills=1, program="fake_grow", settings=("--set", "ppo.lr=1e-3"))
    rows = {found.name: found for found in learning.measure(sizes)}
    assert rows["Wood: to a success of 80 % in training, frames"].value == 400
    assert rows["Wood: to a success of 80 % in training, frames"].spread == (300, 500)
    assert rows["Wood: to a success of 80 % in training, seconds"].value == 23
    assert rows["Wood: to a success of 80 % in training, seeds that reach it"].ok
    assert learning.measure(sizes, slow=False) == []


def test_every_table_has_a_module_and_stands_in_the_help() -> None:
    (argument,) = get_type_hints(bench, include_extras=True)["table"].__metadata__
    assert re.split(r", (?:or )?", argument.help.rstrip(".")) == [*TABLES, "all"]
    assert all((Path(__main__.__file__).parent / f"{path.split('.')[-1]}.py").exists() for path in TABLES.values())


def test_an_unknown_table_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tables", "speed"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "No table 'speed'" in done.stderr and not done.stdout


def _main(monkeypatch: pytest.MonkeyPatch, rows: dict[str, list[Row]], *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    monkeypatch.setattr(__main__, "measure", lambda name, slow: [found.model_dump() for found in rows[name]])
    return __main__.main()


def test_a_missed_target_gives_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    met, missed = row("t", "met", [2.0], "x", at_least=2), row("t", "missed", [2.0], "x", at_most=1.9)
    assert _main(monkeypatch, {"env": [met]}, "env") == 0
    capsys.readouterr()
    assert _main(monkeypatch, {"env": [met, missed]}, "env") == 1
    assert [found["ok"] for found in json.loads(capsys.readouterr().out)] == [True, False]


def test_a_table_that_fails_does_not_take_the_others_along(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> "subprocess.CompletedProcess[bytes]":
        commands.append(command)
        fails = "moe" in command
        out = b"" if fails else json.dumps([row("t", command[4], [1.0], "x").model_dump()]).encode()
        return subprocess.CompletedProcess(command, 1 if fails else 0, out)

    monkeypatch.setattr(subprocess, "run", run)
    tables = list(__main__.measure_apart(list(TABLES), slow=False))
    assert [[found["name"] for found in rows] for rows in tables] == [
        [] if name == "moe" else [name] for name in TABLES if name != "learn"
    ]
    assert all("--quick" in command for command in commands)
    list(__main__.measure_apart(["learn"], slow=True))
    assert commands[-1][-2:] == ["learn", "--slow"]
    monkeypatch.setattr(sys, "argv", ["bench", "all"])
    capsys.readouterr()
    assert __main__.main() == 1
    assert [len(json.loads(line)) for line in capsys.readouterr().out.splitlines()] == [
        0 if name == "moe" else 1 for name in TABLES if name != "learn"
    ]


def test_the_command_prints_each_table_or_all_rows_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [[row("one", "first", [1.0], "x")], [], [row("two", "second", [2.0], "x")]]
    dumped = [[found.model_dump() for found in rows] for rows in tables]
    lines = [json.dumps(rows) for rows in dumped]
    started = subprocess.Popen
    commands: list[list[str]] = []

    def popen(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        commands.append(command)
        script = f"import sys; print({chr(10).join(lines)!r}); sys.exit(1)"
        return started([sys.executable, "-c", script], **options)

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", popen)
        done = CliRunner().invoke(app, ["bench", "all", "--json"])
        assert done.exit_code == 1 and [found["name"] for found in json.loads(done.output)] == ["first", "second"]
        CliRunner().invoke(app, ["bench", "all"])
    assert ["--text" in command for command in commands] == [False, True]
    monkeypatch.setattr(__main__, "measure_apart", lambda names, slow: iter(dumped))
    monkeypatch.setattr(sys, "argv", ["bench", "all", "--text"])
    capsys.readouterr()
    assert __main__.main() == 1
    shown = capsys.readouterr().out
    assert shown.count("target") == 2, "nothing of the table that failed"
    assert shown.index("first") < shown.index("second")


def test_an_interrupted_bench_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flowrl", "bench", "all"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    while b"measuring plan" not in process.stderr.readline():
        assert process.poll() is None
    below: list[psutil.Process] = []
    while len(below) < 2:
        below = psutil.Process(process.pid).children(recursive=True)
    time.sleep(1)  # Python's own start is over
    process.terminate()
    process.wait(timeout=30)
    assert not psutil.wait_procs(below, timeout=10)[1]


def test_a_bound_stands_in_the_printed_table() -> None:
    found = row("t", "step", [3.0], "ms", bound=Bound(1_234_000, 5_600_000_000), per="step")
    columns = bench_table([found.model_dump()]).columns
    assert list(columns[-1].cells)[-1] == "1.23 MB, 5.6 G a step"


def turns_of(name: str) -> Any:
    counted = iter(range(10))

    def once() -> Mapping[str, Any]:
        print("what is printed is no answer")
        return {"name": name, "turn": next(counted)}

    return once


def test_processes_take_turns() -> None:
    with (
        Measured("tests.benchmarks.test_tables:turns_of", "a") as first,
        Measured("tests.benchmarks.test_tables:turns_of", "b") as second,
    ):
        asked = [process.ask() for _ in range(2) for process in (first, second)]
    assert [(each["name"], each["turn"]) for each in asked] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert first._process.poll() is not None


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(TrainingError, match=r"tests.benchmarks.test_tables:nothing ended with exit code 1"):
        measured_once("tests.benchmarks.test_tables:nothing")


def test_a_chain_gives_each_task_its_own_expert() -> None:
    env = chain_env(TINY, 4)
    assert env.tasks.expert_of_task == (0, 1, 2, 3)
    with pytest.raises(UsageError, match="no 99 tasks"):
        chain_env(TINY, 99)


@pytest.fixture(scope="module")
def baseline() -> Any:
    return importlib.import_module("benchmarks.baseline")


def test_ended_worlds_go_on_in_distinct_new_ones_while_there_are_enough(baseline: Any) -> None:
    ended = jnp.zeros(32, dtype=bool).at[jnp.array([3, 9, 20])].set(True)
    source = np.asarray(baseline.reset_source(ended, 4))
    assert len(set(source[[3, 9, 20]])) == 3
    crowded = np.asarray(baseline.reset_source(jnp.ones(32, dtype=bool), 4))
    assert np.bincount(crowded).tolist() == [8, 8, 8, 8]


def test_an_optimistic_reset_changes_ended_worlds_alone(baseline: Any) -> None:
    env = chain_env(TINY, 2)
    players = jax.jit(env.new_players)(jax.random.split(jax.random.PRNGKey(0), 32))
    state = env.start(players, env.draw_amounts(jax.random.PRNGKey(1), 32))
    state = state._replace(task=jnp.ones(32, dtype=jnp.int32), steps=jnp.arange(32, dtype=jnp.int32) + 1)
    ended = jnp.arange(32) % 16 == 5
    reset = jax.jit(lambda key, state, ended: baseline.optimistic_reset(env, key, state, ended, jnp.int32(7)))
    after = reset(jax.random.PRNGKey(2), state, ended)
    assert (np.asarray(after.task) == np.where(ended, 0, 1)).all()
    assert (np.asarray(after.started) == np.where(ended, 7, 0)).all()
    worlds, before = (np.asarray(s.player.world.map).reshape(32, -1) for s in (after, state))
    assert (worlds[~ended] == before[~ended]).all()
    assert (worlds[ended] != before[ended]).any(axis=1).all() and (worlds[5] != worlds[21]).any()


def test_masked_experts_answer_as_each_alone(baseline: Any) -> None:
    network = baseline.Expert(actions=5, width=8, layers=3)
    keys = jax.random.split(jax.random.PRNGKey(0), 4)
    seen = jax.random.normal(jax.random.PRNGKey(1), (20, 6))
    params = jax.vmap(lambda key: network.init(key, seen)["params"])(keys)
    expert = jnp.arange(20) % 4
    logits, value = baseline.masked_experts(network, params, seen, expert)
    for i in range(20):
        own = jax.tree.map(lambda leaf, i=i: leaf[i % 4], params)
        alone_logits, alone_value = network.apply({"params": own}, seen[i : i + 1])
        np.testing.assert_allclose(logits[i], alone_logits[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(value[i], alone_value[0], rtol=1e-5, atol=1e-6)


def test_a_rollout_takes_little_memory() -> None:
    """Everything counted, every step's results included."""
    rows = {found.name: found for found in training.memory_rows(training.Sizes(tasks=3))}
    assert rows["Craftax-Classic-Symbolic-v1"].value <= 256
    assert rows["Craftax-Symbolic-v1"].value <= 768
    assert rows["Craftax-Symbolic-v1, 1,024 worlds x 64 steps"].value < 60
    assert all(found.ok for found in rows.values())


def test_the_benchs_masked_step_is_the_grouped_one() -> None:
    env = chain_env(TINY, 1)
    observation = mixture.some_observations(env, 8, 64)
    grouped = mixture.stepper(env, observation, 8, 3, 4, 1)
    masked = mixture.stepper(env, observation, 8, 3, 4, 1, mixture.masked_step)
    losses = [step(0) for step in (grouped, masked)]
    assert losses[0].policy == pytest.approx(float(losses[1].policy), rel=1e-4)
    moments = [step._optimizer.mu for step in (grouped, masked)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), *moments)
    assert all(float(abs(leaf).max()) > 0 for leaf in jax.tree.leaves(moments[0]))


def test_the_baseline_advantages_stop_at_the_end_of_a_task(baseline: Any) -> None:
    from flowrl.config import build_config

    config = build_config(settings=("ppo.gamma=0.5", "ppo.gae_lambda=1"))
    zeros = jnp.zeros((3, 1))
    kept = baseline.Batch(
        observation=zeros, expert=zeros, action=zeros, log_prob=zeros, value=zeros,
        reward=jnp.array([[0.0], [1.0], [0.0]]), done=jnp.array([[False], [True], [False]]),
    )  # fmt: skip
    found, target = baseline.advantages(kept, jnp.array([8.0]), config)
    np.testing.assert_allclose(found[:, 0], [0.5, 1.0, 4.0])
    np.testing.assert_allclose(target, found)


@pytest.mark.slow
@pytest.mark.bench
def test_the_baseline_steps_as_upstream_and_tells_repeated_events(baseline: Any) -> None:
    env = chain_env(baseline.NAME, 1)
    stock = baseline.stock(env)
    world = stock.domain.reset_fn(jax.random.PRNGKey(0))
    world = world.replace(achievements=jnp.ones_like(world.achievements), player_energy=5)
    index = env.domain.achievements.index("WAKE_UP")
    asleep = world.replace(is_sleeping=jnp.bool_(True), player_energy=jnp.int32(9), light_level=jnp.float32(1))
    ours, theirs = (jax.jit(e.domain.step_fn)(jax.random.PRNGKey(1), asleep, jnp.int32(0)) for e in (env, stock))
    assert bool(theirs.events[index]) and (theirs.events == ours.events).all()
    np.testing.assert_allclose(theirs.reward, ours.reward)
    assert theirs.world.achievements.all()
