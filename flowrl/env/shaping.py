"""Reward terms that skill code shares, for one world; none of them pays for going in circles.

Over any stretch of play the approach term adds up to the rise of a potential, less what was discovered (a block that
comes into view pays nothing), plus what was removed (a block taken away costs nothing). Only removals could pay in a
loop, and whoever repeats them has to lose items in between: `gathered` makes each lost item cost more than one removal
can be worth.
"""

import jax
import jax.numpy as jnp

from flowrl.env.memory import UNKNOWN

STEP_VALUE = 0.05
"""What a step nearer is worth."""
REACH = 10
"""The distance beyond which coming nearer is worth nothing."""
LOSS_PRICE = STEP_VALUE * REACH
"""What losing an item costs on top of its worth: the most that one approach can pay."""


def distance(closest_blocks: jax.Array, block: int) -> jax.Array:
    """Returns the L1 distance to the nearest known block of a type, 2 * `UNKNOWN` where none is known."""
    return jnp.abs(closest_blocks[block, :, 0]).sum()


def approach(closest_blocks: jax.Array, closest_blocks_prev: jax.Array, block: int) -> jax.Array:
    """Returns `STEP_VALUE` for a step nearer to the nearest block of a type, minus it for a step away, within `REACH`.

    A jump, of more than one step can do, is zero: a block came into view, or was taken away, and another is nearest.
    """
    now, before = distance(closest_blocks, block), distance(closest_blocks_prev, block)
    known = (now < 2 * UNKNOWN) & (before < 2 * UNKNOWN)
    nearer = jnp.minimum(before, REACH) - jnp.minimum(now, REACH)
    return jnp.where(known & (jnp.abs(before - now) <= 1), STEP_VALUE * nearer, 0.0)


def gathered(amount: jax.Array, change: jax.Array, n: jax.Array | int) -> jax.Array:
    """Returns the progress made towards ``n`` in hand, 1 in all; what is lost on the way costs `LOSS_PRICE` more each.

    Args:
        amount: in hand after the step.
        change: over the step.
        n: the amount wanted; what goes beyond it counts for nothing.
    """
    progress = jnp.minimum(amount, n) - jnp.minimum(amount - change, n)
    return progress / n - LOSS_PRICE * jnp.maximum(-progress, 0)
