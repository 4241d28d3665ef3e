"""The arguments of skill code. `python -m flowrl.env.skill_inputs ENV` prints those of a game as JSON."""

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flowrl.env.block_memory import closest_blocks, empty_memory
from flowrl.env.domain import Domain, Vitals, World
from flowrl.env.registry import domain_named
from flowrl.skillcode.functions import flat_leaves
from flowrl.skillcode.inputs import GameSignature


class SkillInputs(NamedTuple):
    """One field for each name of `SKILL_INPUTS`."""

    inventory: Any
    inventory_diff: Any
    closest_blocks: Int[Array, "*B types 2 slots"]
    closest_blocks_prev: Int[Array, "*B types 2 slots"]
    player_intrinsics: Int[Array, "*B intrinsics"]
    player_intrinsics_diff: Int[Array, "*B intrinsics"]
    intrinsics_diff: Int[Array, "*B intrinsics"]
    achievements: Int[Array, "*B achievements"]
    achievements_diff: Int[Array, "*B achievements"]
    player_level: Int[Array, "*B"] | None
    player_level_diff: Int[Array, "*B"] | None
    monsters_killed: Int[Array, "*B floors"] | None
    monsters_killed_diff: Int[Array, "*B floors"] | None
    health_penalty: Float[Array, "*B"]
    env_reward: Float[Array, "*B"]
    n: Int[Array, "*B"]


def health_penalty(before: Vitals, after: Vitals) -> Float[Array, ""]:
    """0.1 x the change of health and of food, drink, energy together. Lava costs the health before."""
    change = (after.intrinsics - before.intrinsics).astype(jnp.float32)
    lava = jnp.where(after.in_lava, before.intrinsics[0], 0)
    return 0.1 * change[0] - lava + 0.1 * change[1:4].sum()


def _difference(after: Any, before: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.asarray(a, jnp.result_type(a, jnp.int32)) - b, after, before)


def skill_inputs(
    before: Vitals,
    after: Vitals,
    closest_before: Array,
    closest_after: Array,
    achieved: Bool[Array, "achievements"],
    events: Bool[Array, "achievements"],
    env_reward: Array,
    n: Array,
) -> SkillInputs:
    """Compute one transition's arguments. ``achieved`` counts from the start of the task."""
    intrinsics_diff = after.intrinsics - before.intrinsics
    return SkillInputs(
        inventory=after.inventory,
        inventory_diff=_difference(after.inventory, before.inventory),
        closest_blocks=closest_after,
        closest_blocks_prev=closest_before,
        player_intrinsics=after.intrinsics,
        player_intrinsics_diff=intrinsics_diff,
        intrinsics_diff=intrinsics_diff,
        achievements=achieved.astype(jnp.int32),
        achievements_diff=events.astype(jnp.int32),
        player_level=after.player_level,
        player_level_diff=_difference(after.player_level, before.player_level),
        monsters_killed=after.monsters_killed,
        monsters_killed_diff=_difference(after.monsters_killed, before.monsters_killed),
        health_penalty=health_penalty(before, after),
        env_reward=env_reward,
        n=n,
    )


def inputs_at_rest(domain: Domain, world: World, memory: Array, n: int = 1) -> SkillInputs:
    """The arguments in a world in which nothing has happened yet."""
    vitals, closest = domain.vitals_fn(world), closest_blocks(domain, memory, world)
    nothing = jnp.zeros(len(domain.achievements), dtype=bool)
    return skill_inputs(vitals, vitals, closest, closest, nothing, nothing, jnp.float32(0), jnp.int32(n))


def leaf_shapes(domain: Domain) -> dict[str, Any]:
    """Shape and type of each argument in a batch of one."""

    def first(key: jax.Array) -> dict[str, Any]:
        return flat_leaves(inputs_at_rest(domain, domain.reset_fn(key), empty_memory(domain)))

    return jax.eval_shape(jax.vmap(first), jax.random.split(jax.random.key(0), 1))


def signature_of(domain: Domain) -> GameSignature:
    """Shapes and types of the arguments, and names behind their indices."""
    return GameSignature(
        leaves={name: (tuple(leaf.shape[1:]), str(leaf.dtype)) for name, leaf in leaf_shapes(domain).items()},
        blocks=domain.sight.names,
        achievements=domain.achievements,
        actions=domain.actions,
    )


if __name__ == "__main__":
    sys.stdout.write(signature_of(domain_named(sys.argv[1])).model_dump_json() + "\n")
