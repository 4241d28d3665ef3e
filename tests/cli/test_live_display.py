"""What is shown where there is no terminal: plain lines, one at a time."""

import io

import pytest

from flowrl.cli.live_display import Display, RunView, duration, steps_text
from flowrl.cli.tables import causes_text
from flowrl.config import RunConfig
from flowrl.paths import RunPaths
from flowrl.schema.metrics import GateRow, MeasuringRow, PhaseRow, UpdateRow
from flowrl.schema.plan import Plan
from flowrl.schema.run import RunSpec, TaskSpec
from flowrl.stats import Share
from tests.support.runs import update_row

NAME = "Place Table"
SPEC = RunSpec(
    skill=NAME,
    config=RunConfig(),
    tasks=(TaskSpec(skill="Collect Wood", low=2, high=2), TaskSpec(skill="Place Table", low=1, high=1)),
    local_to_global=(0, 4),
    trained=(1,),
    own=1,
    plan=Plan(goal="Place Table", steps=()),
)


def update(frames: int, fps: float | None, successes: int, total: int) -> UpdateRow:
    return update_row(frames, Share(successes=successes, total=total), fps=fps, causes={"zombie": 30, "lava": 10})


def test_lines_are_plain_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    with Display(stream) as display:
        display.started(SPEC, RunPaths("run", 4))  # type: ignore[arg-type]
        display.row(NAME, PhaseRow(kind="starting"))
        display.row(NAME, PhaseRow(kind="compiling"))
        display.row(NAME, update(16384, None, 0, 0))
        for i in range(40):
            now[0] += 1.0
            display.row(NAME, update(16384 * (i + 2), 10_000.0, 90, 100))
        share = Share(successes=480, total=485)
        gate = GateRow(gate=0, update=41, passed=True, success=share, step_success=share, causes={})
        display.row(NAME, MeasuringRow(gate=0))
        display.row(NAME, gate)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Place Table: expert 4, plan Collect Wood x2 > [Place Table]"
    training = [line for line in lines if "frames/s" in line]
    assert 3 <= len(training) <= 5
    assert "10,000 frames/s, step success 90.0 % [82.6, 94.5], failures: zombie 75 %, lava 25 %, at most" in training[0]
    assert lines[-1] == "  measured: step success 99.0 % [97.6, 99.6], passed"
    assert "\x1b" not in stream.getvalue()


def test_a_chain_run_says_where_and_of_what_its_players_die() -> None:
    """Of ten deaths in 4,000 steps nine are in the second task, two of three of these by zombies."""
    chain = SPEC.model_copy(update={"chain": True})
    view = RunView(chain, 0.0)
    assert view.deaths == "unknown"
    view.feed(update(1, 1.0, 1, 2).model_copy(update={"task_steps": (1000, 1000), "deaths": ({}, {"zombie": 3})}))
    row = {"task_steps": (500, 1500), "deaths": ({"lava": 1}, {"zombie": 3, "hunger": 3})}
    view.feed(update(2, 1.0, 1, 2).model_copy(update=row))
    assert (
        view.deaths == "2.5 in 1,000 steps: Place Table 90 % (zombie 67 %, hunger 33 %), Collect Wood 10 % (lava 100 %)"
    )


def test_lines_of_several_runs_say_whose_they_are() -> None:
    stream = io.StringIO()
    other = SPEC.model_copy(update={"skill": "Collect Wood"})
    with Display(stream) as display:
        display.started(SPEC, RunPaths("run", 4))  # type: ignore[arg-type]
        display.row(NAME, PhaseRow(kind="starting"))
        display.started(other, RunPaths("other", 4))  # type: ignore[arg-type]
        display.row("Collect Wood", PhaseRow(kind="compiling"))
        display.failed("Collect Wood", "its reward is not finite")
        display.row("Collect Wood", MeasuringRow(gate=0))
        display.row("Nothing", MeasuringRow(gate=0))
    assert stream.getvalue().splitlines()[1:] == [
        "  starting: jax, the game, new worlds",
        "Collect Wood: expert 4, plan Collect Wood x2 > [Place Table]",
        "  Collect Wood: compiling",
        "Collect Wood failed: its reward is not finite",
    ]


def test_words() -> None:
    assert duration(65) == "1:05" and duration(7384) == "2:03:04"
    assert causes_text({}) == "none" and causes_text({"a": 1, "b": 3}) == "b 75 %, a 25 %"
    assert steps_text(SPEC) == "Collect Wood x2 > [Place Table]"
