"""Probe environments, each of which can fail for one reason only; the pattern is rejax's (tests/environments.py)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from flowrl.config import RunConfig
from flowrl.env.domain import Domain, Observation, Plane, Sight, Transition, Vitals
from flowrl.env.flow_env import FlowEnv, TaskAmounts
from flowrl.skillcode.functions import SkillFunctions, TaskModule
from flowrl.training.trainer import Trainer


class Seen(NamedTuple):
    """What a probe's reward may depend on: the signal before the step, the action, and the steps made."""

    signal: Any
    action: Any
    time: Any


class World(NamedTuple):
    signal: Any
    last: Seen


def probe_domain(signal_fn: Callable[[jax.Array, Any], Any], deadly: bool = False) -> Domain:
    """A world that shows a signal, drawn anew each step by ``signal_fn(key, time)``; two actions, no consequences."""

    def reset(key: jax.Array) -> World:
        zero = jnp.int32(0)
        return World(signal_fn(key, zero), Seen(jnp.float32(0), zero, zero))

    def step(key: jax.Array, world: World, action: Any) -> Transition:
        time = world.last.time + 1
        after = World(signal_fn(key, time), Seen(world.signal, action.astype(jnp.int32), time))
        return Transition(after, jnp.float32(0), jnp.bool_(deadly), jnp.zeros(1, bool))

    def observe(world: World) -> Observation:
        floats = jnp.stack([world.signal, 1.0])
        return Observation(jnp.zeros((1, 1), jnp.uint8), jnp.zeros(0, jnp.uint16), jnp.zeros(0, jnp.int8), floats)

    return Domain(
        name="Probe",
        layout="probe",
        actions=("A", "B"),
        items=(),
        achievements=("NONE",),
        view=(1, 1),
        planes=(Plane(1, "onehot"),),
        levels=0,
        floats=2,
        scalars=2,
        scalars_fn=lambda levels, floats: floats,
        creatures=("none",),
        slots=(),
        causes=("died",),
        sight=Sight(
            names=("NOTHING",),
            floors=1,
            dark=False,
            rows_fn=lambda cells: jnp.full((1, cells.shape[0]), -1),
            lit_fn=lambda cells: jnp.ones(cells.shape[0], bool),
            place_fn=lambda world: (jnp.zeros(2, jnp.int32), jnp.int32(0)),
        ),
        reset_fn=reset,
        step_fn=step,
        observe_fn=observe,
        vitals_fn=lambda world: Vitals(world.last, jnp.full(4, 9, jnp.int32), jnp.bool_(False), None, None),
        amounts_fn=lambda inventory: jnp.zeros(1, jnp.int32),
        cause_fn=lambda before, after: jnp.int32(0),
    )


def task(is_done: Callable[[Any], Any], reward: Callable[[Any], Any]) -> SkillFunctions:
    return SkillFunctions(
        lambda inventory: is_done(inventory), lambda inventory: reward(inventory), ("inventory",), ("inventory",)
    )


def probe_trainer(
    domain: Domain, tasks: list[SkillFunctions], experts: list[int], episode_steps: int = 100, **ppo: Any
) -> Trainer:
    """A small trainer of all its experts."""
    count = len(tasks)
    module = TaskModule(tuple(tasks), tuple(range(count)), tuple(experts), (None,) * count)
    amounts = TaskAmounts((1,) * count, (1,) * count, (-1,) * count)
    options = {
        "steps": 8, "epochs": 4, "minibatch_size": 128, "lr": 5e-3, "anneal": False, "entropy_coef": 0.0, "gamma": 0.9,
        "value_clip_eps": 10.0, "advantage_floor": 1e-3, "frames": 10**6, **ppo,
    }  # fmt: skip
    config = RunConfig.model_validate(
        {"env": {"worlds": 32, "fresh_worlds": 32}, "model": {"width": 16}, "ppo": options}
    )
    used = tuple(sorted(set(experts)))
    return Trainer(FlowEnv(domain, module, amounts, episode_steps), config, len(used), used)
