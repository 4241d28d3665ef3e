"""The symbolic state of a world: which fluents hold in it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from flowrl.env.domain import Domain, World
from flowrl.env.observation import view_of
from flowrl.errors import UsageError, nearest_names
from flowrl.fluents import ACHIEVEMENT, INTRINSIC, KILLS, NEAR, PLACED, REACHED
from flowrl.planning.symbolic import SymbolicState, apply
from flowrl.schema.skill import SkillSpec

_REACH = (3, 3)
_NOTHING = -1


def fluents_of(domain: Domain, world: World) -> dict[str, Int[Array, ""]]:
    """Amounts of the game's fluents in one world.

    `placed:` counts on the present floor. Near is what lies on the eight cells around the player or underfoot, lit or
    not. Kills are there in games that count them.
    """
    ground, vitals = domain.symbols.ground_fn(world), domain.vitals_fn(world)
    position, floor = domain.sight.place_fn(world)
    around = jax.vmap(lambda layer: view_of(layer, position, _REACH, _NOTHING))(ground.layers[floor])
    amounts = dict(zip(domain.items, domain.amounts_fn(vitals.inventory), strict=True))
    for name, blocks in domain.symbols.stations:
        rows = np.array([domain.sight.names.index(block) for block in blocks])
        amounts[NEAR + name] = jnp.isin(around, rows).any()
        amounts[PLACED + name] = jnp.isin(ground.layers[floor], rows).any()
    amounts |= {ACHIEVEMENT + name: ground.achieved[i] for i, name in enumerate(domain.achievements)}
    amounts |= {INTRINSIC + name: vitals.intrinsics[i] for i, name in enumerate(domain.symbols.intrinsics)}
    amounts |= {f"{REACHED}{k}": ground.reached[k] for k in range(domain.sight.floors)}
    if vitals.monsters_killed is not None:
        amounts |= {f"{KILLS}{k}": vitals.monsters_killed[k] for k in range(domain.sight.floors)}
    return {fluent: amount.astype(jnp.int32) for fluent, amount in amounts.items()}


def postconditions(domain: Domain, spec: SkillSpec, n: int) -> tuple[tuple[str, int], ...]:
    """Minimum amounts when the skill is done with ``n``.

    It begins with exactly what it needs: so what it yields, and what it needs and does not spend.

    Raises:
        UsageError: the specification names a fluent that the game does not have.
    """
    begin = SymbolicState.of(spec.needed(n), spec.floors[0] if spec.floors else 0)
    promised = apply(begin, spec, n).shown()
    known = jax.eval_shape(lambda key: fluents_of(domain, domain.reset_fn(key)), jax.random.key(0)) if promised else {}
    for fluent in promised:
        if fluent not in known:
            raise UsageError(f"No fluent {fluent!r} in {domain.name}. {nearest_names(fluent, known)}".rstrip())
    return tuple(sorted(promised.items()))
