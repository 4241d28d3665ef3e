"""Minibatches: every sample once, each expert's spread evenly over them."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.config import PPOConfig
from flowrl.rollout.devices import SAME, groups_of
from flowrl.training import expert_parallel
from flowrl.training.minibatches import DeviceShare, Schedule, plan_schedule, share_of

EXPERTS = 5
GROUPS = 2
SIZE = 60


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Experts of unlike frequency, one of them with a single sample and one with none; some samples of none."""
    rng = np.random.default_rng(seed)
    expert = rng.choice(3, (GROUPS, SIZE), p=[0.7, 0.2, 0.1])
    expert[0, 7] = 3
    trained = rng.random((GROUPS, SIZE)) < 0.8
    trained[0, 7] = True
    return expert, trained


def planned(
    expert: np.ndarray, trained: np.ndarray, seed: int = 0, minibatch: int = 16
) -> tuple[Schedule, DeviceShare]:
    groups = groups_of(GROUPS, jax.local_devices()[:1])
    config = PPOConfig(minibatch_size=minibatch, epochs=1, min_gradient_steps=1)

    def plan(expert: Any, trained: Any) -> tuple[Any, DeviceShare]:
        schedule = plan_schedule(config, expert, trained, groups, EXPERTS, jnp.zeros(1))
        share = share_of(expert, trained, jax.random.PRNGKey(seed), schedule, groups)
        return schedule._replace(max_batches=jnp.int32(schedule.max_batches), block=jnp.int32(schedule.block)), share

    found: Any = jax.jit(groups.spread(plan, (SAME, SAME), SAME))(jnp.asarray(expert), jnp.asarray(trained))
    schedule, share = jax.tree.map(np.asarray, found)
    return schedule, share


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_every_sample_is_learned_from_once(seed: int, apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expert_parallel, "STEP_COST", 1000 if apart else 0)
    expert, trained = drawn(seed)
    schedule, share = planned(expert, trained, seed)
    assert bool(schedule.placement.apart) is apart
    assert len(share.picked) == GROUPS * SIZE + schedule.block, "room to read a whole block at the end"
    seen: list[int] = []
    for e, m, g in itertools.product(range(EXPERTS), range(schedule.max_batches), range(GROUPS)):
        own = share.picked[share.first[e, m, 0 if apart else g] :][: share.amount[e, m, g]]
        assert (expert.ravel()[own] == e).all() and trained.ravel()[own].all()
        assert apart or (own // SIZE == g).all()
        assert not (apart and len(own)) or g == schedule.placement.owner[e]
        seen += own.tolist()
    assert sorted(seen) == np.flatnonzero(trained).tolist()


@pytest.mark.parametrize("minibatch", [4, 16, 120])
def test_minibatches_are_even_for_each_expert(minibatch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expert_parallel, "STEP_COST", 0)
    expert, trained = drawn(0)
    schedule, share = planned(expert, trained, minibatch=minibatch)
    batches = -(-trained.sum(axis=1).max() // (minibatch // GROUPS))
    assert schedule.batches == batches <= schedule.max_batches
    amounts = share.amount[:, :batches]
    assert (amounts.max(axis=1) - amounts.min(axis=1) <= 1).all() and (share.amount[:, batches:] == 0).all()


def test_few_samples_of_several_groups_make_as_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expert_parallel, "STEP_COST", 0)
    expert, trained = np.zeros((GROUPS, SIZE), int), np.ones((GROUPS, SIZE), bool)
    expert[:, :2], expert[:, 2] = 1, 2
    schedule, share = planned(expert, trained)
    assert schedule.batches == 8 and share.turns.tolist() == [8, 4, 2, 0, 0]


def test_an_expert_is_stepped_where_it_has_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expert_parallel, "STEP_COST", 0)
    schedule, share = planned(*drawn(0))
    assert share.steps == 4 and sorted(share.numbers[:4]) == [0, 1, 2, 3]
    assert share.turns[3] == 1 and share.turns[4] == 0 and share.turns[0] == schedule.batches > 3
    for e in range(EXPERTS):
        has = np.flatnonzero(share.amount[e].sum(axis=1))
        assert sorted(share.batches[e, : share.turns[e]]) == has.tolist()


def test_the_order_is_another_one_for_each_epoch_and_each_group() -> None:
    expert, trained = np.zeros((GROUPS, SIZE), int), np.ones((GROUPS, SIZE), bool)
    orders = [planned(expert, trained, seed, minibatch=2 * SIZE)[1].picked[: GROUPS * SIZE] for seed in (0, 1)]
    one, other, again = orders[0][:SIZE], orders[0][SIZE:] - SIZE, orders[1][:SIZE]
    for a, b in ((one, np.arange(SIZE)), (one, other), (one, again)):
        assert sorted(a) == sorted(b) and (a != b).mean() > 0.8


def test_nothing_to_learn_from_is_no_step() -> None:
    schedule, share = planned(np.zeros((GROUPS, SIZE), int), np.zeros((GROUPS, SIZE), bool))
    assert share.steps == 0 and not share.amount.any() and not share.turns.any() and schedule.batches == 0
