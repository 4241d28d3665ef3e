"""The mixture of experts: grouped compute, experts on an axis, the seed's names."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.env.domain import NO_MARK
from flowrl.errors import LibraryError
from flowrl.models.actor_critic import ActorCriticMoE, init_network
from flowrl.models.experts import count, from_named, param_updater, put, take, to_named
from flowrl.models.grouped_matmul import block_size, group_rows
from flowrl.models.sparse_layer import Features
from flowrl.weights import experts_of, flatten, load_experts, named_state, save_experts

SIZE, ACTIONS, WIDTH = 11, 5, 8


def network(experts: int, shared: bool = True) -> ActorCriticMoE:
    return ActorCriticMoE(ACTIONS, WIDTH, num_layers=3, num_tasks=experts, inputs=SIZE, shared=shared)


def init(experts: int, seed: int = 0, shared: bool = True) -> dict[str, Any]:
    return dict(init_network(network(experts, shared), jax.random.PRNGKey(seed)))


def seen(rows: int, seed: int = 0) -> Features:
    """Two columns of the first six for each row, now and then none, and five values that follow."""
    rng = np.random.default_rng(seed)
    columns = np.stack([rng.integers(0, 3, rows), rng.integers(3, 6, rows)], axis=1)
    columns = np.where(rng.random(columns.shape) < 0.2, NO_MARK, columns)
    return Features(jnp.asarray(columns), jnp.asarray(rng.normal(size=(rows, SIZE - 6)), jnp.float32))


def flat(features: Features) -> np.ndarray:
    """The same, spelled out."""
    ones = (np.asarray(features.columns)[:, :, None] == np.arange(SIZE)).any(axis=1).astype(np.float32)
    ones[:, 6:] = features.dense
    return ones


def layers_of(params: Any, tower: str) -> list[Any]:
    """A tower's layers; the first may be the actor's."""
    return [v for _, v in sorted({"layer_0": params["actor"]["layer_0"], **params[tower]}.items())]


def plain_jax(params: Any, tower: str, x: Any, expert: int) -> Any:
    *hidden, last = layers_of(params, tower)
    for layer in hidden:
        x = jnp.tanh(x @ layer["kernel"][expert] + layer["bias"][expert])
    return x @ last["kernel"][expert] + last["bias"][expert]


def plain(params: Any, tower: str, x: np.ndarray, expert: int) -> np.ndarray:
    """One expert's tower, written out with numpy."""
    *hidden, last = layers_of(params, tower)
    for layer in hidden:
        x = np.tanh(x @ np.asarray(layer["kernel"][expert]) + np.asarray(layer["bias"][expert]))
    return x @ np.asarray(last["kernel"][expert]) + np.asarray(last["bias"][expert])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("experts", [1, 2, 3, 12])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_each_row_is_seen_by_its_own_expert_alone(experts: int, rows: int, shared: bool) -> None:
    params = init(experts, shared=shared)["params"]
    assert ("layer_0" in params["critic"]) is not shared
    features = seen(rows)
    x, expert = flat(features), np.random.default_rng(1).integers(0, experts, rows)
    logits, value = network(experts, shared).apply({"params": params}, features, jnp.asarray(expert))
    for i in range(rows):
        np.testing.assert_allclose(logits[i], plain(params, "actor", x[i], expert[i]), atol=1e-5)
        np.testing.assert_allclose(value[i], plain(params, "critic", x[i], expert[i])[0], atol=1e-5)


def test_gradients_equal_those_of_evaluating_all_experts_and_masking() -> None:
    experts, rows = 4, 100
    params = jax.tree.map(lambda x: x + 0.1, init(experts)["params"])
    features = seen(rows)
    expert = jnp.where(jnp.arange(rows) % 4 == 3, 0, jnp.arange(rows) % 4)  # expert 3 has no row

    def grouped(params: Any, dense: Any) -> Any:
        logits, value = network(experts).apply({"params": params}, features._replace(dense=dense), expert)
        return (logits**2).sum() + (value**3).sum()

    def masked(params: Any, dense: Any) -> Any:
        total = 0.0
        x = jnp.concatenate([jnp.asarray(flat(features))[:, :6], dense], axis=1)
        for e in range(experts):
            logits, value = [plain_jax(params, tower, x, e) for tower in ("actor", "critic")]
            total += jnp.where(expert == e, (logits**2).sum(axis=1) + value[:, 0] ** 3, 0.0).sum()
        return total

    ours = jax.grad(grouped, (0, 1))(params, features.dense)
    theirs = jax.grad(masked, (0, 1))(params, features.dense)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs)
    assert all((leaf[3] == 0).all() for leaf in jax.tree.leaves(ours[0])), "an expert without rows has no gradient"


def test_a_broken_expert_poisons_no_other() -> None:
    params = init(3)["params"]
    params = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), params)
    expert = jnp.arange(9) % 3
    logits, _ = network(3).apply({"params": params}, seen(9), expert)
    assert np.isfinite(np.asarray(logits)[expert != 1]).all()


@pytest.mark.parametrize("skew", [0.0, 0.9, 1.0])
def test_grouping_places_every_row_in_a_block_of_its_expert(skew: float) -> None:
    rng = np.random.default_rng(3)
    expert = np.where(rng.random(500) < skew, 2, rng.integers(0, 5, 500))
    size = block_size(500, 5)
    grouping = group_rows(jnp.asarray(expert), 5, size)
    assert (np.asarray(grouping.source)[np.asarray(grouping.place)] == np.arange(500)).all()
    assert (np.asarray(grouping.source) == 500).sum() == len(grouping.source) - 500, "all else is padding"
    assert (np.asarray(grouping.expert)[np.asarray(grouping.place) // size] == expert).all()
    assert int(grouping.used) == sum(-(-int((expert == e).sum()) // size) for e in range(5))


def test_a_network_for_sparse_global_experts_has_exactly_three_experts() -> None:
    from flowrl.parallel.training_setup import build_remapping

    completed = {"a": {"expert_idx": 0}, "b": {"expert_idx": 2}}
    to_local, _ = build_remapping(["a", "b"], 7, completed)
    three, one = flatten(init(len(to_local))["params"]), flatten(init(1)["params"])
    assert sum(leaf.size for leaf in three.values()) == 3 * sum(leaf.size for leaf in one.values())


def test_names_of_twelve_experts_go_there_and_back(tmp_path: Path) -> None:
    params = init(12)["params"]
    named = to_named(params)
    assert list(experts_of(named)) == list(range(12))
    eleven = named["params"]["actor_networks_11"]["layer_0"]["kernel"]
    np.testing.assert_array_equal(eleven, params["actor"]["layer_0"]["kernel"][11])
    save_experts(tmp_path / "experts.safetensors", experts_of(named))
    loaded = load_experts(tmp_path / "experts.safetensors")
    assert list(loaded) == list(range(12)), "not by text, where 10 comes before 2"
    for back in (from_named(named), from_named(named_state(loaded))):
        jax.tree.map(np.testing.assert_array_equal, back, {t: params[t] for t in ("actor", "critic")})


def test_param_updater_loads_any_subset_and_leaves_the_rest_as_initialised() -> None:
    fresh, other = init(12, seed=0), init(12, seed=1)
    named = to_named(other["params"])
    some = {"params": {k: v for k, v in named["params"].items() if k.split("_")[-1] in {"1", "11"}}}
    updated = param_updater(fresh, some)["params"]
    for e in range(12):
        source = other if e in (1, 11) else fresh
        jax.tree.map(
            lambda a, b, e=e: np.testing.assert_array_equal(a[e], b[e]),
            updated,
            {t: source["params"][t] for t in updated},
        )
    assert param_updater(fresh, {})["params"].keys() == {"actor", "critic"}


def test_weights_of_another_shape_are_refused_by_name() -> None:
    wide = init_network(ActorCriticMoE(ACTIONS, WIDTH * 2, 3, 1, SIZE), jax.random.PRNGKey(0))
    with pytest.raises(LibraryError, match=r"Expert 0 has actor.layer_0.bias of shape \(16,\).*needs \(8,\)"):
        param_updater(init(2), to_named(wide["params"]))
    with pytest.raises(LibraryError, match="hold expert 3"):
        param_updater(
            init(2),
            {
                "params": {
                    f"{t}_networks_3": to_named(init(1)["params"])["params"][f"{t}_networks_0"]
                    for t in ("actor", "critic")
                }
            },
        )


def test_take_and_put_are_inverse() -> None:
    params = init(5)["params"]
    changed = put(params, (1, 4), jax.tree.map(lambda x: x * 0 + 3, take(params, (1, 4))))
    assert count(changed) == 5
    for leaf, old in zip(jax.tree.leaves(changed), jax.tree.leaves(params), strict=True):
        assert (leaf[jnp.array([1, 4])] == 3).all() and (leaf[jnp.array([0, 2, 3])] == old[jnp.array([0, 2, 3])]).all()
