"""Reward terms for skill code, for one world. None of them pays for going in circles.

Over any stretch of play the approach term adds up to the rise of a potential, less what was discovered (a block that
comes into view pays nothing), plus what was removed (a block taken away costs nothing). Only removals could pay in a
loop, and repeating them means losing items in between: `gathered` makes each lost item cost more than one removal can
pay. Where nothing is gathered (water, stations) the removal itself costs: `approach(..., lasting=True)`.

The first paragraphs of the functions' docstrings stand in prompts, and so in recorded transcripts.
"""

import jax
import jax.numpy as jnp

from flowrl.env.block_memory import UNKNOWN

STEP_VALUE = 0.05
"""The reward of a step nearer."""
REACH = 10
"""The distance beyond which coming nearer pays nothing."""
LOSS_PRICE = STEP_VALUE * REACH
"""The extra cost of losing an item: the most that one approach can pay."""


def distance(closest_blocks: jax.Array, *blocks: int) -> jax.Array:
    """Returns the L1 distance to the nearest known block of any of the types, 2 * `UNKNOWN` where none is known."""
    return jnp.abs(closest_blocks[jnp.array(blocks), :, 0]).sum(axis=1).min()


def within_reach(closest_blocks: jax.Array, *blocks: int) -> jax.Array:
    """Returns whether a block of any of the types is on one of the eight cells around, or underfoot.

    Five of a type are remembered, the nearest ones; no five cells at L1 distance 2 lack a corner, so none is missed.
    """
    return (jnp.abs(closest_blocks[jnp.array(blocks)]) <= 1).all(axis=1).any()


def approach(
    closest_blocks: jax.Array, closest_blocks_prev: jax.Array, *blocks: int, lasting: bool = False
) -> jax.Array:
    """Returns `STEP_VALUE` for a step nearer to the nearest block of the types, minus it for one away, within `REACH`.

    A jump, of more than one step can do, is zero: a block came into view, or was taken away, and another is nearest.

    Args:
        lasting: the blocks are not there to be taken: when the nearest is gone, what coming near it paid is taken back,
            or whoever fills up one pond after the other would be paid for walking to the next.
    """
    now, before = distance(closest_blocks, *blocks), distance(closest_blocks_prev, *blocks)
    known = (now < 2 * UNKNOWN) & (before < 2 * UNKNOWN)
    nearer = jnp.minimum(before, REACH) - jnp.minimum(now, REACH)
    counts = known & (jnp.abs(before - now) <= 1)
    if lasting:
        counts |= (before < 2 * UNKNOWN) & (now > before)
    return jnp.where(counts, STEP_VALUE * nearer, 0.0)


def gathered(amount: jax.Array, change: jax.Array, n: jax.Array | int) -> jax.Array:
    """Returns the progress made towards ``n`` in hand, 1 in all; what is lost on the way costs `LOSS_PRICE` more each.

    Args:
        amount: in hand after the step.
        change: over the step.
        n: the amount wanted; what goes beyond it counts for nothing.
    """
    progress = jnp.minimum(amount, n) - jnp.minimum(amount - change, n)
    return progress / n - LOSS_PRICE * jnp.maximum(-progress, 0)
