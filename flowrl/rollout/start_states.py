"""Episodes that begin at snapshots in which a skill's preconditions hold. A share of a run's episodes begins so, at the
last task.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from flowrl.env.domain import World
from flowrl.env.flow_env import FlowEnv, FlowState
from flowrl.env.player import PlayerState
from flowrl.env.snapshots import Snapshots, players_at
from flowrl.env.symbolic_state import fluents_of
from flowrl.errors import UsageError, nearest_names
from flowrl.fluents import ACHIEVEMENT, INTRINSIC, prefix_of
from flowrl.schema.skill import SkillSpec


class Starts(NamedTuple):
    """M states that episodes may begin at.

    Attributes:
        players: [M].
        min_n: [M] the smallest amount that the last task may ask for there.
        max_n: [M] the largest.
        share: of the episodes, how many begin at one of them.
    """

    players: PlayerState
    min_n: Int[Array, "M"]
    max_n: Int[Array, "M"]
    share: Float[Array, ""]

    def at_share(self, share: float) -> "Starts":
        """The same states for another share of the episodes."""
        return self._replace(share=jnp.float32(share))

    def begin(
        self, env: FlowEnv, key: jax.Array, state: FlowState, ended: Bool[Array, "B"], update: Array | int
    ) -> tuple[Bool[Array, "B"], FlowState]:
        """Begin a share of the ended episodes here. The mask that comes first says which are left for new worlds."""
        batch = ended.shape[0]
        choose_key, source_key, amounts_key, own_key = jax.random.split(key, 4)
        chosen = ended & jax.random.bernoulli(choose_key, self.share, (batch,))
        source = jax.random.randint(source_key, (batch,), 0, self.min_n.shape[0])
        own = jax.random.randint(own_key, (batch,), self.min_n[source], self.max_n[source] + 1)
        amounts = env.draw_amounts(amounts_key, batch).at[:, -1].set(own)
        return ended & ~chosen, env.start_from(state, chosen, self.players, source, amounts, update)


def starts_at(env: FlowEnv, spec: SkillSpec, snapshots: Snapshots, share: float) -> Starts | None:
    """Snapshots in which the skill's preconditions hold. None if there are none.

    Raises:
        UsageError: the specification names a fluent that the game does not have.
    """
    min_n, max_n = supported(env, spec, snapshots)
    holds = min_n <= max_n
    if not holds.any():
        return None
    players = players_at(env.domain, snapshots.rows(holds))
    return Starts(players, jnp.asarray(min_n[holds]), jnp.asarray(max_n[holds]), jnp.float32(share))


def supported(env: FlowEnv, spec: SkillSpec, snapshots: Snapshots) -> tuple[Int[np.ndarray, "M"], Int[np.ndarray, "M"]]:
    """Smallest and largest amount of the last task that each state supports.

    A state supports an amount where all that the skill needs for it is there and not all that it yields is there
    already. The smallest is above the largest where no amount is supported.

    Raises:
        UsageError: the specification names a fluent that the game does not have.
    """

    def read(world: World) -> tuple[dict[str, Array], Array]:
        return fluents_of(env.domain, world), env.domain.sight.place_fn(world)[1]

    holding, floor = jax.device_get(jax.jit(jax.vmap(read))(snapshots.world))
    amounts = range(env.amounts.low[-1], env.amounts.high[-1] + 1)
    usable = np.stack([_is_usable(env, spec, holding, n) for n in amounts])  # [amounts, M]
    if spec.floors is not None:
        usable &= np.isin(floor, spec.floors)
    # The first run of usable amounts of each state: [. x x . x] begins at 1 and ends before 3.
    first = usable.argmax(axis=0)  # [M]
    unbroken = usable | (np.arange(len(amounts))[:, None] < first)
    length = np.logical_and.accumulate(unbroken, axis=0).sum(axis=0)
    low = np.full(snapshots.size, amounts[0], np.int32)
    min_n = (low + first).astype(np.int32)
    return min_n, np.where(usable.any(axis=0), low + length - 1, min_n - 1).astype(np.int32)


def _is_usable(env: FlowEnv, spec: SkillSpec, holding: dict[str, np.ndarray], n: int) -> Bool[np.ndarray, "M"]:
    def all_hold(wanted: dict[str, int]) -> np.ndarray:
        if unknown := [fluent for fluent in wanted if fluent not in holding]:
            nearest = nearest_names(unknown[0], holding)
            raise UsageError(f"No fluent {unknown[0]!r} in {env.domain.name}. {nearest}".rstrip())
        rows = [holding[fluent] >= amount for fluent, amount in wanted.items()]
        everywhere = np.ones(len(next(iter(holding.values()))), bool)
        return functools.reduce(np.logical_and, rows, everywhere)

    # What has happened before can happen again, and a body that is well can be fed.
    lasting = {f: q for f, q in spec.yields.items() if prefix_of(f) not in (ACHIEVEMENT, INTRINSIC)}
    yields = {fluent: quantity.at(n) for fluent, quantity in lasting.items()}
    needed = all_hold(spec.needed(n))
    return needed & ~all_hold(yields) if yields else needed
