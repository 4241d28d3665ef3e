"""Rows of metrics and their lines."""

import json
import time
from typing import get_args

import pytest

from flowrl.schema.metrics import (
    CompiledRow,
    GateRow,
    MeasuringRow,
    MetricsRow,
    PhaseRow,
    PlayedRow,
    PlayingRow,
    StartsRow,
    parse_row,
)
from flowrl.stats import Share
from tests.support.runs import update_row

SHARE = Share(successes=3, total=4)
ROWS: tuple[MetricsRow, ...] = (
    PhaseRow(kind="starting"),
    CompiledRow(seconds=7.5),
    update_row(4096, SHARE, fps=None, causes={"zombie": 1}, reward=(0.5, 0.25)),
    MeasuringRow(frames=4096, gate=1),
    GateRow(frames=4096, gate=1, update=3, passed=True, success=SHARE, step_success=SHARE, causes={}),
    StartsRow(share=0.5, states=40, note="50% of the episodes begin at one of 40 kept states"),
    PlayedRow(purpose="gate", played=4096),
    PlayingRow(played=3, wanted=40),
)


def test_every_kind_of_row_is_read_as_it_was_written() -> None:
    assert {type(row) for row in ROWS} == set(get_args(MetricsRow))
    for row in ROWS:
        assert parse_row(row.model_dump_json()) == row == parse_row(row.model_dump_json().encode())


@pytest.mark.parametrize(
    "line", ["", "{", '{"kind": "update"', "[1]", "3", "{}", '{"kind": "of another program"}', '{"kind": "compiled"}']
)
def test_a_damaged_or_foreign_line_is_no_row(line: str) -> None:
    assert parse_row(line) is None


def test_a_field_of_a_later_version_is_ignored() -> None:
    assert parse_row('{"kind": "compiled", "seconds": 1.5, "frames": 3, "new": [1]}') == CompiledRow(
        seconds=1.5, frames=3
    )


def test_field_names_of_an_update_stay_as_scripts_know_them() -> None:
    row = json.loads(update_row(4096, SHARE).model_dump_json())
    assert {"kind", "update", "frames", "fps", "seconds", "step_success", "causes", "from_kept", "lr", "kl"} <= set(row)
    assert row["step_success"] == {"successes": 3, "total": 4} and row["from_kept"] == {"episodes": 0.0, "frames": 0.0}


def test_thousands_of_rows_are_read_in_a_moment() -> None:
    lines = [update_row(i, SHARE).model_dump_json().encode() for i in range(5000)]
    began = time.process_time()
    assert all(parse_row(line) is not None for line in lines)
    assert time.process_time() - began < 1.0
