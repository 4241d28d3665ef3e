"""The first layer as a lookup, against the product with the flat observation that it stands for."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.env.flow_env import FlowEnv, TaskAmounts
from flowrl.env.observation import expand, features
from flowrl.env.player import PlayerState
from flowrl.env.registry import domain_named
from flowrl.models import grouped_matmul as grouped
from flowrl.models import sparse_layer as lookup
from flowrl.models.actor_critic import ActorCriticMoE, add_gradients, init_network
from flowrl.rollout.rollout import apply_network
from flowrl.skillcode.functions import SkillFunctions, TaskModule
from tests.support.played import WORLDS, Moment, game_of, new_worlds

EXPERTS, ROWS = 3, 64
GAMES = ["Craftax-Classic-Symbolic-v1", pytest.param("Craftax-Symbolic-v1", marks=pytest.mark.slow), "Tiny-Grid-v1"]


@functools.cache
def seen(game: str) -> Any:
    """Observations of new worlds after some steps at random, creatures and all; made once a game, which compiles."""
    moment, domain, parts = Moment(game_of(game), new_worlds(game)), domain_named(game), []
    idle = SkillFunctions(lambda n: n < 0, lambda n: 0.0, ("n",), ("n",))
    env = FlowEnv(domain, TaskModule((idle,), (0,), (0,), (None,)), TaskAmounts((3,), (3,), (0,)), 1000)
    look = jax.jit(jax.vmap(domain.observe_fn))
    for i in range(ROWS // WORLDS * 3):
        moment.step(jax.random.randint(jax.random.PRNGKey(i), (WORLDS,), 0, len(domain.actions)))
        if i % 3 == 2:
            parts.append(PlayerState(moment.worlds, look(moment.worlds), moment.memory))
    player = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    return jax.jit(env.observe)(env.start(player, jnp.full((ROWS, 1), 3)))


def towers(params: Any, flat: jax.Array, expert: jax.Array) -> list[jax.Array]:
    """Actor and critic written out, the first layer a product with the one-hot columns."""
    outputs = []
    for tower in ("actor", "critic"):
        x = flat
        layers = {"layer_0": params["actor"]["layer_0"], **params[tower]}
        for name in sorted(layers):
            layer = jax.tree.map(lambda leaf: leaf[expert], layers[name])
            x = jnp.einsum("nd,ndf->nf", x, layer["kernel"], precision="highest") + layer["bias"]
            x = jnp.tanh(x) if name != max(layers) else x
        outputs.append(x)
    return outputs


@pytest.fixture(params=["cpu", "default"])
def branch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Both forms of the platform-dependent parts: what a CPU runs, and what accelerators do."""
    name = str(request.param)

    def choose(*args: Any, **branches: Callable[..., Any]) -> Any:
        return branches[name](*args)

    monkeypatch.setattr(jax.lax, "platform_dependent", choose)
    return name


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("experts", [1, EXPERTS])
def test_the_lookup_is_the_one_hot_network(game: str, experts: int, branch: str) -> None:
    domain = domain_named(game)
    observation = seen(game)
    network = ActorCriticMoE(len(domain.actions), 16, 3, experts, domain.observation_size)
    params = init_network(network, jax.random.PRNGKey(0))["params"]
    params["actor"]["layer_2"]["kernel"] *= 100.0  # as wide as the critic's, so that an error would show
    expert = jnp.arange(ROWS) % experts
    flat, compact = expand(domain, observation), features(domain, observation)
    assert flat.shape == (ROWS, domain.observation_size)

    def ours(params: Any) -> Any:
        logits, value = network.apply({"params": params}, compact, expert)
        return (logits**2).sum() + (value**2).sum(), (logits, value[:, None])

    def theirs(params: Any) -> Any:
        logits, value = towers(params, flat, expert)
        return (logits**2).sum() + (value**2).sum(), (logits, value)

    (_, got), got_gradient = jax.value_and_grad(ours, has_aux=True)(params)
    (_, wanted), wanted_gradient = jax.value_and_grad(theirs, has_aux=True)(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-3), got_gradient, wanted_gradient)
    first = np.asarray(got_gradient["actor"]["layer_0"]["kernel"])
    assert (first != 0).any(axis=2).sum() > ROWS / 2, "many rows of the kernel take part"


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("experts", [1, EXPERTS])
def test_a_gradient_is_added_to_another_in_place(experts: int, shared: bool, branch: str) -> None:
    domain, observation = domain_named("Tiny-Grid-v1"), seen("Tiny-Grid-v1")
    network = ActorCriticMoE(len(domain.actions), 16, 3, experts, domain.observation_size, shared)
    params = init_network(network, jax.random.PRNGKey(0))["params"]
    assert ("layer_0" in params["critic"]) is not shared
    half = ROWS // 2
    parts = [jax.tree.map(lambda leaf, own=own: leaf[own], observation) for own in (slice(half), slice(half, None))]

    def loss(params: Any, part: Any, grad_accumulator: Any) -> Any:
        logits, value = apply_network(
            network, params, features(domain, part), jnp.arange(half) % experts, grad_accumulator
        )
        return (logits**2).sum() + (value**2).sum()

    first, second = (jax.grad(loss)(params, part, None) for part in parts)
    total = add_gradients(first, jax.grad(loss)(params, parts[1], first))
    wanted = jax.tree.map(jnp.add, first, second)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), total, wanted)


@pytest.mark.parametrize("game", GAMES)
def test_no_column_is_named_twice(game: str) -> None:
    columns = np.asarray(features(domain_named(game), seen(game)).columns)
    size = domain_named(game).observation_size
    for row in columns:
        real = row[row < size]
        assert len(set(real)) == len(real), "a column named twice would count twice"


def test_what_is_none_adds_nothing_and_learns_nothing() -> None:
    kernel = jnp.ones((2, 5, 4))
    nothing = lookup.Features(jnp.full((6, 3), 5), jnp.zeros((6, 1)))
    grouping = grouped.group_rows(jnp.arange(6) % 2, 2, 32)
    total, back = jax.vjp(lambda k: lookup.first_layer(k, nothing, jnp.arange(6) % 2, grouping), kernel)
    assert (total == 0).all()
    assert (back(jnp.ones_like(total))[0] == 0).all()
