"""Shares and their intervals."""

from hypothesis import given
from hypothesis import strategies as st

from flowrl.stats import Share, wilson


def test_wilson_intervals_are_the_published_ones() -> None:
    low, high = wilson(172, 200)
    assert (round(low, 4), round(high, 4)) == (0.8051, 0.9013)
    assert wilson(0, 0) == (0.0, 1.0)
    assert Share(successes=0, total=0).value is None and str(Share(successes=0, total=0)) == "unknown"


@given(st.integers(0, 500), st.integers(0, 500))
def test_intervals_hold_their_share(successes: int, failures: int) -> None:
    low, high = wilson(successes, successes + failures)
    assert 0 <= low <= high <= 1
    if successes + failures:
        assert low <= successes / (successes + failures) <= high
