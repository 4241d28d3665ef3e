"""The first layer: kernel rows looked up, not one-hot columns multiplied. A flat observation of Craftax is nearly all
zeros and ones. The product of a one-hot cell with the kernel is a row of it, so 1,345 multiplications a unit (Classic)
become 74 additions, each row from its own expert without any sorting; in the backward pass the same rows are added to.
On a CPU a loop over the columns does whole batches of rows at once.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from flowrl.models.grouped_matmul import Grouping, blocks_product, kernel_gradient, lay_out, pick_up

UNROLLED = 4
"""Columns added in one pass over the sums."""


class Features(NamedTuple):
    """A flat observation as the first layer takes it.

    Attributes:
        columns: the columns that hold 1; what lies past the end is none.
        dense: the values of the last columns.
    """

    columns: Int[Array, "*B L"]
    dense: Float[Array, "*B K"]


# Example, 2 experts with kernels of 10 rows, an observation of expert 1: its columns 3 and 7 are 1, and a creature that
# is not in view has a column past the end.
#     columns = [3, 7, 65535]   rows = [13, 17, 20]   padded to a multiple of 4: [13, 17, 20, 20]
# Rows 0 to 9 are expert 0's, 10 to 19 expert 1's; row 20 lies past the end and reads as zero.
def _rows(columns: Int[Array, "N L"], expert: Int[Array, "N"], kernel: Float[Array, "E D F"]) -> Int[Array, "K 4 N"]:
    """The kernel row that each column picks.

    Rows count through all experts' kernels, one below the other; one past their end for none.
    """
    experts, size, _ = kernel.shape
    rows = jnp.where(columns < size, columns + expert[:, None] * size, experts * size).astype(jnp.int32).T  # [L, N]
    padding = -rows.shape[0] % UNROLLED
    rows = jnp.pad(rows, ((0, padding), (0, 0)), constant_values=experts * size)
    return rows.reshape(-1, UNROLLED, rows.shape[1])


def _sum_of_rows(table: Float[Array, "R F"], rows: Int[Array, "K 4 N"]) -> Float[Array, "N F"]:
    """Add up, for each observation, the rows that it picks."""

    def add(four: Int[Array, "4 N"], total: Array) -> Array:
        for row in four:
            total = total + table.at[row].get(mode="fill", fill_value=0)
        return total

    nothing = jnp.zeros((rows.shape[2], table.shape[1]), table.dtype)

    def loop(table: Array, rows: Array) -> Array:
        if not rows.size:
            return nothing
        return jax.lax.fori_loop(0, rows.shape[0], lambda i, total: add(rows[i], total), nothing)

    def at_once(table: Array, rows: Array) -> Array:
        return functools.reduce(lambda total, four: add(four, total), rows, nothing)

    return jax.lax.platform_dependent(table, rows, cpu=loop, default=at_once)


def _added_to_rows(
    table: Float[Array, "R F"], rows: Int[Array, "K 4 N"], slopes: Float[Array, "N F"]
) -> Float[Array, "R F"]:
    """Add each observation's gradient to the rows that it picked."""

    def loop(table: Array, rows: Array, slopes: Array) -> Array:
        if not rows.size:
            return table

        def body(i: Array, total: Array) -> Array:
            for row in rows[i]:
                total = total.at[row].add(slopes, mode="drop")
            return total

        return jax.lax.fori_loop(0, rows.shape[0], body, table)

    def at_once(table: Array, rows: Array, slopes: Array) -> Array:
        return table.at[rows.reshape(-1, rows.shape[2])].add(slopes[None], mode="drop")

    return jax.lax.platform_dependent(table, rows, slopes, cpu=loop, default=at_once)


@jax.custom_vjp
def first_layer(
    kernel: Float[Array, "E D F"],
    features: Features,
    expert: Int[Array, "N"],
    grouping: Grouping | None,
    grad_accumulator: Float[Array, "E D F"] | None = None,
) -> Float[Array, "N F"]:
    """Multiply flat observations by their experts' kernels.

    Args:
        grouping: of the rows by expert; None where there is one expert.
        grad_accumulator: what the kernel's gradient is added to, and comes back with: few of its rows are touched.
    """
    del grad_accumulator
    total = _sum_of_rows(kernel.reshape(-1, kernel.shape[2]), _rows(features.columns, expert, kernel))  # [N, F]
    # The dense values are the observation's last columns, so they meet the kernel's last rows.
    last = kernel[:, kernel.shape[1] - features.dense.shape[1] :]  # [E, K, F]
    if grouping is None:
        return total + features.dense @ last[0]
    return total + pick_up(blocks_product(lay_out(features.dense, grouping), last, grouping), grouping)


_Saved = tuple[Array, Features, Array, Grouping | None, Array | None]


def _forward(
    kernel: Array, features: Features, expert: Array, grouping: Grouping | None, grad_accumulator: Array | None
) -> tuple[Array, _Saved]:
    return first_layer(kernel, features, expert, grouping), (kernel, features, expert, grouping, grad_accumulator)


def _backward(saved: _Saved, slopes: Array) -> tuple[Array, Features, None, None, None]:
    kernel, features, expert, grouping, grad_accumulator = saved
    _, size, width = kernel.shape
    before = jnp.zeros(kernel.shape, slopes.dtype) if grad_accumulator is None else grad_accumulator
    gradient = _added_to_rows(before.reshape(-1, width), _rows(features.columns, expert, kernel), slopes)
    gradient = gradient.reshape(kernel.shape)  # [E, D, F]
    # What jax asks for as the gradient of whole numbers.
    no_slope: Any = np.zeros(features.columns.shape, jax.dtypes.float0)
    first = size - features.dense.shape[1]
    last = kernel[:, first:]
    if grouping is None:
        # Not .at[].add, for which XLA would copy the whole gradient.
        gradient = gradient.at[:, first:].set(gradient[:, first:] + features.dense.T @ slopes)
        return gradient, Features(no_slope, slopes @ last[0].T), None, None, None
    laid_out = lay_out(slopes, grouping)  # [P, F]
    gradient = kernel_gradient(lay_out(features.dense, grouping), laid_out, grouping, gradient)
    dense = pick_up(blocks_product(laid_out, last, grouping, transpose=True), grouping)
    return gradient, Features(no_slope, dense), None, None, None


first_layer.defvjp(_forward, _backward)
