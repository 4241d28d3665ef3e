"""Warm starts: which expert begins as a copy of which, and when."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.stats import Share
from flowrl.training.optimizer import init_optimizer
from flowrl.training.state import TrainState
from flowrl.training.warm_start import Copy, next_copy, with_copy

TREE, COAL, DIAMOND = 5, 8, 10


def shares(*percent: int | None, total: int = 200) -> list[Share]:
    return [Share(successes=0 if p is None else p * total // 100, total=0 if p is None else total) for p in percent]


# Wood, table, coal, diamond, played by experts 3, 0, 1, 2.
CHAIN = (TREE, -1, COAL, DIAMOND), (True, False, True, True), (3, 0, 1, 2)


@pytest.mark.parametrize(
    ("success", "expected"),
    [
        (shares(50, 0, None, None), None),
        (shares(70, 90, 10, None), Copy(task=2, to=1, of=3)),
        (shares(70, 90, 40, None), None),
        (shares(99, 99, 70, 20), Copy(task=3, to=2, of=1)),
        (shares(70, 90, 10, None, total=50), None),
    ],
    ids=["source too weak", "coal from wood", "learns by itself", "diamond from coal, not wood", "too few episodes"],
)
def test_an_expert_that_seeks_begins_as_the_one_before_it(success: list[Share], expected: Copy | None) -> None:
    assert next_copy(*CHAIN, success, {0, 1, 2, 3}, (), 0.6) == expected


def test_what_was_copied_or_came_from_a_library_is_left_alone() -> None:
    weak = shares(90, 90, 0, 0)
    assert next_copy(*CHAIN, weak, {0, 1, 2, 3}, (2,), 0.6) is None
    assert next_copy(*CHAIN, weak, {0, 2, 3}, (), 0.6) is None
    assert next_copy(*CHAIN, weak, {0, 1, 2, 3}, (), 0.0) is None, "switched off"
    twice = (TREE, COAL, COAL), (True, True, True), (0, 1, 1)
    assert next_copy(*twice, weak[:3], {0, 1}, (1,), 0.6) is None, "one expert for two tasks is copied once"


def test_what_only_comes_near_is_no_ground_to_begin_from() -> None:
    """Wood, back to the table, coal: both begin as the expert for wood."""
    plan = (TREE, 11, COAL), (True, False, True), (0, 1, 2)
    assert next_copy(*plan, shares(90, 0, 0), {0, 1, 2}, (), 0.6) == Copy(task=1, to=1, of=0)
    assert next_copy(*plan, shares(90, 90, 0), {0, 1, 2}, (1,), 0.6) == Copy(task=2, to=2, of=0)


def test_a_copy_takes_weights_moments_and_count_and_nothing_else() -> None:
    kernel = jnp.arange(12.0).reshape(4, 3)
    learning = {"kernel": kernel[1:]}  # experts 1 to 3 learn, 0 is frozen
    optimizer = init_optimizer(learning)
    optimizer = optimizer._replace(count=jnp.array([5, 6, 7]), mu={"kernel": 10 * kernel[1:]})
    state = TrainState({"kernel": kernel}, optimizer, None, jax.random.PRNGKey(0), jnp.int32(4), learning)  # type: ignore[arg-type]
    after = with_copy(state, (1, 2, 3), Copy(task=9, to=3, of=1))
    np.testing.assert_array_equal(after.params["kernel"], kernel.at[3].set(kernel[1]))
    moments: Any = after.optimizer
    np.testing.assert_array_equal(moments.mu["kernel"], 10 * kernel[jnp.array([1, 2, 1])])
    assert moments.count.tolist() == [5, 6, 5] and after.best is state.best
