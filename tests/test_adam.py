"""Adam for one expert among many, against optax's own for that expert alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowrl.config import PPOConfig
from flowrl.learning.adam import CHUNK, Experts, gradient_norm, init_optimiser, step_expert

CONFIG = PPOConfig(grad_norm=1.0)
YES, NO = jnp.bool_(True), jnp.bool_(False)
SHAPES = {"kernel": (3, 101, CHUNK // 40), "small": (3, 2, 3), "bias": (3, 7)}
"""Of three experts. The first takes three turns, and its rows can't be shared out evenly."""


def drawn(seed: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    keys = jax.random.split(jax.random.PRNGKey(seed), len(shapes))
    return {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}


@pytest.mark.parametrize("on_cpu", [True, False])
def test_each_expert_is_clipped_on_its_own(on_cpu: bool) -> None:
    params = {"a": jnp.zeros((1, 2)), "b": jnp.zeros((1, 1))}
    experts = Experts(params, init_optimiser(params))
    steep, flat = ({"a": jnp.array([slopes]), "b": jnp.zeros((1, 1))} for slopes in ([3.0, 4.0], [0.3, 0.4]))
    for gradient, norm, kept in ((steep, 5.0, 1.0), (flat, 0.5, 0.5)):
        stepped, found = step_expert(experts, 0, gradient, CONFIG, jnp.float32(0.1), YES, on_cpu)
        assert float(found) == pytest.approx(norm)
        assert float(gradient_norm(stepped.moments.mu)) == pytest.approx(0.1 * kept, rel=1e-5)


@pytest.mark.parametrize("number", [0, 2])
def test_a_few_rows_at_a_time_and_all_at_once_are_the_step_of_optax(number: int) -> None:
    """Three steps, so that the moments are not what they began as; experts beside it stay bit for bit."""
    assert -(-SHAPES["kernel"][1] * SHAPES["kernel"][2] // CHUNK) == 3 and SHAPES["kernel"][1] % 3
    start, others = drawn(0, SHAPES), np.array([e for e in range(3) if e != number])
    reference = optax.chain(optax.clip_by_global_norm(CONFIG.grad_norm), optax.adam(0.01, eps=1e-5))
    expected = jax.tree.map(lambda leaf: leaf[number : number + 1], start)
    state = reference.init(expected)
    step = jax.jit(step_expert, static_argnums=(3, 6))
    found = [Experts(start, init_optimiser(start)) for _ in range(2)]
    for seed in (1, 2, 3):
        gradient = drawn(seed, {name: (1, *shape[1:]) for name, shape in SHAPES.items()})
        updates, state = reference.update(gradient, state, expected)
        expected = optax.apply_updates(expected, updates)
        for i, on_cpu in enumerate((True, False)):
            after, _ = step(found[i], jnp.int32(number), gradient, CONFIG, jnp.float32(0.01), YES, on_cpu)
            found[i] = after._replace(moments=after.moments._replace(count=after.moments.count + 1))
    for experts in found:
        jax.tree.map(
            lambda leaf, own: np.testing.assert_allclose(leaf[number], own[0], atol=1e-6), experts.params, expected
        )
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[others], b[others]), experts.params, start)
        assert all((np.asarray(leaf)[others] == 0).all() for leaf in jax.tree.leaves(experts.moments.nu))


@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_step_that_is_not_wanted_changes_nothing(on_cpu: bool) -> None:
    start = drawn(0, SHAPES)
    before = Experts(start, init_optimiser(start)._replace(mu=drawn(1, SHAPES), nu=drawn(2, SHAPES)))
    gradient = drawn(3, {name: (1, *shape[1:]) for name, shape in SHAPES.items()})
    after, _ = step_expert(before, 1, gradient, CONFIG, jnp.float32(0.1), NO, on_cpu)
    jax.tree.map(np.testing.assert_array_equal, before, after)
