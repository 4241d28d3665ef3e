"""A world with what its player has seen of it, and a step of both."""

import functools
from typing import NamedTuple

import jax
from jaxtyping import Array, Bool, Int, Int8

from flowrl.env.block_memory import closest_blocks, follow, nearest_cells, nearest_creatures, remember
from flowrl.env.domain import Domain, Observation, World
from flowrl.env.explored import explore
from flowrl.env.skill_inputs import SkillInputs, skill_inputs


class PlayerState(NamedTuple):
    """A world and what its player has seen of it. All that a new episode replaces at once.

    Attributes:
        explored: the cells of the map that it has seen; None in a layout without such a map.
    """

    world: World
    seen: Observation
    memory: Int8[Array, "*B floors rows 2 slots"]
    explored: Bool[Array, "*B floors R C"] | None = None


class Moved(NamedTuple):
    """Effect of one step on the worlds of a batch, without tasks.

    Attributes:
        inputs: what skill code sees of it, [B] on every leaf.
        over: [B] the game is lost or won, and the episode with it.
        expired: [B] the game's own clock has run out.
        cause: [B] index into the domain's causes.
        achieved: [B, achievements] what has happened since the current task began.
    """

    player: PlayerState
    inputs: SkillInputs
    over: Bool[Array, "B"]
    expired: Bool[Array, "B"]
    cause: Int[Array, "B"]
    achieved: Bool[Array, "B achievements"]


def move(
    domain: Domain,
    key: jax.Array,
    player: PlayerState,
    achieved: Bool[Array, "B achievements"],
    action: Int[Array, "B"],
    n: Int[Array, "B"],
) -> Moved:
    """Step a batch of worlds; see `step_world` for the arguments."""
    keys = jax.random.split(key, n.shape[0])
    moved: Moved = jax.vmap(functools.partial(step_world, domain))(keys, player, achieved, action, n)
    return moved


def player_in(
    domain: Domain,
    world: World,
    memory: Int8[Array, "floors rows 2 slots"],
    explored: Bool[Array, "floors R C"] | None = None,
) -> PlayerState:
    """Make the player of one world. What it sees is added to what it remembers."""
    world = _settled(world)
    seen = domain.observe_fn(world)
    table = nearest_cells(domain.view)
    memory = remember(domain, table, memory, world, seen.cells)
    memory = follow(domain, memory, world, nearest_creatures(domain, table, seen.marks))
    return PlayerState(world, seen, memory, explore(domain, explored, world))


def step_world(
    domain: Domain,
    key: jax.Array,
    before: PlayerState,
    achieved: Bool[Array, "achievements"],
    action: Int[Array, ""],
    n: Int[Array, ""],
) -> Moved:
    """Step one world; the result has no axis of worlds.

    Args:
        achieved: what has happened since the task began.
        n: the amount that the task wants.
    """
    closest_before = closest_blocks(domain, before.memory, before.world)
    transition = domain.step_fn(key, before.world, action)
    player = player_in(domain, transition.world, before.memory, before.explored)
    achieved = achieved | transition.events
    inputs = skill_inputs(
        domain.vitals_fn(before.world),
        domain.vitals_fn(player.world),
        closest_before,
        closest_blocks(domain, player.memory, player.world),
        achieved,
        transition.events,
        transition.reward,
        n,
    )
    cause = domain.cause_fn(before.world, player.world)
    return Moved(player, inputs, transition.over, transition.expired, cause, achieved)


def _settled(world: World) -> World:
    """Fix every leaf's type. A weak type that a step makes strong would compile everything twice."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), world)
