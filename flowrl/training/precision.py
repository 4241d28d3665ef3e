"""Check that a network in bfloat16 answers as in float32."""

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.env.observation import features
from flowrl.errors import TrainingError
from flowrl.rollout.rollout import apply_network
from flowrl.training.state import TrainState
from flowrl.training.trainer import Trainer

ALLOWED = 0.05
"""Difference of an action's probability, and of a value for each unit of its size or its one unit, that may be."""


def check_bfloat16(trainer: Trainer, state: TrainState, device: jax.Device) -> None:
    """Compare bfloat16 with float32 on the episodes under way.

    Raises:
        TrainingError: it does not; says by how much.
    """
    network = trainer.network(trainer.experts)

    @jax.jit
    def differences(state: TrainState) -> tuple[jax.Array, jax.Array]:
        seen = features(trainer.env.domain, trainer.env.observe(state.flow))
        expert = trainer.env.expert(state.flow)
        logits, value = apply_network(network, state.params, seen, expert)
        exact_logits, exact_value = apply_network(network.clone(dtype=jnp.float32), state.params, seen, expert)
        chances = jnp.abs(jax.nn.softmax(logits) - jax.nn.softmax(exact_logits)).max()
        return chances, (jnp.abs(value - exact_value) / jnp.maximum(jnp.abs(exact_value), 1.0)).max()

    # On one device: only a run's learning may make devices wait for each other.
    chances, values = (float(np.asarray(each)) for each in differences(jax.device_put(state, device)))
    if not (chances <= ALLOWED and values <= ALLOWED):
        raise TrainingError(
            f"In bfloat16 the network's probabilities differ from float32 by up to {chances:.3f}, its values by up to "
            f"{values:.3f}; {ALLOWED} is allowed. Train without it: --set ppo.bfloat16=false"
        )
