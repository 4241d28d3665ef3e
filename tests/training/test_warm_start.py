"""Warm starts: which expert begins as a copy of which, and when."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.stats import Share
from flowrl.training.optimizer import init_optimizer
from flowrl.training.state import TrainState
from flowrl.training.warm_start import Copy, WarmStart, with_copy

TREE, COAL, DIAMOND = 5, 8, 10


def shares(*percent: int | None, total: int = 200) -> list[Share]:
    return [Share(successes=0 if p is None else p * total // 100, total=0 if p is None else total) for p in percent]


ALL = (0, 1, 2, 3)
# Wood, table, coal, diamond, played by experts 3, 0, 1, 2.
CHAIN = WarmStart((TREE, -1, COAL, DIAMOND), (True, False, True, True), (3, 0, 1, 2), ALL, ALL, 0.6)
WEAK = shares(90, 90, 0, 0)


@pytest.mark.parametrize(
    ("success", "expected"),
    [
        (shares(50, 0, None, None), []),
        (shares(70, 90, 10, None), [Copy(task=2, to=1, of=3)]),
        (shares(70, 90, 40, None), []),
        (shares(99, 99, 70, 20), [Copy(task=3, to=2, of=1)]),
        (shares(70, 90, 10, None, total=50), []),
    ],
    ids=["source too weak", "coal from wood", "learns by itself", "diamond from coal, not wood", "too few episodes"],
)
def test_an_expert_that_seeks_begins_as_the_one_before_it(success: list[Share], expected: list[Copy]) -> None:
    assert CHAIN.copies(success, ()) == expected


def test_what_was_copied_or_came_from_a_library_is_left_alone() -> None:
    assert CHAIN.copies(WEAK, (2,)) == []
    assert replace(CHAIN, random=(0, 2, 3)).copies(WEAK, ()) == []
    assert replace(CHAIN, copy_at=0.0).copies(WEAK, ()) == [], "switched off"
    twice = WarmStart((TREE, COAL, COAL), (True, True, True), (0, 1, 1), ALL, ALL, 0.6)
    assert twice.copies(shares(90, 0, 0), ()) == [Copy(1, 1, 0)], "one expert for two tasks is copied once"
    assert twice.copies(shares(90, 90, 0), twice.settled(shares(90, 90, 0))) == []


def test_what_pre_empts_begins_once_as_the_expert_that_looks_for_the_same() -> None:
    resting = replace(CHAIN, experts=(3, 0, 1, 2, 4), interrupts=(COAL,), random=(4,), trained=(*ALL, 4))
    learned, weak = shares(90, 90, 70, 0), shares(90, 90, 50, 0)
    assert resting.copies(learned, ()) == [Copy(task=4, to=4, of=1)] and resting.copies(weak, ()) == []
    assert resting.copies(learned, (4,)) == [], "what it has learned since stays"
    assert replace(resting, random=()).copies(learned, ()) == [], "it came from a library"
    assert replace(resting, interrupts=(DIAMOND + 1,)).copies(learned, ()) == [], "nobody looks for that"
    assert replace(resting, interrupts=(-1,)).copies(learned, ()) == []


def test_a_frozen_expert_is_no_source_since_its_moments_are_unknown() -> None:
    assert replace(CHAIN, trained=(0, 1, 2)).copies(WEAK, ()) == []


def test_what_learned_by_itself_is_not_overwritten_by_a_few_bad_episodes() -> None:
    assert CHAIN.settled(shares(99, 99, 40, 10)) == {0, 1, 2}
    assert CHAIN.settled(shares(99, 99, 40, 10, total=50)) == set()
    later = [*shares(99, 99), *shares(0, 0, total=2)]
    assert CHAIN.copies(later, CHAIN.settled(shares(99, 99, 40, 10))) == []


def test_what_only_comes_near_is_no_ground_to_begin_from() -> None:
    """Wood, back to the table, coal: both begin as the expert for wood."""
    plan = WarmStart((TREE, 11, COAL), (True, False, True), (0, 1, 2), ALL, ALL, 0.6)
    assert plan.copies(shares(90, 0, 0), ()) == [Copy(task=1, to=1, of=0), Copy(task=2, to=2, of=0)]


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
