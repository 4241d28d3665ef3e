"""Rewritten steps: the same bits, also on what the games don't do."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.env.fast import jaxpr_rewrite
from flowrl.env.fast.jaxpr_rewrite import flush_writes, rewrite_step
from flowrl.env.fast.threefry import IMPL

WORLDS = 32


def crossing_writes(grid: jax.Array, spot: jax.Array, flag: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cells written, read through either version, and written again. Some of them out of bounds."""
    first = grid.at[spot[0], spot[1]].set(5)
    second = first.at[spot[1], spot[0]].set(2).at[spot[0], spot[1]].set(first[spot[1], spot[0]] + 1)
    chosen = jax.lax.select(flag, second, first.at[spot[1], spot[1]].set(7))
    return chosen.at[spot[0] + 1, spot[1] - 1].set(chosen[spot[0], spot[1]]), second


def looped_writes(grid: jax.Array, spot: jax.Array, flag: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Loops without a carry, with one, backwards, and a long one."""
    _, seen = jax.lax.scan(lambda _, i: (None, grid[spot[0], i]), None, jnp.arange(8))

    def write(current: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        changed = current.at[spot[0] + i, spot[1]].set(current[spot[1], spot[0]] + i + flag)
        return changed, changed[spot[0], spot[1] + i]

    short, ahead = jax.lax.scan(write, grid, jnp.arange(5), reverse=True)
    long, _ = jax.lax.scan(write, flush_writes(short), jnp.arange(20))
    return long, seen.sum() + ahead[0] * 3 + ahead[4]


def floors(grid: jax.Array, spot: jax.Array, flag: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One floor taken out, written to, read and put back. Another by a constant; then where it didn't come from."""
    tower = jnp.stack([grid, grid + 1, grid + 2])
    level = spot[0] % 3
    changed = tower[level].at[spot[0], spot[1]].set(9)
    tower = tower.at[level].set(jax.lax.select(flag, changed, tower[level]))
    tower = tower.at[0].set(tower[0].at[spot[1], 3].set(tower[level, spot[0], spot[1]]))
    return tower.at[2].set(tower[level]), tower[level][:5, :5].sum() + changed.sum()


def draws(grid: jax.Array, spot: jax.Array, flag: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Random cells from a raw key."""
    key = jax.random.split(jax.random.PRNGKey(spot[0]))[flag.astype(int)]
    return grid + jax.random.randint(key, grid.shape, 0, 9), jax.random.uniform(jax.random.fold_in(key, spot[1]))


@pytest.mark.parametrize("fn", [crossing_writes, looped_writes, floors, draws])
def test_a_rewritten_function_gives_the_same_bits(fn: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    grids = jnp.array(rng.integers(0, 9, (WORLDS, 24, 24)))
    spots = jnp.array(rng.integers(0, 24, (WORLDS, 2))).at[:4].set(jnp.array([[0, 0], [23, 23], [5, 5], [23, 0]]))
    flags = jnp.array(rng.random(WORLDS) < 0.5)
    plain, ours = (jax.jit(jax.vmap(f))(grids, spots, flags) for f in (fn, rewrite_step(fn)))
    for left, right in zip(plain, ours, strict=True):
        assert left.dtype == right.dtype
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


def test_loops_that_jax_states_in_another_way_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(start: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda at, step: (at + step, at * step), start, jnp.arange(4.0))[1]

    start = jnp.arange(3.0)
    written_out = str(jax.make_jaxpr(rewrite_step(walk))(start))
    monkeypatch.setattr(jaxpr_rewrite, "SCAN_PARAMETERS", frozenset({"number_of_consts"}))
    left = str(jax.make_jaxpr(rewrite_step(walk))(start))
    assert "scan" not in written_out and "scan" in left
    np.testing.assert_array_equal(rewrite_step(walk)(start), walk(start))


def test_written_out_random_bits_are_jaxs() -> None:
    key = jax.random.PRNGKey(12)
    ours = jax.random.wrap_key_data(key, impl=IMPL)
    assert (jax.random.key_data(jax.random.split(ours, 7)) == jax.random.split(key, 7)).all()
    assert (jax.random.bits(ours, (3, 50)) == jax.random.bits(key, (3, 50))).all()
    assert (jax.random.key_data(jax.random.fold_in(ours, 9)) == jax.random.fold_in(key, 9)).all()


def walk(grid: jax.Array, spot: jax.Array) -> jax.Array:
    """Two creatures that step right onto free cells, as in upstream."""
    for row in (spot[0], spot[1]):
        column = jnp.where(grid[row, spot[1] + 1] == 0, spot[1] + 1, spot[1])
        grid = grid.at[row, spot[1]].set(jnp.where(grid[row, spot[1]] == 3, 0, grid[row, spot[1]]))
        grid = grid.at[row, column].set(jnp.where(grid[row, column] == 0, 3, grid[row, column]))
    return grid


def copies_of_the_grid(fn: Callable[..., Any]) -> int:
    def step(grid: jax.Array, spot: jax.Array) -> tuple[jax.Array, None]:
        return jax.vmap(fn)(grid, spot), None

    grids, spots = jnp.zeros((WORLDS, 24, 24), dtype=int), jnp.ones((9, WORLDS, 2), dtype=int)
    program = jax.jit(lambda g: jax.lax.scan(step, g, spots)[0], donate_argnums=0).lower(grids).compile()
    return program.as_text().count(f"s32[{WORLDS},24,24]{{2,1,0}} copy(")


def test_a_large_array_is_not_copied_in_a_loop_of_steps() -> None:
    assert copies_of_the_grid(walk) > 0
    assert copies_of_the_grid(rewrite_step(walk)) == 0
