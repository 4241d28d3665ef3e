"""Experts on an axis: stack, take, put, and the seed's named parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.errors import LibraryError
from flowrl.weights import TOWERS, Tree, expert_indices, expert_of, named_state, require_same_shape, shapes

Params = Any
"""{"actor": ..., "critic": ...} with leaves [E, ...]."""


def count(params: Params) -> int:
    """Number of experts that the parameters hold."""
    return int(jax.tree.leaves(params)[0].shape[0])


def take(params: Params, experts: Sequence[int]) -> Params:
    """Select experts, in the given order."""
    index = np.asarray(experts, dtype=np.int32)
    return jax.tree.map(lambda leaf: leaf[index], params)


def put(params: Params, experts: Sequence[int], some: Params) -> Params:
    """Replace some experts."""
    index = np.asarray(experts, dtype=np.int32)
    return jax.tree.map(lambda leaf, new: jnp.asarray(leaf).at[index].set(new), params, some)


def stack(experts: Sequence[Mapping[str, Any]]) -> Params:
    """Stack single experts, leaves [...], on a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *experts)


def to_named(params: Params) -> Tree:
    """Convert to the seed's named state. Expert i of the axis becomes `actor_networks_i` and `critic_networks_i`."""
    host = jax.tree.map(np.asarray, params)
    return named_state({i: jax.tree.map(lambda leaf, i=i: leaf[i], host) for i in range(count(params))})


def from_named(named: Mapping[str, Any]) -> Params:
    """Stack a named state's experts, in ascending order of their numbers."""
    return stack([expert_of(named, i) for i in expert_indices(named)])


def param_updater(new_state: Mapping[str, Any], prev_state: Mapping[str, Any]) -> dict[str, Any]:
    """Put the experts of ``prev_state`` into a fresh state by number. The others stay as initialised.

    Args:
        new_state: {"params": leaves [E, ...]}, as `ActorCriticMoE.init` returns it.
        prev_state: a named state with any subset of experts 0..E-1, or nothing.

    Raises:
        LibraryError: an expert's number is not below E, or its shape is not the network's.
    """
    params = {tower: new_state["params"][tower] for tower in TOWERS}
    indices = expert_indices(prev_state)
    if not indices:
        return {"params": params}
    # The shapes of one expert: without the axis of experts.
    wanted = shapes(jax.tree.map(lambda leaf: leaf[0], params))
    experts = {i: expert_of(prev_state, i) for i in indices}
    require_same_shape(((f"Expert {i}", expert) for i, expert in experts.items()), wanted)
    if indices[-1] >= count(params):
        raise LibraryError(
            f"The weights hold expert {indices[-1]}, but this network has experts 0..{count(params) - 1} only."
        )
    return {"params": put(params, indices, stack(list(experts.values())))}
