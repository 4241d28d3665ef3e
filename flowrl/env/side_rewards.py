"""What a run pays beside the rewards of its skills: search and staying well."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from flowrl.env.block_memory import UNKNOWN
from flowrl.env.explored import newly_seen
from flowrl.env.player import Moved, PlayerState


@dataclass(frozen=True)
class SideRewards:
    """What a run pays in every task.

    Attributes:
        discovery: for each cell seen for the first time while what the task seeks is not known.
        found: for the step that shows it. It has to outweigh what the cells to come would have paid.
        vitals: for each point that the intrinsics rise, all together. A difference of potentials (Ng et al. 1999,
            "Policy invariance under reward transformations"), so that going hungry to eat again pays nothing.
    """

    discovery: float = 0.0
    found: float = 0.0
    vitals: float = 0.0

    def of_step(self, target: Int[Array, "B"], before: PlayerState, moved: Moved) -> Float[Array, "B"] | float:
        """The pay of one step.

        Args:
            target: row of `closest_blocks` that each world's task is looking for; -1 for none.
            before: the players as they were.
        """
        pay = self.vitals * moved.inputs.player_intrinsics_diff.sum(axis=-1) if self.vitals else 0.0
        if self.discovery or self.found:
            pay = pay + self._search(target, before, moved)
        return pay

    def _search(self, target: Int[Array, "B"], before: PlayerState, moved: Moved) -> Float[Array, "B"]:
        """Each cell pays once an episode, so that walking to and fro earns nothing.

        Nor does what the player itself put where it can be seen.
        """
        nearest = (jnp.arange(target.shape[0]), jnp.maximum(target, 0), 0, 0)
        searching = (target >= 0) & (moved.inputs.closest_blocks_prev[nearest] == UNKNOWN)
        cells = newly_seen(before.explored, moved.player.explored)
        found = (moved.inputs.closest_blocks[nearest] != UNKNOWN) & (cells > 0)
        return searching * (self.discovery * cells + self.found * found)
