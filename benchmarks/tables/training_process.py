"""What is measured of whole trainings, each function in a process of its own (see `processes.py`)."""

import importlib
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.tables.processes import Once
from benchmarks.tables.setup import GROUPS, chain_env, plan_env, plan_trainer
from flowrl.config import RunConfig, build_config
from flowrl.env.flow_env import FlowEnv, FlowState
from flowrl.jax_runtime import check_jax_results, check_jax_version, compilation_cache, configure_jax
from flowrl.rollout.devices import STEPS, WORLDS
from flowrl.training.programs import Programs
from flowrl.training.state import TrainState


def peak_memory_gib() -> float:
    """Returns the largest resident memory that this process has had, in GiB.

    On Linux `ru_maxrss` begins at what the parent held when it forked; the process's own high-water mark does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def trainee(name: str, tasks: int | str) -> tuple[FlowEnv, tuple[int, ...]]:
    """Returns the environment of so many tasks, all of whose experts learn, or of a skill's plan, whose own does."""
    if isinstance(tasks, str):
        env = plan_env(name, tasks)
        return env, (max(env.tasks.expert_of_task),)
    env = chain_env(name, tasks)
    return env, tuple(range(tasks))


def spread_over_tasks(flow: FlowState, tasks: int, seed: int) -> FlowState:
    """Returns the batch with its episodes somewhere among the tasks: new policies would all stand at the first one."""
    drawn = jax.random.randint(jax.random.PRNGKey(seed), flow.task.shape, 0, tasks, dtype=flow.task.dtype)
    return flow._replace(task=jax.device_put(drawn, flow.task.sharding))


def training(name: str, tasks: int | str, settings: Sequence[str] = ()) -> Once:
    """Returns what makes one more update as a worker makes it, everything compiled before.

    Figures: frames, seconds, resets (seconds of them that making new worlds and handing them out takes), memory (GiB).
    """
    configure_jax(0.9, GROUPS)
    env, trained = trainee(name, tasks)
    programs = Programs(plan_trainer(env, build_config(env__name=name, settings=settings), trained))
    state, _ = jax.block_until_ready(programs.update(programs.init(jax.random.PRNGKey(0), {})))
    resets = _Resets(env, programs)
    turns = iter(range(10**6))

    def once() -> dict[str, float]:
        nonlocal state
        state = state._replace(flow=spread_over_tasks(state.flow, len(env.tasks.skill_of_task), next(turns)))
        jax.block_until_ready(state)
        start = time.perf_counter()
        state, stats = jax.block_until_ready(programs.update(state))
        seconds = time.perf_counter() - start
        reset_seconds = resets.seconds(state, stats.results.ended)
        frames = programs.trainer.frames_per_update
        return {"frames": frames, "seconds": seconds, "resets": reset_seconds, "memory": peak_memory_gib()}

    return once


class _Resets:
    """Does again what an update does for the episodes that end, and that alone."""

    def __init__(self, env: FlowEnv, programs: Programs):
        self._programs = programs

        def hand_out(flow: FlowState, fresh: Any, ended: Any) -> Any:
            def body(carry: Any, now: Any) -> Any:
                flow, first = carry
                return (env.restart(flow, now, fresh, first, flow.amounts, 0), first + now.sum()), None

            (after, _), _ = jax.lax.scan(body, (flow, jnp.int32(0)), ended)
            return after

        spread = programs.groups.spread(hand_out, (WORLDS, WORLDS, STEPS), WORLDS)
        self._hand_out = jax.jit(spread)
        self._warm = False

    def seconds(self, state: TrainState, ended: Any) -> float:
        """Returns the seconds of making a rollout's new worlds and of handing them to the episodes that ended in it."""
        key = jax.random.PRNGKey(0)
        if not self._warm:
            jax.block_until_ready(self._hand_out(state.flow, self._programs.fresh(key), ended))
            self._warm = True
        start = time.perf_counter()
        fresh = jax.block_until_ready(self._programs.fresh(key))
        jax.block_until_ready(self._hand_out(state.flow, fresh, ended))
        return time.perf_counter() - start


def baseline(module: str, name: str, tasks: int, settings: Sequence[str] = ()) -> Once:
    """Returns what makes one more update of the baseline's training; figures: frames, seconds."""
    check_jax_version()
    jax.config.update("jax_compilation_cache_dir", str(compilation_cache()))
    config = build_config(env__name=name, settings=settings)
    state, update, frames = importlib.import_module(module).make(chain_env(name, tasks), config, tasks)
    state, _ = jax.block_until_ready(update(state))
    turns = iter(range(10**6))

    def once() -> dict[str, float]:
        nonlocal state
        state = state._replace(flow=spread_over_tasks(state.flow, tasks, next(turns)))
        jax.block_until_ready(state)
        start = time.perf_counter()
        state, _ = jax.block_until_ready(update(state))
        return {"frames": frames, "seconds": time.perf_counter() - start}

    return once


def first_update(name: str, tasks: int | str, settings: Sequence[str] = ()) -> Once:
    """Returns what does all that a worker does up to the end of its first update; whoever waits has the seconds."""

    def once() -> dict[str, float]:
        check_jax_version()
        configure_jax(0.9, GROUPS)
        check_jax_results()
        env, trained = trainee(name, tasks)
        programs = Programs(plan_trainer(env, build_config(env__name=name, settings=settings), trained))
        jax.block_until_ready(programs.update(programs.init(jax.random.PRNGKey(0), {})))
        return {}

    return once


def compiling(name: str, tasks: Sequence[int], settings: Sequence[str] = ()) -> Once:
    """Returns what compiles the rollout of so many tasks, anew each time; figures: seconds by number of tasks."""
    configure_jax(0.9, GROUPS)
    jax.config.update("jax_enable_compilation_cache", False)
    config = build_config(env__name=name, settings=settings)
    rollouts = {str(number): _Rollout(name, number, config) for number in tasks}
    return lambda: {number: rollout.seconds_to_compile() for number, rollout in rollouts.items()}


class _Rollout:
    """Episodes under way, played on by a program that is compiled anew each time."""

    def __init__(self, name: str, tasks: int, config: RunConfig):
        self._env, self._trained = trainee(name, tasks)
        self._config = config
        programs = Programs(plan_trainer(self._env, config, self._trained))
        state = programs.init(jax.random.PRNGKey(0), {})
        self._params, self._flow = state.params, state.flow
        self._fresh = programs.fresh(jax.random.PRNGKey(1))

    def seconds_to_compile(self) -> float:
        """Returns the seconds of a program's first call less those of its second."""
        # Another time limit is another program: nothing compiled before serves it.
        self._env = replace(self._env, episode_steps=self._env.episode_steps + 1)
        programs = Programs(plan_trainer(self._env, self._config, self._trained))
        return self._play(programs) - self._play(programs)

    def _play(self, programs: Programs) -> float:
        start = time.perf_counter()
        played = programs.play(self._params, self._flow, jax.random.PRNGKey(0), self._fresh, 1)
        self._flow, *_ = jax.block_until_ready(played)
        return time.perf_counter() - start


def rollout_bytes(name: str, tasks: int, worlds: int, steps: int) -> int:
    """Returns the bytes that a rollout keeps, every step's results included, from shapes alone."""
    settings = (f"env.worlds={worlds}", f"ppo.steps={steps}", f"env.fresh_worlds={worlds}")
    env, trained = trainee(name, tasks)
    trainer = plan_trainer(env, build_config(env__name=name, settings=settings), trained)

    def play(key: jax.Array) -> Any:
        players = trainer.env.new_players(jax.random.split(key, worlds))
        state = trainer.init(key, {}, players)
        return trainer.play(state.params, state.flow, key, players, state.update)[1:]

    kept = jax.eval_shape(play, jax.random.PRNGKey(0))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))
