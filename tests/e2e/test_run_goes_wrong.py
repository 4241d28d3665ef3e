"""Runs that go wrong while they train: what was good before stays, and is what comes out."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.errors import TrainingError
from flowrl.evaluation.play import play_worlds
from flowrl.files import read_json, read_lines, write_json
from flowrl.paths import RunPaths
from flowrl.rollout.world_seeds import GATE, TRAINING, skill_key
from flowrl.schema.run import RunSpec
from flowrl.training import gates
from flowrl.training.checkpoints import load_newest
from flowrl.training.gates import gate_number
from flowrl.training.programs import Programs
from flowrl.training.run import TrainingRun
from flowrl.training.state import TrainState, UpdateStats
from flowrl.training.trainer import Trainer
from tests.support.runs import collect_wood, tiny_config

pytestmark = pytest.mark.slow


class Spoilt(Programs):
    """A run's programs, in which some number of updates are as they should be and all later ones begin with every
    parameter multiplied by a factor.
    """

    def __init__(self, trainer: Trainer, after: int, factor: float):
        super().__init__(trainer)
        self.after, self.factor = after, factor

    def update(self, state: TrainState) -> tuple[TrainState, UpdateStats]:
        if int(state.update) >= self.after:
            state = state._replace(params=jax.tree.map(lambda leaf: leaf * self.factor, state.params))
        return super().update(state)


def spoilt_run(paths: RunPaths, after: int, factor: float) -> TrainingRun:
    run = TrainingRun(paths, lambda: False)
    run.programs = Spoilt(run.trainer, after, factor)
    return run


def test_a_run_that_falls_apart_ends_with_its_best_parameters(tmp_path: Path) -> None:
    updates = 70
    # Success is known some updates after its episodes began; with this gamma it has settled before it is spoilt.
    settings = {"gate__stop_at": 1.0, "checkpoint__every": 1000, "ppo__gamma": 0.98}
    config = tiny_config(ppo__frames=updates * 64 * 32, **settings)
    paths = collect_wood(tmp_path / "home", config)
    result = spoilt_run(paths, after=50, factor=0.0).execute()
    rows = {row["update"]: row for row in read_lines(paths.metrics) if row["kind"] == "update"}
    good, in_the_end = (rows[at]["step_success"]["successes"] / rows[at]["step_success"]["total"] for at in (50, 70))
    assert good > 0.9 > 0.6 > in_the_end, "it was good, and fell apart"
    assert result is not None and result.evaluation is not None
    assert result.evaluation.step_success.value > 0.85 and result.status == "learned"


def test_the_best_parameters_outlast_a_restart(tmp_path: Path) -> None:
    config = tiny_config(gate__stop_at=1.0, ppo__frames=55 * 64 * 32, checkpoint__every=52, ppo__gamma=0.98)
    paths = collect_wood(tmp_path / "home", config)
    asked = iter([False] * 52 + [True])
    first = spoilt_run(paths, after=50, factor=0.0)
    first.stop_requested = lambda: next(asked)
    assert first.execute() is None and paths.checkpoint_updates == [52]
    result = spoilt_run(paths, after=50, factor=0.0).execute()
    assert result is not None and result.evaluation is not None
    assert result.evaluation.step_success.value > 0.85


def test_numbers_that_break_leave_a_checkpoint_that_is_whole_and_good(tmp_path: Path) -> None:
    config = tiny_config(ppo__frames=8 * 64 * 32, checkpoint__every=3)
    paths = collect_wood(tmp_path / "home", config)
    run = spoilt_run(paths, after=4, factor=float("nan"))
    message = r"after update 5 of Collect Wood; the last good checkpoint, of update 3, stays in .*/checkpoints\. Begin"
    with pytest.raises(TrainingError, match=message):
        run.execute()
    template = run.trainer.state_shape({})
    restored = load_newest(paths, template)
    assert restored is not None and int(restored[0].update) == 3
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(restored[0].params))
    result = TrainingRun(paths, lambda: False).execute()
    assert result is not None and result.frames == 8 * 64 * 32, "it goes on from there"
    updates = [row["update"] for row in read_lines(paths.metrics) if row["kind"] == "update"]
    assert updates == [1, 2, 3, 4, 5, 6, 7, 8]


def test_numbers_that_break_before_a_checkpoint_say_that_there_is_none(tmp_path: Path) -> None:
    paths = collect_wood(tmp_path / "home", tiny_config(ppo__frames=8 * 64 * 32, checkpoint__every=6, ppo__lr=5e-5))
    with pytest.raises(TrainingError, match=r"; no checkpoint had been saved yet\. Begin .* --set ppo\.lr=5e-06$"):
        spoilt_run(paths, after=1, factor=float("nan")).execute()
    assert not paths.checkpoints.exists()


def test_each_run_of_a_skill_has_training_and_gate_worlds_of_its_own() -> None:
    assert [gate_number(0, gate) for gate in (0, 1, 2)] == [0, 1, 2]
    names = ("Collect Wood", "Place Table")
    keys = [skill_key(TRAINING, 7, run, name) for run in range(4) for name in names]
    numbers = [gate_number(run, gate, again) for run in range(4) for gate in range(5) for again in (False, True)]
    keys += [skill_key(GATE, 7, number, name) for number in numbers for name in names]
    assert len({tuple(np.asarray(key).tolist()) for key in keys}) == len(keys)


def test_a_second_run_is_measured_on_fresh_worlds(tmp_path: Path) -> None:
    paths = collect_wood(tmp_path / "home", tiny_config(ppo__frames=0))
    spec = read_json(paths.config, RunSpec)
    numbers = []
    for runs_before in (0, 2):
        run = TrainingRun(paths, lambda: False)
        run.spec = spec.model_copy(update={"runs_before": runs_before})
        result = run.execute()
        assert result is not None and result.evaluation is not None
        numbers.append(result.evaluation.worlds_seed)
    assert numbers == [0, 2000]


def test_no_two_skills_are_trained_or_measured_on_the_same_worlds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[tuple[int, ...]] = []

    def play(programs: Any, params: Any, key: jax.Array, *rest: Any) -> Any:
        played.append(tuple(np.asarray(key).tolist()))
        return play_worlds(programs, params, key, *rest)

    monkeypatch.setattr(gates, "play_worlds", play)
    paths = collect_wood(tmp_path / "home", tiny_config(ppo__frames=0))
    spec = read_json(paths.config, RunSpec)
    for name in ("Collect Wood", "Another"):
        write_json(paths.config, spec.model_copy(update={"skill": name}))
        run = TrainingRun(paths, lambda: False)
        played.append(tuple(np.asarray(run.key).tolist()))
        assert run.execute() is not None
    assert len(played) == len(set(played)) == 4


def test_worlds_go_by_the_skill_and_not_by_the_order_of_launch(tmp_path: Path) -> None:
    """Experts are numbered as runs are launched; candidates of one skill are compared on common worlds."""
    paths = collect_wood(tmp_path / "home", tiny_config(ppo__frames=0))
    spec = read_json(paths.config, RunSpec)
    others = {"local_to_global": (7,)}, {"trial": True, "skill": f"{spec.skill} candidate 2"}
    for other in others:
        assert spec.model_copy(update=other).world_name == spec.world_name == "Collect Wood"
