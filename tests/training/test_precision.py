"""Products in bfloat16: good enough to learn with, or refused."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.env.observation import features
from flowrl.errors import TrainingError
from flowrl.training import precision
from flowrl.training.precision import check_bfloat16
from flowrl.training.programs import Programs
from flowrl.training.run import TrainingRun
from flowrl.training.state import TrainState
from flowrl.training.trainer import Trainer
from tests.support.probes import COIN, ask, probe_trainer, task, train
from tests.support.runs import collect_wood, tiny_config


def coin(bfloat16: bool = True) -> Trainer:
    seen = task(lambda seen: seen.time >= 0, lambda seen: seen.signal)
    return probe_trainer(COIN, [seen, seen], [0, 1], bfloat16=bfloat16)


def begun(trainer: Trainer) -> TrainState:
    return Programs(trainer).init(jax.random.PRNGKey(0), {})


@pytest.mark.parametrize("experts", [1, 2])
def test_only_what_is_behind_the_first_layer_is_multiplied_in_bfloat16(experts: int) -> None:
    made = {}
    for low in (False, True):
        trainer = coin(low)
        state = begun(trainer)
        seen = features(trainer.env.domain, trainer.env.observe(state.flow))
        params = jax.tree.map(lambda leaf: leaf[:experts], state.params)
        network, expert = trainer.network(experts), jnp.arange(32) % experts
        made[low] = str(jax.make_jaxpr(network.apply)({"params": params}, seen, expert)).count("bf16[")
        logits, value = network.apply({"params": params}, seen, expert)
        assert logits.dtype == value.dtype == jnp.float32
    assert made[False] == 0 < made[True]
    assert {leaf.dtype for leaf in jax.tree.leaves(begun(coin()).params)} == {jnp.dtype("float32")}


def test_what_depends_on_the_observation_is_learned_in_bfloat16() -> None:
    trainer = coin()
    state, _ = train(trainer)
    signal, _, value = ask(trainer, state)
    assert set(signal) == {-1.0, 1.0}
    np.testing.assert_allclose(value, signal, atol=0.2)


def test_it_is_refused_where_probabilities_or_values_come_out_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, state = coin(), begun(coin())
    check_bfloat16(trainer, state, jax.devices()[0])
    refusal = r"differ from float32 by .* --set ppo\.bfloat16=false"
    with monkeypatch.context() as patch, pytest.raises(TrainingError, match=refusal):
        patch.setattr(precision, "ALLOWED", 1e-7)  # what rounding alone does is more
        check_bfloat16(trainer, state, jax.devices()[0])
    exact = coin(bfloat16=False)
    with monkeypatch.context() as patch:
        patch.setattr(precision, "ALLOWED", 1e-7)
        check_bfloat16(exact, state, jax.devices()[0])
    broken = state._replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, state.params))
    with pytest.raises(TrainingError, match="nan"):
        check_bfloat16(trainer, broken, jax.devices()[0])


def test_a_run_asks_before_it_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "ALLOWED", -1.0)
    paths = collect_wood(tmp_path / "home", tiny_config(ppo__bfloat16=True))
    with pytest.raises(TrainingError, match="In bfloat16"):
        TrainingRun(paths, lambda: False).execute()
    assert not paths.checkpoints.exists()
