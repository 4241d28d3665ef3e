"""Matrix products in which each row picks its expert, at a cost that does not grow with the number of experts.

Rows are sorted by expert and laid out in blocks of equal size, each block belonging to one expert; the last block of
an expert is padded. On a CPU a loop then runs over just the blocks in use; on an accelerator the same layout goes
through `jax.lax.ragged_dot`. Never is an expert evaluated for a row that is not its own.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Grouping(NamedTuple):
    """Where each row of a batch stands among the blocks.

    Attributes:
        source: [blocks * size] the batch row laid at each place; rows of padding repeat row 0.
        place: [rows] where each batch row went.
        expert: [blocks] the expert of each block; past ``used`` it is meaningless.
        used: [] number of blocks in use.
        sizes: [experts] rows laid out for each expert, padding included.
    """

    source: Int[Array, "P"]
    place: Int[Array, "N"]
    expert: Int[Array, "K"]
    used: Int[Array, ""]
    sizes: Int[Array, "E"]


def block_size(rows: int, experts: int) -> int:
    """Returns the block size for a batch: an eighth of an expert's even share, a power of two from 32 to 256."""
    share = max(rows // max(experts, 1), 1)
    return int(min(256, max(32, 2 ** (share.bit_length() - 2))))


def group_rows(expert: Int[Array, "N"], experts: int, size: int) -> Grouping:
    """Returns the grouping of rows by ``expert`` into blocks of ``size`` rows."""
    rows = expert.shape[0]
    blocks = -(-rows // size) + experts
    order = jnp.argsort(expert, stable=True)
    counts = jnp.bincount(expert, length=experts)
    blocks_of = -(-counts // size)
    first_block = jnp.cumsum(blocks_of) - blocks_of
    first_row = jnp.cumsum(counts) - counts
    sorted_expert = expert[order]
    place_sorted = first_block[sorted_expert] * size + jnp.arange(rows) - first_row[sorted_expert]
    source = jnp.zeros(blocks * size, dtype=order.dtype).at[place_sorted].set(order)
    place = jnp.zeros(rows, dtype=place_sorted.dtype).at[order].set(place_sorted)
    block_expert = jnp.repeat(jnp.arange(experts), blocks_of, total_repeat_length=blocks)
    return Grouping(source, place, block_expert, blocks_of.sum(), blocks_of * size)


def _blocks_loop(x: Array, kernel: Array, grouping: Grouping, transpose: bool) -> Array:
    size = x.shape[0] // grouping.expert.shape[0]
    width = kernel.shape[1] if transpose else kernel.shape[2]

    def body(i: Array, out: Array) -> Array:
        weights = jax.lax.dynamic_index_in_dim(kernel, grouping.expert[i], keepdims=False)
        rows = jax.lax.dynamic_slice_in_dim(x, i * size, size)
        product = rows @ (weights.T if transpose else weights)
        return jax.lax.dynamic_update_slice_in_dim(out, product, i * size, axis=0)

    return jax.lax.fori_loop(0, grouping.used, body, jnp.zeros((x.shape[0], width), x.dtype))


def _kernel_gradient_loop(x: Array, dy: Array, grouping: Grouping, experts: int) -> Array:
    size = x.shape[0] // grouping.expert.shape[0]

    def body(i: Array, total: Array) -> Array:
        rows = jax.lax.dynamic_slice_in_dim(x, i * size, size)
        slopes = jax.lax.dynamic_slice_in_dim(dy, i * size, size)
        index = grouping.expert[i]
        so_far = jax.lax.dynamic_index_in_dim(total, index, keepdims=False)
        return jax.lax.dynamic_update_index_in_dim(total, so_far + rows.T @ slopes, index, axis=0)

    return jax.lax.fori_loop(0, grouping.used, body, jnp.zeros((experts, x.shape[1], dy.shape[1]), x.dtype))


def _product(x: Array, kernel: Array, grouping: Grouping) -> Array:
    return jax.lax.platform_dependent(
        x,
        kernel,
        grouping,
        cpu=lambda x, kernel, grouping: _blocks_loop(x, kernel, grouping, transpose=False),
        default=lambda x, kernel, grouping: jax.lax.ragged_dot(x, kernel, grouping.sizes.astype(jnp.int32)),
    )


@jax.custom_vjp
def grouped_matmul(x: Float[Array, "P D"], kernel: Float[Array, "E D F"], grouping: Grouping) -> Float[Array, "P F"]:
    """Returns each block's rows times its expert's kernel; rows past the blocks in use are zero.

    Rows of padding must carry no gradient: their outputs are to be dropped by the caller.
    """
    return _product(x, kernel, grouping)


def _forward(x: Array, kernel: Array, grouping: Grouping) -> tuple[Array, tuple[Array, Array, Grouping]]:
    return _product(x, kernel, grouping), (x, kernel, grouping)


def _backward(saved: tuple[Array, Array, Grouping], dy: Array) -> tuple[Array, Array, None]:
    x, kernel, grouping = saved

    def dx_ragged(x: Array, kernel: Array, grouping: Grouping, dy: Array) -> Array:
        return jax.lax.ragged_dot(dy, kernel.swapaxes(1, 2), grouping.sizes.astype(jnp.int32))

    def dk_ragged(x: Array, kernel: Array, grouping: Grouping, dy: Array) -> Array:
        sizes = grouping.sizes.astype(jnp.int32)
        return jax.vjp(lambda k: jax.lax.ragged_dot(x, k, sizes), kernel)[1](dy)[0]

    dx = jax.lax.platform_dependent(
        x,
        kernel,
        grouping,
        dy,
        cpu=lambda x, kernel, grouping, dy: _blocks_loop(dy, kernel, grouping, transpose=True),
        default=dx_ragged,
    )
    dk = jax.lax.platform_dependent(
        x,
        kernel,
        grouping,
        dy,
        cpu=lambda x, kernel, grouping, dy: _kernel_gradient_loop(x, dy, grouping, kernel.shape[0]),
        default=dk_ragged,
    )
    return dx, dk, None


grouped_matmul.defvjp(_forward, _backward)
