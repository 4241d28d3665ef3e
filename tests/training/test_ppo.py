"""PPO on probe environments, and its parts against values worked out by hand."""

import re
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowrl.models.actor_critic import init_network
from flowrl.training import expert_parallel
from flowrl.training.gae import generalised_advantages, normalise_per_expert
from flowrl.training.ppo import Samples, ppo_loss
from flowrl.training.programs import Programs
from flowrl.training.trainer import Trainer
from tests.support.probes import (
    CLOCK,
    COIN,
    CONSTANT,
    ROUTED,
    ask,
    made_up_samples,
    probe_domain,
    probe_trainer,
    task,
    train,
    updated,
)


def test_the_value_of_a_constant_reward_is_learned() -> None:
    trainer = probe_trainer(CONSTANT, [task(lambda seen: seen.time >= 0, lambda seen: 1.0)], [0])
    state, _ = train(trainer)
    np.testing.assert_allclose(ask(trainer, state)[2], 1.0, atol=0.1)


def test_the_value_depends_on_the_observation() -> None:
    trainer = probe_trainer(COIN, [task(lambda seen: seen.time >= 0, lambda seen: seen.signal)], [0])
    state, _ = train(trainer)
    signal, _, value = ask(trainer, state)
    assert set(signal) == {-1.0, 1.0}
    np.testing.assert_allclose(value, signal, atol=0.15)


def test_a_reward_one_step_ahead_is_discounted_once() -> None:
    trainer = probe_trainer(CLOCK, [task(lambda seen: seen.time >= 2, lambda seen: seen.time >= 2)], [0])
    state, _ = train(trainer, 100)
    signal, _, value = ask(trainer, state)
    np.testing.assert_allclose(value, np.where(signal > 0, 1.0, 0.9), atol=0.1)


def test_the_better_action_is_found() -> None:
    trainer = probe_trainer(CONSTANT, [task(lambda seen: seen.time >= 0, lambda seen: seen.action == 1)], [0])
    state, _ = train(trainer)
    assert (ask(trainer, state)[1][:, 1] > 0.9).all()


def test_the_better_action_of_each_observation_is_found() -> None:
    trainer = probe_trainer(
        COIN, [task(lambda seen: seen.time >= 0, lambda seen: (seen.action == 1) == (seen.signal > 0))], [0]
    )
    state, _ = train(trainer, 100)
    signal, probabilities, _ = ask(trainer, state)
    assert (np.where(signal > 0, probabilities[:, 1], probabilities[:, 0]) > 0.9).all()


@pytest.mark.parametrize(("experts", "solved"), [([0, 1], True), ([0, 0], False)])
def test_two_tasks_that_look_alike_need_two_experts(experts: list[int], solved: bool) -> None:
    trainer = probe_trainer(CONSTANT, ROUTED, experts)
    _, history = train(trainer, 100)
    least = np.mean([stats.metrics.reward.min() for stats in history[-10:]])
    assert (least > 0.9) == solved


def test_frozen_experts_stay_bit_for_bit_and_cost_no_samples() -> None:
    whole = probe_trainer(CONSTANT, ROUTED, [0, 1])
    trainer = Trainer(whole.env, whole.config, 2, (1,))
    start = Programs(trainer).init(jax.random.PRNGKey(0), {})
    before = jax.tree.map(np.asarray, start.params)
    state, history = train(trainer, 5)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[0]), before, state.params)
    assert any(
        (a[1] != np.asarray(b)[1]).any()
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(state.params), strict=True)
    )
    played = sum(int((stats.results.task == 1).sum()) for stats in history)
    assert sum(int(stats.metrics.trained_samples) for stats in history) == played < 5 * 8 * 32


def rows(*values: float) -> jnp.ndarray:
    return jnp.array(values, dtype=jnp.float32)[:, None]


def advantages(cut: tuple[bool, ...], timeout: tuple[bool, ...], timeout_value: float = 0.0) -> np.ndarray:
    flags = jnp.array(cut)[:, None], jnp.array(timeout)[:, None]
    advantage, target = generalised_advantages(
        rows(1, 2, 3),
        rows(0.5, 0.25, 0.75),
        jnp.array([10.0]),
        *flags,
        jnp.where(flags[1], timeout_value, 0.0),
        0.9,
        0.5,
    )
    np.testing.assert_allclose(target, advantage + rows(0.5, 0.25, 0.75), rtol=1e-6)
    return np.asarray(advantage)[:, 0]


def test_advantages_without_an_end() -> None:
    last = 3 + 0.9 * 10 - 0.75
    middle = 2 + 0.9 * 0.75 - 0.25 + 0.45 * last
    np.testing.assert_allclose(
        advantages((False,) * 3, (False,) * 3), [1 + 0.9 * 0.25 - 0.5 + 0.45 * middle, middle, last], rtol=1e-6
    )


def test_nothing_flows_over_the_end_of_a_task() -> None:
    got = advantages((False, True, False), (False,) * 3)
    middle = 2 - 0.25
    np.testing.assert_allclose(got[:2], [1 + 0.9 * 0.25 - 0.5 + 0.45 * middle, middle], rtol=1e-6)


def test_a_timeout_bootstraps_from_the_state_it_reached() -> None:
    got = advantages((False,) * 3, (False, True, False), timeout_value=4.0)
    assert got[1] == pytest.approx(2 + 0.9 * 4.0 - 0.25)


def test_a_timeout_counts_the_value_reached_and_a_death_does_not() -> None:
    """Reward 1 a step for ever: with time-outs bootstrapped the value nears 1 / (1 - gamma) = 10."""
    forever = [task(lambda seen: seen.time < 0, lambda seen: 1.0)]
    state, _ = train(trainer := probe_trainer(CONSTANT, forever, [0], episode_steps=3, value_clip_eps=10.0), 200)
    assert ask(trainer, state)[2].mean() > 7.5
    deadly = probe_domain(lambda key, time: jnp.float32(0), deadly=True)
    state, _ = train(trainer := probe_trainer(deadly, forever, [0]), 60)
    np.testing.assert_allclose(ask(trainer, state)[2], 1.0, atol=0.1)


@pytest.mark.parametrize(("credit", "first"), [("task", 0.0), ("plan", 0.9)])
def test_credit_flows_to_the_end_of_a_task_or_of_the_plan(credit: str, first: float) -> None:
    """Two tasks of a step each, by two experts; only the second pays."""
    plan = [task(lambda seen: seen.time >= 0, lambda seen: 0.0), task(lambda seen: seen.time >= 0, lambda seen: 1.0)]
    state, _ = train(trainer := probe_trainer(CONSTANT, plan, [0, 1], credit=credit), 100)
    number, value = np.asarray(state.flow.task), ask(trainer, state)[2]
    assert set(number) <= {0, 1}
    np.testing.assert_allclose(value[number == 0], first, atol=0.1)
    np.testing.assert_allclose(value[number == 1], 1.0, atol=0.1)


def test_advantages_are_normalised_per_expert_with_a_floor() -> None:
    values = jnp.concatenate([jnp.arange(8.0), 5 + 0.001 * jnp.arange(8.0)])
    expert = jnp.repeat(jnp.arange(2), 8)

    def total(parts: Any) -> Any:
        return jax.tree.map(lambda part: part.sum(axis=0), parts)

    normal = np.asarray(normalise_per_expert(values[None], expert[None], 3, 0.05, total))[0]
    np.testing.assert_allclose([normal[:8].mean(), normal[8:].mean()], 0, atol=1e-5)
    np.testing.assert_allclose(normal[:8].std(), 1, rtol=1e-5)
    np.testing.assert_allclose(normal[8:].std(), np.std(0.001 * np.arange(8)) / 0.05, rtol=1e-2)


def masked_gradient(trainer: Trainer, params: Any, samples: Samples) -> Any:
    """The gradient of every expert's own mean loss, each evaluated on every sample and masked."""
    one, config = trainer.network(1), trainer.config.ppo

    def loss(params: Any) -> Any:
        total = 0.0
        for number in range(trainer.experts):
            own = jax.tree.map(lambda leaf, number=number: leaf[number : number + 1], params)
            weight = (samples.expert == number) / max(1, int((samples.expert == number).sum()))
            batch = samples._replace(expert=jnp.zeros_like(samples.expert))
            total += ppo_loss(own, one, trainer.env.domain, config, batch, weight)[0]
        return total

    return jax.grad(loss)(params)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("apart", [False, True])
def test_a_step_expert_by_expert_is_a_step_of_the_whole_mixture(
    groups: int, devices: int, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first moments after one step are a tenth of the gradient."""
    monkeypatch.setattr(expert_parallel, "STEP_COST", 1000 if apart else 0)
    trainer = probe_trainer(
        CLOCK, ROUTED * 2, [0, 1, 2, 3], max_grad_norm=1e9, epochs=1, min_gradient_steps=1, minibatch_size=128
    )
    samples = made_up_samples(trainer, 120, 4)
    amounts = jnp.bincount(samples.expert, length=4)
    assert bool(expert_parallel.place_experts(amounts, jnp.full(4, expert_parallel.STEP_COST), groups)[1]) is (
        apart and groups == 2
    )
    _, moments, losses = updated(trainer, samples, groups, devices)
    params = init_network(trainer.network(4), jax.random.PRNGKey(0))["params"]
    wanted = masked_gradient(trainer, params, samples)
    jax.tree.map(lambda mu, g: np.testing.assert_allclose(mu, 0.1 * g, atol=1e-6, rtol=1e-4), moments.mu, wanted)
    assert all((np.asarray(leaf)[3] == 0).all() for leaf in jax.tree.leaves(moments.mu)), "expert 3 has no sample"
    norms = [sum(float((g[e] ** 2).sum()) for g in jax.tree.leaves(wanted)) ** 0.5 for e in range(4)]
    assert float(losses.grad_norm) == pytest.approx(max(norms), rel=1e-4)


def test_an_update_makes_the_steps_of_optax() -> None:
    """Two epochs of three minibatches of samples that are all alike, so that their order does not matter.

    Expert 1 has a single sample, in a minibatch of its own: its steps, of the third and the sixth, are its first two.
    """
    trainer = probe_trainer(
        CLOCK, ROUTED * 2, [0, 1, 2, 3], epochs=2, min_gradient_steps=1, minibatch_size=16, max_grad_norm=0.05
    )
    samples = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], 48, axis=0), made_up_samples(trainer, 48, 4))
    samples = samples._replace(expert=jnp.zeros(48, int).at[5].set(1))
    after, moments, _ = updated(trainer, samples, 1, 1)
    config, network = trainer.config.ppo, trainer.network(1)
    alone = jax.tree.map(lambda leaf: leaf[:1], samples)._replace(expert=jnp.zeros(1, int))
    gradient = jax.grad(lambda own, w: ppo_loss(own, network, trainer.env.domain, config, alone, w)[0])
    adam = optax.scale_by_adam(eps=1e-5)
    for number, divisor, batches in ((0, 47 / 3, [15, 16, 16]), (1, 1.0, [1])):
        own = jax.tree.map(
            lambda leaf, number=number: leaf[number : number + 1],
            init_network(trainer.network(4), jax.random.PRNGKey(0))["params"],
        )
        state = adam.init(own)
        for amount in batches * 2:
            slopes = gradient(own, jnp.array([amount / divisor]))
            slopes, _ = optax.clip_by_global_norm(config.max_grad_norm).update(slopes, optax.EmptyState())
            directions, state = adam.update(slopes, state)
            own = jax.tree.map(lambda leaf, way: leaf - 1e-3 * way, own, directions)
        found = jax.tree.map(lambda leaf, number=number: leaf[number : number + 1], after)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, own)
    assert moments.count.tolist() == [6, 2, 0, 0]


@pytest.mark.parametrize("others", [0, 99, 990])
def test_a_rare_expert_steps_as_it_would_alone(others: int) -> None:
    """The same ten samples of expert 1, alone, or as a tenth or a hundredth of all."""
    trainer = probe_trainer(CLOCK, ROUTED * 2, [0, 1, 2, 3], epochs=1, min_gradient_steps=1, minibatch_size=2048)
    rare = made_up_samples(trainer, 10, 4)._replace(expert=jnp.ones(10, int))
    alone, _, _ = updated(trainer, rare, 1, 1)
    common = made_up_samples(trainer, max(others, 1), 4)._replace(expert=jnp.zeros(max(others, 1), int))
    mixed = jax.tree.map(lambda a, b: jnp.concatenate([a, b[:others]]), rare, common)
    among, moments, _ = updated(trainer, mixed, 1, 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b[1], atol=1e-6), alone, among)
    assert moments.count.tolist() == [int(others > 0), 1, 0, 0]


def test_an_expert_that_is_reached_late_steps_as_a_new_one() -> None:
    """Adam corrects its moments for its own steps: after a hundred of another's, its first is no larger."""
    trainer, longer = (
        probe_trainer(CLOCK, ROUTED * 2, [0, 1, 2, 3], epochs=epochs, min_gradient_steps=1, minibatch_size=2048)
        for epochs in (1, 100)
    )
    late = made_up_samples(trainer, 10, 4)._replace(expert=jnp.ones(10, int))
    fresh, _, _ = updated(trainer, late, 1, 1)
    params, moments, _ = updated(longer, late._replace(expert=jnp.zeros(10, int)), 1, 1)
    assert moments.count.tolist() == [100, 0, 0, 0]
    after, _, _ = updated(trainer, late, 1, 1, (params, moments))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b[1], atol=1e-6), fresh, after)


def test_experts_stepped_apart_are_those_stepped_together_on_any_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of four minibatches, one expert with most of the samples."""
    trainer = probe_trainer(CLOCK, ROUTED * 2, [0, 1, 2, 3], epochs=2, min_gradient_steps=1, minibatch_size=32)
    samples = made_up_samples(trainer, 120, 4)
    amounts, found = jnp.bincount(samples.expert, length=4), {}
    for groups, cost in ((2, 0), (2, 1000), (4, 1000)):
        monkeypatch.setattr(expert_parallel, "STEP_COST", cost)
        assert bool(expert_parallel.place_experts(amounts, jnp.full(4, 4 * cost), groups).apart) is (cost > 0)
        found[groups, cost] = [updated(trainer, samples, groups, devices) for devices in (1, 2)]
        one, two = ([leaf.tobytes() for leaf in jax.tree.leaves(jax.device_get(each))] for each in found[groups, cost])
        assert one == two, "bit for bit, signs of zeros included"
    (params, moments, losses), (apart, moments_apart, losses_apart) = found[2, 0][1], found[2, 1000][1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3), params, apart)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-2), moments.mu, moments_apart.mu)
    np.testing.assert_allclose(losses, losses_apart, rtol=1e-3, atol=1e-4)
    before = init_network(trainer.network(4), jax.random.PRNGKey(0))["params"]
    moved = [float(jnp.abs(jax.tree.leaves(params)[1][e] - jax.tree.leaves(before)[1][e]).max()) for e in range(4)]
    assert min(moved[:3]) > 1e-3 and moved[3] == 0


def test_each_program_compiles_once_on_the_real_game(caplog: pytest.LogCaptureFixture) -> None:
    """Compiling the step takes longer than learning a skill: a type that changes between updates would double it."""
    jax.clear_caches()  # what an earlier test compiled would not be counted
    from benchmarks.tables.setup import plan_env, plan_trainer
    from flowrl.config import build_config
    from flowrl.evaluation.play import play_worlds

    config = build_config(settings=["env.worlds=4", "env.fresh_worlds=4", "ppo.steps=2", "model.width=8"])
    env = plan_env("Craftax-Classic-Symbolic-v1", "Place Table", episode_steps=4)
    programs = Programs(plan_trainer(env, config, (1,)))
    with jax.log_compiles(), caplog.at_level("WARNING"):
        state = programs.init(jax.random.PRNGKey(0), {})
        for _ in range(3):
            state, _ = programs.update(state)
        play_worlds(programs, state.params, jax.random.PRNGKey(1), np.ones((6, 2), np.int32))
    compiled = Counter(re.findall(r"Compiling jit\((\w+)\) with", "\n".join(caplog.messages)))
    assert {name: compiled[name] for name in ("new_players", "init", "play", "learn")} == {
        "new_players": 1,
        "init": 1,
        "play": 1,
        "learn": 1,
    }


def test_the_learning_rate_falls_to_zero_over_the_budget() -> None:
    trainer = probe_trainer(CONSTANT, ROUTED[:1], [0], frames=8 * 32 * 10, anneal=True)
    rates = [float(trainer.learning_rate(jnp.int32(update))) for update in (0, 5, 10, 12)]
    np.testing.assert_allclose(rates, [5e-3, 2.5e-3, 0, 0], atol=1e-9)
