"""Random keys of worlds: a stream for each purpose, and for each skill."""

import zlib

import jax

TRAINING, GATE, EVALUATION, MERGE, ANALYSIS, STARTS = 0, 1, 2, 3, 4, 5
"""What worlds are for; each purpose has a stream of random keys of its own."""


def world_key(purpose: int, seed: int, number: int = 0) -> jax.Array:
    """Key of the worlds of one purpose. Streams of different purposes share no world."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.PRNGKey(seed), 1_000_003 + purpose), number)


def skill_key(purpose: int, seed: int, number: int, skill: str) -> jax.Array:
    """Key of one skill's worlds of one purpose.

    Skills that build on each other must not be accepted on the same worlds: a later one would then be measured where
    the earlier ones happened to do well. The name decides, as experts are numbered in the order of launch.
    """
    return jax.random.fold_in(world_key(purpose, seed, number), zlib.crc32(skill.encode()))
