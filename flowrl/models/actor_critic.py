"""`ActorCriticMoE`: one actor and one critic per expert, each observation seen by its own expert alone."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from flowrl.models.grouped import Grouping, block_size, group_rows, grouped_matmul

Initializer = Any


def _per_expert(initializer: Initializer) -> Initializer:
    """Initialises each expert on its own key, so that one expert looks as a plain network would."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.vmap(lambda k: initializer(k, shape[1:], dtype))(jax.random.split(key, shape[0]))

    return init


class GroupedDense(nn.Module):
    """A dense layer with one kernel `[E, D, F]` and bias `[E, F]` an expert."""

    experts: int
    features: int
    scale: float

    @nn.compact
    def __call__(self, x: Float[Array, "P D"], grouping: Grouping | None) -> Float[Array, "P F"]:
        """Returns the layer's output; with one expert there is nothing to group."""
        # As wide as PPO's customary orthogonal kernels, but drawn without a QR decomposition: several of those in one
        # compiled program wait for each other for ever on a machine with two cores (jaxlib 0.10.1, CPU).
        normal = nn.initializers.variance_scaling(self.scale**2, "fan_in", "truncated_normal")
        kernel = self.param("kernel", _per_expert(normal), (self.experts, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.experts, self.features))
        if grouping is None:
            return x @ kernel[0] + bias[0]
        product = grouped_matmul(x, kernel, grouping)
        blocks = product.reshape(grouping.expert.shape[0], -1, self.features)
        return (blocks + bias[grouping.expert][:, None]).reshape(product.shape)


class GroupedTower(nn.Module):
    """A multilayer perceptron an expert."""

    experts: int
    width: int
    layers: int
    outputs: int
    output_scale: float

    @nn.compact
    def __call__(self, x: Float[Array, "P D"], grouping: Grouping | None) -> Float[Array, "P O"]:
        """Returns the output layer's values."""
        for i in range(self.layers - 1):
            x = nn.tanh(GroupedDense(self.experts, self.width, 2**0.5, name=f"layer_{i}")(x, grouping))
        last = f"layer_{self.layers - 1}"
        return GroupedDense(self.experts, self.outputs, self.output_scale, name=last)(x, grouping)


class ActorCriticMoE(nn.Module):
    """A mixture of experts routed by the current task; constructor as in the seed.

    Every leaf of the parameters has the experts on its leading axis, and there are exactly ``num_tasks`` of them.

    Attributes:
        action_dim: number of actions.
        layer_width: units of a hidden layer.
        num_layers: dense layers of a tower, the output layer included.
        num_tasks: number of experts.
    """

    action_dim: int
    layer_width: int
    num_layers: int
    num_tasks: int

    def setup(self) -> None:
        shape = (self.num_tasks, self.layer_width, self.num_layers)
        self.actor = GroupedTower(*shape, outputs=self.action_dim, output_scale=0.01)
        self.critic = GroupedTower(*shape, outputs=1, output_scale=1.0)

    def __call__(
        self, observation: Float[Array, "N D"], expert: Int[Array, "N"]
    ) -> tuple[Float[Array, "N A"], Float[Array, "N"]]:
        """Returns (logits, value) of each observation by its own expert."""
        if self.num_tasks == 1:
            return self.actor(observation, None), self.critic(observation, None)[:, 0]
        size = block_size(observation.shape[0], self.num_tasks)
        grouping = group_rows(expert, self.num_tasks, size)
        laid_out = observation[grouping.source]
        logits = self.actor(laid_out, grouping)[grouping.place]
        value = self.critic(laid_out, grouping)[grouping.place]
        return logits, value[:, 0]
