"""What successful segments have in common; no simulator, no language model."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrl.analysis.segments import (
    Frame,
    Segment,
    Spread,
    Statistics,
    Trajectory,
    fit,
    statistics_of,
    statistics_text,
    trajectory_text,
)
from flowrl.errors import UsageError
from flowrl.schema.skill import Quantity


def plank(n: int, wood: int, steps: int = 3, action: str = "SAW") -> Segment:
    """A made-up skill: n planks of two wood each, the last one in the last step; a saw is needed and kept."""
    start = {"wood": wood, "saw": 1}
    before = {"wood": wood - 2 * (n - 1), "saw": 1, "planks": n - 1}
    end = {"wood": wood - 2 * n, "saw": 1, "planks": n}
    return Segment(n=n, steps=steps, action=action, start=start, before=before, end=end)


def planks() -> list[Segment]:
    return [plank(n, 2 * n + spare, steps=n + spare) for n in (1, 2, 3) for spare in range(4)]


def test_what_was_there_and_what_it_cost_is_told_for_each_n() -> None:
    found = statistics_of("Saw Planks", [*planks(), plank(1, 9, action="KICK")])
    wood, saw, made = (found.named()[fluent] for fluent in ("wood", "saw", "planks"))
    assert found.segments == 13 and found.ns == {1: 5, 2: 4, 3: 4}
    assert list(found.actions.items()) == [("SAW", 12), ("KICK", 1)]
    assert wood.start == Spread(least=2, median=6, most=9) and wood.min_start == {1: 2, 2: 4, 3: 6}
    assert wood.consumed == Spread(least=2, median=4, most=6) and wood.consumed_for == Quantity(per_n=2)
    assert wood.spent_before == {1: 0, 2: 2, 3: 4}
    assert saw.start == Spread(least=1, median=1, most=1) and saw.consumed.most == saw.gained.most == 0
    assert made.gained_for == Quantity(per_n=1) and made.min_end == {1: 1, 2: 2, 3: 3}


def test_what_some_segments_lack_counts_as_zero() -> None:
    odd = plank(1, 4).model_copy(update={"start": {"wood": 4}})
    assert statistics_of("Saw Planks", [*planks(), odd]).named()["saw"].start.least == 0


def test_too_few_segments_say_nothing() -> None:
    with pytest.raises(UsageError, match=r"9 successful segments of 'Saw Planks' are too few .* 10 are needed"):
        statistics_of("Saw Planks", planks()[:9])


def test_statistics_survive_their_file_and_read_well() -> None:
    found = statistics_of("Saw Planks", planks())
    assert Statistics.model_validate_json(found.model_dump_json()) == found
    text = statistics_text(found)
    assert "12 successful segments of Saw Planks, played by the skill's policy." in text
    assert "wood: start 2 / 5.5 / 9, end 0 / 1.5 / 3, consumed 2 / 4 / 6 = 2*n" in text
    assert "planks: start 0, end 1 / 2 / 3, gained 1 / 2 / 3 = n" in text


@given(st.integers(-3, 5), st.integers(-3, 9), st.sets(st.integers(1, 9), min_size=2))
def test_a_line_through_the_points_is_found(per_n: int, base: int, ns: set[int]) -> None:
    assert fit({n: per_n * n + base for n in ns}) == Quantity(per_n=per_n, base=base)


def test_where_no_line_goes_through_nothing_is_made_up() -> None:
    assert fit({1: 1, 2: 1, 3: 2}) is None and fit({1: 1, 2: 1.5}) is None and fit({}) is None
    assert fit({2: 3}) == Quantity(base=3)


def test_a_trajectory_joins_what_repeats_and_leaves_out_the_middle() -> None:
    walk = [Frame(action="LEFT", changed={}) for _ in range(5)]
    chop = Frame(action="DO", changed={"wood": 1}, near=(("TREE", 1, 0),))
    told = Trajectory(title="a typical segment", n=1, start={"saw": 1}, frames=(*walk, chop))
    assert trajectory_text(told).splitlines() == [
        "a typical segment: n = 1, 6 steps",
        "    start: 1 saw",
        "       5 LEFT x5: no change",
        "       6 DO: wood +1; near TREE (+1, +0)",
    ]
    long = told.model_copy(update={"frames": (chop,) * 50})
    assert len(trajectory_text(long, most=10).splitlines()) == 2 + 10 + 1


def test_the_control_process_reads_analyses_without_jax() -> None:
    code = (
        "import sys, flowrl.analysis.repair, flowrl.analysis.job; "
        "assert not {'jax', 'craftax'} & {name.split('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
