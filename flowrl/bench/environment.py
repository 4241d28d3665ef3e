"""Steps a second of the environment, against stock upstream."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from craftax.craftax_env import make_craftax_env_from_name

from flowrl.bench.measure import Row, ratios, row, time_in_turn
from flowrl.bench.setup import plan_env
from flowrl.env.flow_env import FlowEnv

WORLDS, STEPS = 256, 64
NAME = "Craftax-Classic-Symbolic-v1"


def _stock(key: jax.Array) -> tuple[Any, Callable[..., Any]]:
    env = make_craftax_env_from_name(NAME, auto_reset=False)
    params = env.default_params
    _, state = jax.vmap(lambda k: env.reset_env(k, params))(jax.random.split(key, WORLDS))

    def step(state: Any, key: jax.Array, action: Any) -> tuple[Any, Any]:
        keys = jax.random.split(key, WORLDS)
        observation, state, reward, done, _ = jax.vmap(lambda k, s, a: env.step_env(k, s, a, params))(
            keys, state, action
        )
        return state, (observation.sum(), reward.sum(), done.sum())

    return jax.tree.map(jnp.asarray, state), step


def _ours(env: FlowEnv, key: jax.Array) -> tuple[Any, Callable[..., Any]]:
    domain = env.domain
    worlds = jax.vmap(domain.reset_fn)(jax.random.split(key, WORLDS))

    def step(worlds: Any, key: jax.Array, action: Any) -> tuple[Any, Any]:
        done = jax.vmap(domain.step_fn)(jax.random.split(key, WORLDS), worlds, action)
        seen = jax.vmap(domain.observe_fn)(done.world)
        return done.world, (seen.cells.sum(), seen.levels.sum(), done.reward.sum(), done.over.sum())

    return worlds, step


def _with_tasks(env: FlowEnv, key: jax.Array) -> tuple[Any, Callable[..., Any]]:
    fresh = env.new_players(jax.random.split(key, WORLDS))
    amounts = env.draw_amounts(key, WORLDS)

    def step(state: Any, key: jax.Array, action: Any) -> tuple[Any, Any]:
        state, result = env.step(key, state, action)
        state = env.restart(state, result.ended, fresh, jnp.int32(0), amounts, 0)
        seen = env.observe(state)
        return state, (seen.cells.sum(), seen.levels.sum(), result.reward.sum(), result.ended.sum())

    return env.start(fresh, amounts), step


def _random_play(step: Callable[..., Any], actions: int) -> Callable[[Any, jax.Array], Any]:
    def play(state: Any, key: jax.Array) -> Any:
        def body(state: Any, key: jax.Array) -> Any:
            act_key, step_key = jax.random.split(key)
            return step(state, step_key, jax.random.randint(act_key, (WORLDS,), 0, actions))

        return jax.lax.scan(body, state, jax.random.split(key, STEPS))

    return jax.jit(play)


def measure() -> list[Row]:
    """Returns steps a second of upstream, of our step, and of our step with the task layer, and their ratios."""
    key = jax.random.PRNGKey(0)
    env = plan_env(NAME, "Make Wood Pickaxe")
    made = {"stock": _stock(key), "ours": _ours(env, key), "tasks": _with_tasks(env, key)}
    calls = {}
    for name, (state, step) in made.items():
        play = _random_play(step, len(env.domain.actions))
        calls[name] = lambda turn, play=play, state=state: play(state, jax.random.PRNGKey(turn))
    seconds = time_in_turn(calls)
    rate = {name: [WORLDS * STEPS / s for s in values] for name, values in seconds.items()}
    table = "environment, 256 worlds"
    return [
        row(table, "stock upstream, auto_reset=False", rate["stock"], "steps/s"),
        row(table, "ours, without the task layer", rate["ours"], "steps/s"),
        row(table, "ours, with the task layer", rate["tasks"], "steps/s"),
        row(table, "without the task layer over stock", ratios(rate["ours"], rate["stock"]), "x", at_least=2.5),
        row(table, "with the task layer over stock", ratios(rate["tasks"], rate["stock"]), "x", at_least=1.6),
    ]
