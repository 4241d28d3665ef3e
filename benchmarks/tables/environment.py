"""Steps a second of the environment, against stock upstream, in both games."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from craftax.craftax_env import make_craftax_env_from_name

from benchmarks.tables.bounds import compiled_loop
from benchmarks.tables.measure import Bound, Row, ratios, row, tell, time_in_turn
from benchmarks.tables.setup import GROUPS, plan_env
from flowrl.env.flow_env import FlowEnv
from flowrl.jax_runtime import configure_jax
from flowrl.rollout.devices import SAME, STEPS, WORLDS, groups_of

Step = Callable[[Any, jax.Array, jax.Array], tuple[Any, Any]]
"""(state, key, actions) -> (state, sums of all that the step gives, so that none of it is left out)."""


@dataclass(frozen=True)
class Game:
    """A game that is measured.

    Attributes:
        at_least: how many times as fast as stock the step has to be; None: there is no stock to hold it against.
    """

    title: str
    name: str
    goal: str
    at_least: float | None


GAMES = (
    Game("Classic", "Craftax-Classic-Symbolic-v1", "Make Wood Pickaxe", 4.0),
    Game("full Craftax", "Craftax-Symbolic-v1", "Make Wood Pickaxe", 1.5),
)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    games: tuple[Game, ...] = GAMES
    worlds: int = 256
    steps: int = 64
    turns: int = 5


def _sum(tree: Any) -> jax.Array:
    return sum((leaf.sum(dtype=jnp.float32) for leaf in jax.tree.leaves(tree)), jnp.float32(0))


def _stock(name: str, key: jax.Array, worlds: int) -> tuple[Any, Step]:
    env = make_craftax_env_from_name(name, auto_reset=False)
    params = env.default_params
    _, state = jax.jit(jax.vmap(lambda k: env.reset_env(k, params)))(jax.random.split(key, worlds))

    def step(state: Any, key: jax.Array, action: jax.Array) -> tuple[Any, Any]:
        keys = jax.random.split(key, action.shape[0])
        seen, state, reward, done, _ = jax.vmap(lambda k, s, a: env.step_env(k, s, a, params))(keys, state, action)
        return state, _sum((seen, reward, done))

    return jax.tree.map(jnp.asarray, state), step


def _ours(env: FlowEnv, key: jax.Array, worlds: int) -> tuple[Any, Step]:
    domain = env.domain
    state = jax.jit(jax.vmap(domain.reset_fn))(jax.random.split(key, worlds))

    def step(state: Any, key: jax.Array, action: jax.Array) -> tuple[Any, Any]:
        done = jax.vmap(domain.step_fn)(jax.random.split(key, action.shape[0]), state, action)
        return done.world, _sum((jax.vmap(domain.observe_fn)(done.world), done.reward, done.over, done.expired))

    return state, step


def with_tasks(env: FlowEnv, key: jax.Array, worlds: int) -> tuple[Any, Step]:
    """Returns the first state and the step of episodes that work through tasks, ended ones begun anew."""
    fresh = jax.jit(env.new_players)(jax.random.split(key, worlds))

    def step(carry: Any, key: jax.Array, action: jax.Array) -> tuple[Any, Any]:
        state, fresh = carry
        state, result = env.step(key, state, action)
        state = env.restart(state, result.ended, fresh, jnp.int32(0), state.amounts, 0)
        return (state, fresh), _sum((env.observe(state), result.reward, result.ended))

    return (env.start(fresh, env.draw_amounts(key, worlds)), fresh), step


def random_play(step: Step, actions: int, worlds: int, steps: int) -> Callable[[Any, jax.Array], Any]:
    """Returns a function that plays so many steps of random actions."""

    def play(state: Any, key: jax.Array) -> Any:
        def body(state: Any, key: jax.Array) -> Any:
            act_key, step_key = jax.random.split(key)
            return step(state, step_key, jax.random.randint(act_key, (worlds,), 0, actions))

        return jax.lax.scan(body, state, jax.random.split(key, steps))

    return play


def spread_play(step: Step, actions: int, worlds: int, steps: int) -> Any:
    """Returns the same, compiled for the local devices, each of which plays its part of the worlds."""
    groups = groups_of(GROUPS)
    play = random_play(step, actions, worlds // len(groups.devices), steps)

    def part(state: Any, key: jax.Array) -> Any:
        state, sums = play(state, jax.random.fold_in(key, groups.numbers()[0]))
        return state, sums[:, None]

    spread = groups.spread(part, (WORLDS, SAME), (WORLDS, STEPS))
    return jax.jit(spread)


def play_turn(play_fn: Callable[[Any, jax.Array], Any], state: Any, turn: int) -> Any:
    """Plays once more from the same state, with other actions."""
    return play_fn(state, jax.random.PRNGKey(turn))


def _measure_game(game: Game, sizes: Sizes) -> list[Row]:
    key, worlds = jax.random.PRNGKey(0), sizes.worlds
    configure_jax(0.9, GROUPS)
    env = plan_env(game.name, game.goal)
    actions = len(env.domain.actions)
    made = {"ours": _ours(env, key, worlds), "tasks": with_tasks(env, key, worlds)}
    if game.at_least is not None:
        made["stock"] = _stock(game.name, key, worlds)
    calls: dict[str, Callable[[int], Any]] = {}
    bounds: dict[str, Bound] = {}
    devices = len(groups_of(GROUPS).devices)
    for name, (state, step) in made.items():
        tell(f"  {game.title}, {name}: compiling")
        alone = name == "stock"
        play = (
            jax.jit(random_play(step, actions, worlds, sizes.steps))
            if alone
            else spread_play(step, actions, worlds, sizes.steps)
        )
        state = state if alone else groups_of(GROUPS).place(state, WORLDS)
        program, bounds[name] = compiled_loop(play, state, key, of=worlds // (1 if alone else devices))
        calls[name] = functools.partial(play_turn, program, state)
    tell(f"  {game.title}: {sizes.turns} turns of {worlds * sizes.steps:,} steps each")
    seconds = time_in_turn(calls, sizes.turns)
    rate = {name: [worlds * sizes.steps / s for s in values] for name, values in seconds.items()}
    return _rows(game, worlds, rate, bounds)


def _rows(game: Game, worlds: int, rate: dict[str, list[float]], bounds: dict[str, Bound]) -> list[Row]:
    table = f"environment, {game.title}, {worlds} worlds"
    labels = {
        "stock": "stock upstream, auto_reset=False",
        "ours": "ours, without the task layer",
        "tasks": "ours, with the task layer",
    }
    rows = [
        row(table, label, rate[name], "steps/s", bound=bounds[name], per="step")
        for name, label in labels.items()
        if name in rate
    ]
    if "stock" in rate:
        over = ratios(rate["ours"], rate["stock"])
        rows.append(row(table, "without the task layer over stock", over, "x", at_least=game.at_least))
    share = ratios(rate["tasks"], rate["ours"])
    return [*rows, row(table, "with the task layer over without", share, "x", at_least=0.6)]


def measure(sizes: Sizes = Sizes()) -> list[Row]:
    """Returns steps a second of upstream, of our step, and of our step with the task layer, and their ratios."""
    return [found for game in sizes.games for found in _measure_game(game, sizes)]
