"""The process that records a game's transitions. Runs no skill code.

Run as `python -m flowrl.verify.behaviour.record_worker ENV FILE`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.env.block_memory import closest_blocks, empty_memory, nearest_cells, remember
from flowrl.env.domain import Domain, World
from flowrl.env.registry import domain_named
from flowrl.env.skill_inputs import inputs_at_rest, skill_inputs
from flowrl.env.symbolic_state import fluents_of
from flowrl.files import write_arrays, write_json
from flowrl.jax_runtime import check_jax_version, configure_jax
from flowrl.skillcode.functions import flat_leaves
from flowrl.verify.behaviour.farming_scripts import FarmingScript, scripts
from flowrl.verify.behaviour.recordings import Names, Recording, names_file, packed

WORLDS, STEPS = 8, 130
"""Of a batch: random play and all farming scripts share one compilation."""
RANDOM_BATCHES = 2
"""2,080 states at most; a player may die early."""
FIRST_STATES = 64


class TransitionRecorder:
    """Plays actions and records inputs of skill code."""

    def __init__(self, domain: Domain):
        self.domain = domain
        self.play = jax.jit(self._play)
        self.look = jax.jit(jax.vmap(self._look))

    def _play(self, key: jax.Array, worlds: World, actions: jax.Array) -> Any:
        """Leaves, fluents and ends of each step. [STEPS, WORLDS, ...], for actions [STEPS, WORLDS]."""
        domain, table = self.domain, nearest_cells(self.domain.view)

        def advance(key: jax.Array, world: World, memory: Any, achieved: Any, action: Any) -> Any:
            transition = domain.step_fn(key, world, action)
            after = _settled(transition.world)
            seen = remember(domain, table, memory, after, domain.observe_fn(after).cells)
            achieved = achieved | transition.events
            known = closest_blocks(domain, memory, world), closest_blocks(domain, seen, after)
            vitals = domain.vitals_fn(world), domain.vitals_fn(after)
            inputs = skill_inputs(*vitals, *known, achieved, transition.events, transition.reward, jnp.int32(1))
            ended = transition.over | transition.expired
            return (after, seen, achieved), (flat_leaves(inputs), fluents_of(domain, after), ended)

        def step(carry: Any, now: Any) -> Any:
            key, action = now
            worlds, memory, achieved = carry
            return jax.vmap(advance)(jax.random.split(key, WORLDS), worlds, memory, achieved, action)

        worlds = jax.vmap(_settled)(worlds)
        memory = jax.vmap(self._first_memory)(worlds)
        achieved = jnp.zeros((WORLDS, len(domain.achievements)), dtype=bool)
        _, rows = jax.lax.scan(step, (worlds, memory, achieved), (jax.random.split(key, STEPS), actions))
        return rows

    def _first_memory(self, world: World) -> Any:
        cells = self.domain.observe_fn(world).cells
        return remember(self.domain, nearest_cells(self.domain.view), empty_memory(self.domain), world, cells)

    def _look(self, world: World) -> Any:
        """Leaves and fluents of a world at rest."""
        world = _settled(world)
        inputs = inputs_at_rest(self.domain, world, self._first_memory(world))
        return flat_leaves(inputs), fluents_of(self.domain, world)


def _settled(world: World) -> World:
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), world)


def record(env: str) -> Recording:
    """Record all transitions of a game."""
    domain = domain_named(env)
    recorder = TransitionRecorder(domain)
    reset_fn = jax.jit(jax.vmap(domain.reset_fn))
    worlds = reset_fn(jax.random.split(jax.random.key(5), FIRST_STATES))
    pieces = [(-1, *jax.device_get(recorder.look(worlds)))]
    names: list[str] = []
    for at in range(0, RANDOM_BATCHES * WORLDS, WORLDS):
        labels = [f"random play {i}" for i in range(at, at + WORLDS)]
        _collect(pieces, names, _played_at_random(recorder, worlds, at), labels)
    first = jax.tree.map(lambda leaf: leaf[0], worlds)
    farming = list(scripts(domain, first))
    for i in range(0, len(farming), WORLDS):
        batch = farming[i : i + WORLDS]
        _collect(pieces, names, recorder.play(jax.random.key(i), *_staged(domain, batch)), [s.name for s in batch])
    facts = domain.symbols
    return Recording(
        Names(
            env=env,
            trajectories=tuple(names),
            achievements=domain.achievements,
            blocks=domain.sight.names,
            stations=dict(facts.stations),
            intrinsics=facts.intrinsics,
        ),
        leaves=_joined([leaves for _, leaves, _ in pieces]),
        fluents=_joined([fluents for _, _, fluents in pieces]),
        trajectory=np.concatenate([np.full(len(next(iter(f.values()))), i, np.int32) for i, _, f in pieces]),
    )


def _played_at_random(recorder: TransitionRecorder, worlds: World, at: int) -> Any:
    """Random play in worlds from the ``at``-th on."""
    play_key, action_key = jax.random.split(jax.random.key(6 + at))
    actions = jax.random.randint(action_key, (STEPS, WORLDS), 0, len(recorder.domain.actions))
    return recorder.play(play_key, jax.tree.map(lambda leaf: leaf[at : at + WORLDS], worlds), actions)


def _staged(domain: Domain, batch: Sequence[FarmingScript]) -> tuple[World, Any]:
    """The padded worlds and actions of scripts. And the batch with its last script."""
    padded = [*batch, *[batch[-1]] * (WORLDS - len(batch))]
    numbers = {name: i for i, name in enumerate(domain.actions)}
    actions = np.full((STEPS, WORLDS), numbers["NOOP"], np.int32)
    for column, script in enumerate(padded):
        played = [numbers[action] for action in script.actions[:STEPS]]
        actions[: len(played), column] = played
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[script.world for script in padded]), jnp.asarray(actions)


def _collect(pieces: list[Any], names: list[str], rows: Any, labels: Sequence[str]) -> None:
    """Add each world's steps as a trajectory."""
    leaves, fluents, over = jax.device_get(rows)
    for column, label in enumerate(labels):
        ends = np.flatnonzero(over[:, column])
        length = int(ends[0]) + 1 if ends.size else STEPS
        cut = [{name: value[:length, column] for name, value in each.items()} for each in (leaves, fluents)]
        pieces.append((len(names), *cut))
        names.append(label)


def _joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "n"}


def main() -> int:
    """Record one game into a file."""
    env, file = sys.argv[1], Path(sys.argv[2])
    check_jax_version()
    configure_jax(0.1)
    recording = record(env)
    write_arrays(file, packed(recording))
    write_json(names_file(file), recording.names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
