"""How cost grows with worlds, experts and tasks; few turns each, for the shape of it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from benchmarks.tables.bounds import compiled_loop, update_bound
from benchmarks.tables.environment import play_turn, spread_play, with_tasks
from benchmarks.tables.measure import Bound, Row, row, tell, time_in_turn
from benchmarks.tables.mixture import made_up_samples, sample_bytes, some_observations, step_seconds, stepper
from benchmarks.tables.processes import Measured
from benchmarks.tables.setup import GROUPS, chain_env
from flowrl.jax_runtime import configure_jax
from flowrl.rollout.devices import WORLDS, groups_of


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        tasks_trained: tasks and experts of the trainings whose worlds grow.
        batch, minibatches, width, layers: of the update step whose experts grow.
        task_worlds, steps: of the environment whose tasks grow.
    """

    name: str = "Craftax-Classic-Symbolic-v1"
    worlds: tuple[int, ...] = (64, 256, 1024, 2048)
    tasks_trained: int = 3
    settings: tuple[str, ...] = ()
    experts: tuple[int, ...] = (1, 4, 16, 64)
    batch: int = 8192
    minibatches: int = 8
    width: int = 128
    layers: int = 3
    tasks: tuple[int, ...] = (1, 8, 24)
    task_worlds: int = 256
    steps: int = 64
    turns: int = 3


def _rates(figures: Sequence[Mapping[str, Any]]) -> list[float]:
    return [each["frames"] / each["seconds"] for each in figures]


def _worlds_rows(sizes: Sizes) -> list[Row]:
    """Returns frames a second of whole trainings; new worlds grow along, and a gradient step keeps its size."""
    rows = []
    for worlds in sizes.worlds:
        tell(f"  training in {worlds} worlds")
        settings = (*sizes.settings, f"env.worlds={worlds}", f"env.fresh_worlds={max(1, worlds // 2)}")
        with Measured(
            "benchmarks.tables.training_process:training", sizes.name, sizes.tasks_trained, settings
        ) as process:
            figures = [process.ask() for _ in range(sizes.turns + 1)][1:]
        table = f"growing worlds: whole training, {sizes.tasks_trained} tasks, all learn"
        rows.append(row(table, f"{worlds:,} worlds", _rates(figures), "frames/s"))
    return rows


def _experts_rows(sizes: Sizes) -> list[Row]:
    """Returns the milliseconds of an update step, the number of samples staying the same."""
    env = chain_env(sizes.name, 1)
    tell(f"  update steps of {', '.join(map(str, sizes.experts))} experts")
    observation = some_observations(env, sizes.task_worlds, sizes.batch * sizes.minibatches)
    per_sample = sample_bytes(made_up_samples(env, observation, 1))
    shape = (env, observation, sizes.width, sizes.layers)
    made = {str(number): stepper(*shape, number, sizes.minibatches) for number in sizes.experts}
    seconds = step_seconds(made, sizes.turns)
    rows = []
    for number in sizes.experts:
        layout = (sizes.width, sizes.layers, number, sizes.batch)
        bound = update_bound(env.domain, *layout, per_sample, sizes.minibatches)
        table = f"growing experts: update step, batch {sizes.batch:,}, width {sizes.width}"
        milliseconds = [1000 * s for s in seconds[str(number)]]
        rows.append(row(table, f"{number} experts", milliseconds, "ms", bound=bound, per="step"))
    return rows


def _tasks_rows(sizes: Sizes) -> list[Row]:
    """Returns steps a second of the environment with its task layer."""
    key, worlds = jax.random.PRNGKey(0), sizes.task_worlds
    calls: dict[str, Callable[[int], Any]] = {}
    bounds: dict[int, Bound] = {}
    for number in sizes.tasks:
        tell(f"  environment with {number} tasks: compiling")
        env = chain_env(sizes.name, number)
        state, step = with_tasks(env, key, worlds)
        play = spread_play(step, len(env.domain.actions), worlds, sizes.steps)
        groups = groups_of(GROUPS)
        state = groups.place(state, WORLDS)
        program, bounds[number] = compiled_loop(play, state, key, of=worlds // len(groups.devices))
        calls[str(number)] = functools.partial(play_turn, program, state)
    seconds = time_in_turn(calls, sizes.turns)
    table = f"growing tasks: environment with the task layer, {worlds} worlds"
    return [
        row(
            table, f"{number} tasks", [worlds * sizes.steps / s for s in seconds[str(number)]], "steps/s",
            bound=bounds[number], per="step",
        )
        for number in sizes.tasks
    ]  # fmt: skip


def measure(sizes: Sizes = Sizes()) -> list[Row]:
    """Returns a row for each number of worlds, experts and tasks."""
    configure_jax(0.9, GROUPS)
    return [*_worlds_rows(sizes), *_experts_rows(sizes), *_tasks_rows(sizes)]
