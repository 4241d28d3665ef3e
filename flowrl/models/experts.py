"""Experts on an axis. Stack, take, put, and the way to and from the seed's named parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.errors import LibraryError
from flowrl.weights import TOWERS, Expert, Tree, experts_of, flatten, named_state, unflatten

Params = Any
"""{"actor": ..., "critic": ...} with leaves [E, ...]."""


def count(params: Params) -> int:
    """Number of experts E."""
    return int(jax.tree.leaves(params)[0].shape[0])


def take(params: Params, experts: Sequence[int]) -> Params:
    """Select experts along the axis, in the given order."""
    index = np.asarray(experts, dtype=np.int32)
    return jax.tree.map(lambda leaf: leaf[index], params)


def put(params: Params, experts: Sequence[int], some: Params) -> Params:
    """Replace the experts at some places of the axis."""
    index = np.asarray(experts, dtype=np.int32)
    return jax.tree.map(lambda leaf, new: jnp.asarray(leaf).at[index].set(new), params, some)


def stack(experts: Sequence[Mapping[str, Any]]) -> Params:
    """Put single experts, leaves [...], on the axis: leaves [E, ...]."""
    return unflatten({name: jnp.stack([expert[name] for expert in experts]) for name in experts[0]})


def unstack(params: Params) -> dict[int, Expert]:
    """Take every expert off the axis, onto the host."""
    host = flatten(jax.tree.map(np.asarray, params))
    return {i: {name: leaf[i] for name, leaf in host.items()} for i in range(count(params))}


def to_named(params: Params) -> Tree:
    """The seed's named state. Expert i of the axis becomes `actor_networks_i` and `critic_networks_i`."""
    return named_state(unstack(params))


def from_named(named: Mapping[str, Any]) -> Params:
    """The experts of a named state on the axis. In ascending order of their numbers."""
    return stack(list(experts_of(named).values()))


def param_updater(new_state: Mapping[str, Any], prev_state: Mapping[str, Any]) -> dict[str, Any]:
    """Seed a fresh state with trained experts by number. The others stay as initialised.

    Args:
        new_state: {"params": leaves [E, ...]}, as `ActorCriticMoE.init` returns it.
        prev_state: a named state with any subset of experts 0..E-1, or nothing.

    Raises:
        LibraryError: an expert's number is not below E, or its shape is not the network's.
    """
    params = {tower: new_state["params"][tower] for tower in TOWERS}
    experts = experts_of(prev_state)
    if not experts:
        return {"params": params}
    wanted = {name: tuple(leaf.shape[1:]) for name, leaf in flatten(params).items()}
    for i, expert in experts.items():
        found = {name: tuple(leaf.shape) for name, leaf in expert.items()}
        for name in sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
            raise LibraryError(
                f"Expert {i} has {name} of shape {found.get(name)}; this network needs {wanted.get(name)}."
            )
    if (last := max(experts)) >= (held := count(params)):
        raise LibraryError(f"The weights hold expert {last}, but this network has experts 0..{held - 1} only.")
    return {"params": put(params, list(experts), stack(list(experts.values())))}
