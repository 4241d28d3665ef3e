"""Random keys of worlds: a stream for each purpose."""

import jax

TRAINING, GATE, EVALUATION, MERGE, ANALYSIS, STARTS = 0, 1, 2, 3, 4, 5
"""What worlds are for; each purpose has a stream of random keys of its own."""


def world_key(purpose: int, seed: int, number: int = 0) -> jax.Array:
    """Key of the worlds of one purpose. Streams of different purposes share no world."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.PRNGKey(seed), 1_000_003 + purpose), number)


def training_key(seed: int, run: int) -> jax.Array:
    """Key of a skill's training. Each of its runs, the first being 0, has a stream of its own."""
    return jax.random.PRNGKey(seed) if run == 0 else world_key(TRAINING, seed, run)
