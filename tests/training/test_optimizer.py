"""Adam for one expert, against optax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowrl.config import PPOConfig
from flowrl.training.optimizer import ROWS, Experts, gradient_norm, init_optimizer, step_expert

CONFIG = PPOConfig(max_grad_norm=1.0)
SHAPES = {"kernel": (1, 12 * ROWS + 5, 40), "small": (1, 2, 3), "bias": (1, 7)}
"""The rows of the first can't be shared out evenly."""


def drawn(seed: int) -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.PRNGKey(seed), len(SHAPES))
    return {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, SHAPES.items(), strict=True)}


@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_gradient_is_clipped(on_cpu: bool) -> None:
    params = {"a": jnp.zeros((1, 2)), "b": jnp.zeros((1, 1))}
    expert = Experts(params, init_optimizer(params))
    steep, flat = ({"a": jnp.array([slopes]), "b": jnp.zeros((1, 1))} for slopes in ([3.0, 4.0], [0.3, 0.4]))
    for gradient, norm, kept in ((steep, 5.0, 1.0), (flat, 0.5, 0.5)):
        stepped, found = step_expert(expert, gradient, CONFIG, jnp.float32(0.1), on_cpu)
        assert float(found) == pytest.approx(norm)
        assert float(gradient_norm(stepped.moments.mu, on_cpu)) == pytest.approx(0.1 * kept, rel=1e-5)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_norm_is_of_every_number(on_cpu: bool) -> None:
    gradient = drawn(0)
    assert float(gradient_norm(gradient, on_cpu)) == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-6)
    for name, leaf in gradient.items():
        last = {other: jnp.zeros(shape) for other, shape in SHAPES.items()}
        last[name] = jnp.zeros_like(leaf).at[(-1,) * leaf.ndim].set(-3.0)
        assert float(gradient_norm(last, on_cpu)) == 3.0


@pytest.mark.parametrize("on_cpu", [True, False])
def test_steps_are_those_of_optax(on_cpu: bool) -> None:
    """Three of them, so that the moments are not what they began as."""
    expected = drawn(0)
    expert = Experts(expected, init_optimizer(expected))
    reference = optax.chain(optax.clip_by_global_norm(CONFIG.max_grad_norm), optax.adam(0.01, eps=1e-5))
    state = reference.init(expected)
    for seed in (1, 2, 3):
        gradient = drawn(seed)
        updates, state = reference.update(gradient, state, expected)
        expected = optax.apply_updates(expected, updates)
        expert, _ = step_expert(expert, gradient, CONFIG, jnp.float32(0.01), on_cpu)
    jax.tree.map(lambda leaf, own: np.testing.assert_allclose(leaf, own, atol=1e-6), expert.params, expected)
