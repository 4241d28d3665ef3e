"""A finished run: read whole and checked, or refused by name."""

from pathlib import Path

import numpy as np
import pytest

from flowrl.errors import FlowRLError, LibraryError, TrainingError
from flowrl.files import write_bytes, write_json
from flowrl.growing.run_setup import ModuleSetUp
from flowrl.parallel.run_folder import FinishedRun
from flowrl.paths import RunPaths
from flowrl.schema.run import TrainResult
from flowrl.weights import Expert, save_experts, sha256
from tests.support.homes import SMALL, add_skill, empty_home, two_wood, weights


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    """A run of experts 7 and 50, set up."""
    module = ModuleSetUp(empty_home(tmp_path / "home"), SMALL, two_wood(7, 50), Path("two.py"))
    return module(module.proposal("Two"), 50)


def finish(run: RunPaths, experts: dict[int, Expert]) -> TrainResult:
    file = run.folder / "params.safetensors"
    save_experts(file, experts)
    library = empty_home(run.folder / "measured")
    result = TrainResult(
        outcome="done", params=file.name, params_sha256=sha256(file.read_bytes()), frames=10,
        evaluation=add_skill(library, "Two", 50).evaluation,
    )  # fmt: skip
    write_json(run.result, result)
    return result


def test_its_experts_come_by_global_number(run: RunPaths) -> None:
    finish(run, {0: weights(7), 1: weights(50)})
    finished = FinishedRun.load(run)
    assert finished.spec.skill == "Two" and finished.evaluation == finished.result.evaluation
    assert finished.spec.companions == (7,) and finished.spec.trained_dependencies == ()
    for g in (7, 50):
        np.testing.assert_array_equal(finished.experts[g]["actor.layer_0.bias"], weights(g)["actor.layer_0.bias"])
    assert "task_1_reward" in finished.source and finished.start_states() is None


def refusal(run: RunPaths) -> FlowRLError:
    with pytest.raises((LibraryError, TrainingError)) as caught:
        FinishedRun.load(run)
    return caught.value


def test_a_run_that_failed_or_lacks_a_file_is_refused(run: RunPaths) -> None:
    assert "result.json is missing" in str(refusal(run))
    write_json(run.result, TrainResult(outcome="failed", error="no memory"))
    assert "Training Two failed: no memory See" in str(refusal(run))
    finish(run, {0: weights(7), 1: weights(50)})
    (run.folder / "params.safetensors").unlink()
    assert "params.safetensors is missing" in str(refusal(run))


def test_weights_that_are_not_those_of_the_result_are_refused(run: RunPaths) -> None:
    result = finish(run, {0: weights(7), 1: weights(50)})
    file = run.folder / result.params
    write_bytes(file, file.read_bytes()[:-1] + b"\x01")
    assert "params.safetensors is not the file that" in str(refusal(run))
    finish(run, {1: weights(50)})
    assert "holds experts [1], not one for each of (7, 50)" in str(refusal(run))
    finish(run, {0: weights(7), 1: {"actor.layer_0.bias": np.zeros(3, np.float32)}})
    assert "params.safetensors lacks critic_networks_1; it holds experts [0, 1]" in str(refusal(run))
    finish(run, {0: weights(7), 1: {"other.leaf": np.zeros(3, np.float32)}})
    assert "holds 'params.other_networks_1.leaf'" in str(refusal(run))


def test_start_states_that_were_changed_are_refused(run: RunPaths) -> None:
    result = finish(run, {0: weights(7), 1: weights(50)})
    named = {"start_states": "final.safetensors", "start_states_sha256": sha256(b"states")}
    write_json(run.result, result.model_copy(update=named))
    write_bytes(run.folder / "final.safetensors", b"states")
    assert FinishedRun.load(run).start_states() == b"states"
    write_bytes(run.folder / "final.safetensors", b"others")
    with pytest.raises(LibraryError, match=r"final\.safetensors is not the file that"):
        FinishedRun.load(run).start_states()
