"""Matrix products in which each row picks its expert. Rows are sorted by expert and laid out in blocks of equal size,
each block belonging to one expert; the last block of an expert is padded. On a CPU a loop runs over the blocks in use;
on an accelerator the same layout goes through `jax.lax.ragged_dot`. No expert is evaluated for another's row, so that
the cost does not grow with the number of experts.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Grouping(NamedTuple):
    """The place of each row of a batch among the blocks.

    Attributes:
        source: [blocks * size] the batch row laid at each place; the number of rows where it is padding.
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
    """Block size for a batch: a quarter to a half of an expert's share. A power of two from 32 to 256."""
    share = max(rows // max(experts, 1), 1)
    return int(min(256, max(32, 2 ** (share.bit_length() - 2))))


# Example, blocks of 2 rows, 2 experts, 5 rows of experts [1 0 1 1 0]; "-" is padding:
#     blocks  0: rows 1 4 (expert 0)   1: rows 0 2 (expert 1)   2: rows 3 - (expert 1)   3, 4: unused
#     source  = [1 4  0 2  3 -  - -  - -], "-" being 5, the number of rows
#     place   = [2 0 3 4 1]: row 0 went to place 2, row 1 to place 0
#     sizes   = [2 4], padding included; used = 3
def group_rows(expert: Int[Array, "N"], experts: int, size: int) -> Grouping:
    """Group rows by ``expert`` into blocks of ``size`` rows."""
    rows = expert.shape[0]
    # The most there can be: an expert leaves less than one block unfilled.
    blocks = -(-rows // size) + experts
    order = jnp.argsort(expert, stable=True)  # [N]
    counts = jnp.bincount(expert, length=experts)  # [E]
    blocks_of = -(-counts // size)  # [E]
    first_block = jnp.cumsum(blocks_of) - blocks_of
    first_row = jnp.cumsum(counts) - counts  # [E], among the sorted rows
    sorted_expert = expert[order]
    place_sorted = first_block[sorted_expert] * size + jnp.arange(rows) - first_row[sorted_expert]  # [N]
    source = jnp.full(blocks * size, rows, dtype=order.dtype).at[place_sorted].set(order)
    place = jnp.zeros(rows, dtype=place_sorted.dtype).at[order].set(place_sorted)
    block_expert = jnp.repeat(jnp.arange(experts), blocks_of, total_repeat_length=blocks)  # [K]
    return Grouping(source, place, block_expert, blocks_of.sum(), blocks_of * size)


@jax.custom_vjp
def lay_out(x: Float[Array, "N D"], grouping: Grouping) -> Float[Array, "P D"]:
    """Move rows to their places among the blocks. Padding is zero."""
    return x.at[grouping.source].get(mode="fill", fill_value=0)


@jax.custom_vjp
def pick_up(x: Float[Array, "P D"], grouping: Grouping) -> Float[Array, "N D"]:
    """Move rows from the blocks back into the batch's order."""
    return x.at[grouping.place].get(mode="promise_in_bounds")


# One undoes the other, so each is the other's gradient: a gather, where jax would scatter.
lay_out.defvjp(lambda x, g: (lay_out(x, g), g), lambda g, dy: (pick_up(dy, g), None))
pick_up.defvjp(lambda x, g: (pick_up(x, g), g), lambda g, dy: (lay_out(dy, g), None))


def _blocks_loop(x: Array, kernel: Array, grouping: Grouping, transpose: bool) -> Array:
    size = x.shape[0] // grouping.expert.shape[0]
    width = kernel.shape[1] if transpose else kernel.shape[2]

    def body(i: Array, out: Array) -> Array:
        weights = jax.lax.dynamic_index_in_dim(kernel, grouping.expert[i], keepdims=False)  # [D, F]
        rows = jax.lax.dynamic_slice_in_dim(x, i * size, size)  # [size, D]
        product = rows @ (weights.T if transpose else weights)
        return jax.lax.dynamic_update_slice_in_dim(out, product, i * size, axis=0)

    return jax.lax.fori_loop(0, grouping.used, body, jnp.zeros((x.shape[0], width), x.dtype))


def blocks_product(x: Array, kernel: Array, grouping: Grouping, transpose: bool = False) -> Float[Array, "P F"]:
    """Multiply each block's rows by its expert's kernel. Or by its transpose; zero past the blocks in use."""

    def ragged(x: Array, kernel: Array, grouping: Grouping) -> Array:
        sizes = grouping.sizes.astype(jnp.int32)
        return jax.lax.ragged_dot(x, kernel.swapaxes(1, 2) if transpose else kernel, sizes)

    return jax.lax.platform_dependent(
        x,
        kernel,
        grouping,
        cpu=lambda x, kernel, grouping: _blocks_loop(x, kernel, grouping, transpose),
        default=ragged,
    )


def kernel_gradient(
    x: Float[Array, "P K"], slopes: Float[Array, "P F"], grouping: Grouping, total: Float[Array, "E D F"]
) -> Float[Array, "E D F"]:
    """Add the kernel's gradient of `blocks_product` to ``total``.

    ``x`` may have fewer columns than the kernel has rows: it then stands for each expert's last K rows.
    """
    first = total.shape[1] - x.shape[1]

    def loop(x: Array, slopes: Array, grouping: Grouping, total: Array) -> Array:
        size = x.shape[0] // grouping.expert.shape[0]

        def body(i: Array, total: Array) -> Array:
            rows = jax.lax.dynamic_slice_in_dim(x, i * size, size)  # [size, K]
            product = rows.T @ jax.lax.dynamic_slice_in_dim(slopes, i * size, size)  # [K, F]
            place = (grouping.expert[i], first, 0)
            grad_accumulator = jax.lax.dynamic_slice(total, place, (1, *product.shape))
            return jax.lax.dynamic_update_slice(total, grad_accumulator + product, place)

        return jax.lax.fori_loop(0, grouping.used, body, total)

    def ragged(x: Array, slopes: Array, grouping: Grouping, total: Array) -> Array:
        sizes = grouping.sizes.astype(jnp.int32)
        part = total[:, first:]  # [E, K, F]
        gradient = jax.vjp(lambda kernel: jax.lax.ragged_dot(x, kernel, sizes), part)[1](slopes)[0]
        return total.at[:, first:].add(gradient)

    return jax.lax.platform_dependent(x, slopes, grouping, total, cpu=loop, default=ragged)


@jax.custom_vjp
def grouped_matmul(x: Float[Array, "P D"], kernel: Float[Array, "E D F"], grouping: Grouping) -> Float[Array, "P F"]:
    """Multiply each block's rows by its expert's kernel.

    Rows past the blocks in use are zero. Rows of padding carry no gradient, as `pick_up` leaves them out.
    """
    return blocks_product(x, kernel, grouping)


def _forward(x: Array, kernel: Array, grouping: Grouping) -> tuple[Array, tuple[Array, Array, Grouping]]:
    return blocks_product(x, kernel, grouping), (x, kernel, grouping)


def _backward(saved: tuple[Array, Array, Grouping], slopes: Array) -> tuple[Array, Array, None]:
    x, kernel, grouping = saved
    dx = blocks_product(slopes, kernel, grouping, transpose=True)
    return dx, kernel_gradient(x, slopes, grouping, jnp.zeros_like(kernel)), None


grouped_matmul.defvjp(_forward, _backward)
