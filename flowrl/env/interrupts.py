"""Skills that pre-empt a plan. An expert acts until the danger is over, and the plan's task waits."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from flowrl.env.domain import Domain, World
from flowrl.env.player import Moved


@dataclass(frozen=True)
class Interrupt:
    """When a task pre-empts the plan.

    Levels are those of the game's intrinsics by name, and "light" in hundredths of full daylight.

    Attributes:
        when: it begins where any of these levels is no higher than this,
        having: and at least these amounts of items are in hand.
        until: it ends where all of these levels are at least this.
        sheltered: the game's actions that its expert makes only where no creature can come near.
        seeks: row of `closest_blocks` that it is looking for; -1 for none.
    """

    when: tuple[tuple[str, int], ...]
    until: tuple[tuple[str, int], ...]
    having: tuple[tuple[str, int], ...] = ()
    sheltered: tuple[str, ...] = ()
    seeks: int = -1


@dataclass(frozen=True)
class Preemption:
    """What pre-empts a plan in a game.

    Attributes:
        interrupts: the first that applies does.
        first: the task of the first of them; those of the others follow.
    """

    domain: Domain
    interrupts: tuple[Interrupt, ...]
    first: int

    def after(self, now: Int[Array, "B"], moved: Moved) -> Int[Array, "B"]:
        """Which task pre-empts the plan's after a step, -1 for none.

        Args:
            now: the same before the step.
        """
        if not self.interrupts:
            return now
        levels = self._levels(moved)
        held = jax.vmap(self.domain.amounts_fn)(moved.inputs.inventory)  # [B, items]
        nobody = jnp.zeros(now.shape, dtype=bool)
        begun = jnp.full(now.shape, -1, now.dtype)
        for number, interrupt in reversed(list(enumerate(self.interrupts, self.first))):
            begins = functools.reduce(jnp.logical_or, [levels[name] <= level for name, level in interrupt.when], nobody)
            for item, amount in interrupt.having:
                begins &= held[:, self.domain.items.index(item)] >= amount
            ends = functools.reduce(
                jnp.logical_and, [levels[name] >= level for name, level in interrupt.until], ~nobody
            )
            now = jnp.where((now == number) & ends, -1, now)
            begun = jnp.where(begins, number, begun)
        return jnp.where(now >= 0, now, begun)

    def _levels(self, moved: Moved) -> dict[str, Array]:
        """The levels that interrupts may ask for, [B] each."""
        names = self.domain.symbols.intrinsics
        levels = dict(zip(names, moved.inputs.player_intrinsics.T, strict=False))
        if self.domain.light_fn is not None:
            levels["light"] = 100 * jax.vmap(self.domain.light_fn)(moved.player.world)
        return levels

    def sheltered_actions(self, now: Int[Array, "B"], worlds: World, actions: Int[Array, "B"]) -> Int[Array, "B"]:
        """The game's actions. None where one wants a shelter that is not there."""
        names = self.domain.actions
        for number, interrupt in enumerate(self.interrupts, self.first):
            if interrupt.sheltered:
                bound = jnp.isin(actions, jnp.array([names.index(name) for name in interrupt.sheltered]))
                exposed = (now == number) & bound & ~self._is_sheltered(worlds)
                actions = jnp.where(exposed, names.index("NOOP"), actions)
        return actions

    def _is_sheltered(self, worlds: World) -> Bool[Array, "B"]:
        assert self.domain.sheltered_fn is not None
        sheltered: Array = jax.vmap(self.domain.sheltered_fn)(worlds)
        return sheltered
