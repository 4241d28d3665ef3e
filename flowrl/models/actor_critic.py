"""`ActorCriticMoE`: one actor and one critic for each expert. An observation goes through its own expert alone."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from flowrl.models.grouped_matmul import Grouping, block_size, group_rows, grouped_matmul, lay_out, pick_up
from flowrl.models.sparse_layer import Features, first_layer

Initializer = Any
FIRST = "layer_0"
"""The name of the layer that is looked up in."""
GRAD_ACCUMULATOR = "grad_accumulator"
"""The collection of variables that holds a gradient to be added to; see `add_gradients`."""


def _per_expert(initializer: Initializer) -> Initializer:
    """Initialise each expert on its own key, like a plain network."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.vmap(lambda k: initializer(k, shape[1:], dtype))(jax.random.split(key, shape[0]))

    return init


class ExpertDense(nn.Module):
    """A dense layer, with a kernel and a bias an expert.

    Attributes:
        scale: how wide the kernels are drawn; 1 keeps the size of what goes through.
        dtype: what is multiplied; parameters, and what comes out, are of 32 bits all the same.
    """

    experts: int
    inputs: int
    features: int
    scale: float
    dtype: Any = jnp.float32

    def setup(self) -> None:
        # As wide as PPO's customary orthogonal kernels, but drawn without a QR decomposition: several of those in one
        # compiled program wait for each other for ever on a machine with two cores (jaxlib 0.10.1, CPU).
        normal = nn.initializers.variance_scaling(self.scale**2, "fan_in", "truncated_normal")
        self.kernel = self.param("kernel", _per_expert(normal), (self.experts, self.inputs, self.features))
        self.bias = self.param("bias", nn.initializers.zeros, (self.experts, self.features))

    def look_up(self, features: Features, expert: Int[Array, "N"], grouping: Grouping | None) -> Float[Array, "N F"]:
        """Apply the layer to flat observations, in the order of the batch."""
        bias = self.bias[0] if grouping is None else self.bias[expert]
        grad_accumulator: Array | None = self.get_variable(GRAD_ACCUMULATOR, "kernel")
        return first_layer(self.kernel, features, expert, grouping, grad_accumulator) + bias

    def __call__(self, x: Float[Array, "P D"], grouping: Grouping | None) -> Float[Array, "P F"]:
        """Apply the layer to rows laid out in blocks. With one expert there is nothing to group."""
        x, kernel = x.astype(self.dtype), self.kernel.astype(self.dtype)
        if grouping is None:
            return jnp.dot(x, kernel[0], preferred_element_type=jnp.float32) + self.bias[0]
        product = grouped_matmul(x, kernel, grouping).astype(jnp.float32)  # [P, F]
        blocks = product.reshape(grouping.expert.shape[0], -1, self.features)  # [K, size, F]
        return (blocks + self.bias[grouping.expert][:, None]).reshape(product.shape)


class ExpertTower(nn.Module):
    """One multilayer perceptron an expert. Its first layer may be another tower's."""

    experts: int
    inputs: int
    width: int
    layers: int
    outputs: int
    output_scale: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        features: Features,
        expert: Int[Array, "N"],
        grouping: Grouping | None,
        first: Float[Array, "P F"] | None = None,
    ) -> tuple[Float[Array, "N O"], Float[Array, "P F"]]:
        """Outputs of the last layer and of the first. Those of the last in the order of the batch.

        Args:
            first: what another tower's first layer made of the batch, to be used for an own one.
        """
        if first is None:
            layer = ExpertDense(self.experts, self.inputs, self.width, 2**0.5, name=FIRST)
            first = nn.tanh(layer.look_up(features, expert, grouping))  # [N, F]
            first = first if grouping is None else lay_out(first, grouping)
        x = first  # [P, F], or [N, F] with one expert
        for i in range(1, self.layers - 1):
            hidden = ExpertDense(self.experts, self.width, self.width, 2**0.5, self.dtype, name=f"layer_{i}")
            x = nn.tanh(hidden(x, grouping))
        name, shape = f"layer_{self.layers - 1}", (self.experts, self.width, self.outputs)
        x = ExpertDense(*shape, self.output_scale, self.dtype, name=name)(x, grouping)
        return x if grouping is None else pick_up(x, grouping), first


class ActorCriticMoE(nn.Module):
    """A mixture of experts routed by the current task.

    Constructor as in the seed. Every leaf of the parameters has the experts on its leading axis, and there are exactly
    ``num_tasks`` of them.

    Attributes:
        action_dim: number of actions.
        layer_width: units of a hidden layer.
        num_layers: dense layers of a tower, the output layer included.
        num_tasks: number of experts.
        inputs: columns of a flat observation; 0 where all of them are dense.
        shared: an expert's critic sees through the first layer of its actor; most parameters are in that layer.
        dtype: what is multiplied behind the first layer; all else is of 32 bits.
    """

    action_dim: int
    layer_width: int
    num_layers: int
    num_tasks: int
    inputs: int = 0
    shared: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Features, expert: Int[Array, "N"]) -> tuple[Float[Array, "N A"], Float[Array, "N"]]:
        """Logits and value of each observation, by its own expert."""
        rows, dense = features.dense.shape
        # One layout serves all layers of both towers.
        grouping = None
        if self.num_tasks > 1:
            grouping = group_rows(expert, self.num_tasks, block_size(rows, self.num_tasks))
        shape = (self.num_tasks, self.inputs or dense, self.layer_width, self.num_layers)
        actor = ExpertTower(*shape, outputs=self.action_dim, output_scale=0.01, dtype=self.dtype, name="actor")
        critic = ExpertTower(*shape, outputs=1, output_scale=1.0, dtype=self.dtype, name="critic")
        logits, first = actor(features, expert, grouping)
        value, _ = critic(features, expert, grouping, first if self.shared else None)
        return logits, value[:, 0]


def init_network(network: ActorCriticMoE, key: jax.Array) -> Any:
    """Draw {"params": ...} of a network. Its ``inputs`` must be given: they are the first kernels' rows."""
    nothing = Features(jnp.zeros((1, 0), dtype=jnp.int32), jnp.zeros((1, 0)))
    return network.init(key, nothing, jnp.zeros(1, dtype=jnp.int32))


def add_gradients(grad_accumulator: Any, gradient: Any) -> Any:
    """Add two gradients, the second made with the first as `GRAD_ACCUMULATOR`.

    The first layer's kernel gradient holds the sum already: a copy to be cleared and added would cost more than the
    rows that samples touch.
    """

    def add(path: tuple[Any, ...], before: Array, new: Array) -> Array:
        return new if [key.key for key in path[-2:]] == [FIRST, "kernel"] else before + new

    return jax.tree_util.tree_map_with_path(add, grad_accumulator, gradient)
