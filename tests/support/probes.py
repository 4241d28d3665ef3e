"""Probe environments, each of which can fail for one reason only; the pattern is rejax's (tests/environments.py)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.config import RunConfig
from flowrl.env.domain import Domain, Observation, Plane, Sight, Transition, Vitals
from flowrl.env.flow_env import FlowEnv, TaskAmounts
from flowrl.env.observation import features
from flowrl.models.actor_critic import init_network
from flowrl.rollout.devices import SAME, WORLDS, Groups
from flowrl.skillcode.functions import SkillFunctions, TaskModule
from flowrl.training.optimizer import init_optimizer
from flowrl.training.ppo import Samples, update_experts
from flowrl.training.programs import Programs
from flowrl.training.state import TrainState
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
        return Transition(after, jnp.float32(0), jnp.bool_(deadly), jnp.bool_(False), jnp.zeros(1, bool))

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


CONSTANT = probe_domain(lambda key, time: jnp.float32(0))


COIN = probe_domain(lambda key, time: jax.random.rademacher(key, (), jnp.float32))


CLOCK = probe_domain(lambda key, time: time.astype(jnp.float32))


def train(trainer: Trainer, updates: int = 60, seed: int = 0) -> tuple[TrainState, list[Any]]:
    programs = Programs(trainer)
    state = programs.init(jax.random.PRNGKey(seed), {})
    history = []
    for _ in range(updates):
        state, stats = programs.update(state)
        history.append(jax.tree.map(np.asarray, stats))
    return state, history


def ask(trainer: Trainer, state: TrainState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (signal, probabilities, value) in the worlds as they stand."""
    observation = trainer.env.observe(state.flow)
    network, seen = trainer.network(trainer.experts), features(trainer.env.domain, observation)
    logits, value = network.apply({"params": state.params}, seen, trainer.env.expert(state.flow))
    return np.asarray(observation.floats[:, 0]), np.asarray(jax.nn.softmax(logits)), np.asarray(value)


ROUTED = [
    task(lambda seen: seen.time >= 0, lambda seen: seen.action == 0),
    task(lambda seen: seen.time >= 0, lambda seen: seen.action == 1),
]


def updated(
    trainer: Trainer, samples: Samples, groups: int, devices: int, begun: tuple[Any, Any] | None = None
) -> tuple[Any, Any, Any]:
    """Parameters, moments and losses after an update of four experts, new ones unless ``begun`` has the former two."""
    spread = Groups(groups, tuple(jax.local_devices()[: min(groups, devices)]))
    new = init_network(trainer.network(4), jax.random.PRNGKey(0))["params"]
    count = samples.value.size
    parts = jax.tree.map(lambda leaf: leaf.reshape(groups, count // groups, *leaf.shape[1:]), samples)

    def update(params: Any, optimizer: Any, samples: Samples) -> Any:
        config, key = trainer.config.ppo, jax.random.PRNGKey(1)
        domain, network = trainer.env.domain, trainer.network(1)
        return update_experts(params, optimizer, network, domain, config, samples, jnp.float32(1e-3), key, spread)

    run = jax.jit(spread.spread(update, (SAME, SAME, WORLDS), SAME))
    after: tuple[Any, Any, Any] = run(*(begun or (new, init_optimizer(new))), parts)
    return after


def made_up_samples(trainer: Trainer, count: int, experts: int) -> Samples:
    """Samples of all experts but the last, one of them with more than an even share."""
    rng = np.random.default_rng(0)
    first = trainer.env.observe(Programs(trainer).init(jax.random.PRNGKey(0), {}).flow)
    observation = jax.tree.map(lambda leaf: jnp.asarray(np.repeat(np.asarray(leaf)[:1], count, axis=0)), first)
    observation = observation._replace(floats=jnp.asarray(rng.normal(size=observation.floats.shape), jnp.float32))
    numbers = [jnp.asarray(rng.normal(size=count), jnp.float32) for _ in range(4)]
    expert = jnp.asarray(np.where(rng.random(count) < 0.6, 0, rng.integers(0, experts - 1, count)))
    action = jnp.asarray(rng.integers(0, 2, count))
    return Samples(observation, expert, jnp.ones(count, bool), action, -abs(numbers[0]), *numbers[1:])
