"""Learning on the real game through the whole chain; minutes."""

from pathlib import Path

import pytest

from flowrl.config import build_config
from flowrl.evaluation.evaluate import evaluate_goal
from flowrl.growing.grow import grow
from flowrl.library.home import SkillLibrary
from flowrl.schema.metrics import UpdateRow
from tests.support.runs import Watcher

pytestmark = pytest.mark.slow


def test_collect_wood_is_learned_on_craftax_classic(tmp_path: Path) -> None:
    home, watcher = tmp_path / "home", Watcher()
    outcome = grow(home, build_config(seed=3, ppo__frames=1_500_000), 1, None, watcher)
    assert outcome.complete, outcome.reason
    (record,) = outcome.records
    assert record.name == "Collect Wood" and record.evaluation.step_success.low >= 0.8
    low, high = record.spec.n_range or (1, 1)
    assert high > 1 and set(record.evaluation.per_amount) == set(range(low, high))
    assert record.evaluation.success.total == 500
    # Other worlds, another process, the weights from disk: the number must hold.
    measured = evaluate_goal(SkillLibrary.open(home), "wood=3", 256, 1, None, lambda row: None)
    assert measured.success.low > 0.75
    untrained = [row.success for row in watcher.rows if isinstance(row, UpdateRow)][2]
    assert (untrained.value or 0.0) < 0.6, "it was not so from the start"
