"""Success measured by cohorts of episodes."""

import numpy as np

from flowrl.config import GateConfig
from flowrl.schema.evaluation import Evaluation, is_learned
from flowrl.training.episode_stats import Progress, deaths_by_cause
from flowrl.training.gates import asks_for_gate
from tests.support.episodes import results


def test_quick_successes_do_not_outweigh_slow_failures() -> None:
    """40 of 100 first episodes succeed at once; had only the ended ones counted, success would be 100 %."""
    progress = Progress()
    progress.begin(100)
    progress.count(results([0] * 40, [True] * 40, [0] * 40), 1, ("died",), 0)
    assert progress.recent(50).success.total == 0, "too many are still under way to say anything"
    progress.count(results([0] * 56, [False] * 56, [0] * 56), 2, ("died",), 0)
    recent = progress.recent(50)
    assert (recent.success.successes, recent.success.total) == (40, 100), "what is under way counts as a failure"
    assert recent.causes == {"died": 56}


def test_deaths_are_told_by_task_and_cause() -> None:
    steps = results([0] * 4, [True, False, False, False], [0, 1, 1, 0], [False, False, False, True])
    steps = steps._replace(cause=np.array([[1, 1, 0, 1]]))
    assert deaths_by_cause(steps, 3, ("zombie", "lava")) == [{}, {"lava": 1, "zombie": 1}, {}]


def test_step_success_counts_the_episodes_that_reached_the_last_task() -> None:
    progress = Progress()
    progress.begin(10)
    ended = results([0] * 10, [True] * 4 + [False] * 6, [1] * 4 + [1, 0, 0, 0, 0, 0], [False] * 8 + [True] * 2)
    progress.count(ended, 1, ("died",), 1)
    recent = progress.recent(10)
    assert (recent.success.successes, recent.success.total) == (4, 10)
    assert (recent.step_success.successes, recent.step_success.total) == (4, 5)
    assert recent.causes == {"died": 4, "timeout": 2}
    assert Progress.model_validate_json(progress.model_dump_json()) == progress


def test_each_task_is_told_by_the_episodes_that_began_it() -> None:
    """Of nine that ended two fail in the first of three tasks and three in the last."""
    progress = Progress()
    assert [share.total for share in progress.recent(9).per_task(3)] == [0, 0, 0], "nothing is known yet"
    progress.begin(9)
    progress.count(results([0] * 9, [True] * 4 + [False] * 5, [2] * 4 + [0, 0, 2, 2, 2]), 1, ("died",), 2)
    shares = progress.recent(9).per_task(3)
    assert [(share.successes, share.total) for share in shares] == [(7, 9), (7, 7), (4, 7)]


def test_a_chain_asks_for_a_gate_by_the_whole_plan() -> None:
    """All who reach the last task finish it, but half never come so far."""
    progress = Progress()
    progress.begin(400)
    ended = results([0] * 400, [True] * 200 + [False] * 200, [1] * 200 + [0] * 200)
    progress.count(ended, 1, ("died",), 1)
    recent = progress.recent(400)
    step, plan = GateConfig(), GateConfig(on="plan")
    assert recent.deciding(step).value == 1.0 and recent.deciding(plan).value == 0.5
    assert asks_for_gate(step, progress, recent, 1) and not asks_for_gate(plan, progress, recent, 1)
    measured = Evaluation(
        success=recent.success, step_success=recent.step_success, reached=(400, 200), finished=(200, 200), causes={},
        length=9.0, amount=1, worlds_seed=0,
    )  # fmt: skip
    assert is_learned(step, measured) and not is_learned(plan, measured)
