"""Timing that holds on a noisy machine: everything in turn, ratios within a turn, medians over turns."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict


class Bound(NamedTuple):
    """What a piece of work takes whatever the code is like: the bytes that it moves and its operations."""

    bytes_moved: float
    operations: float


def tell(text: str) -> None:
    """Says on stderr what is under way; stdout is for rows."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class Row(BaseModel):
    """One measured figure.

    Attributes:
        table, name: where it stands.
        value, unit: the median over turns.
        at_least, at_most: the target, if there is one; ``ok`` whether it is met.
        spread: the least and largest value over the turns.
        bytes_moved, operations: the two numbers that bound it: of one step, frame or update, as ``per`` says.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    ok: bool = True
    spread: tuple[float, float] | None = None
    bytes_moved: float | None = None
    operations: float | None = None
    per: str = ""


def row(
    table: str,
    name: str,
    values: Sequence[float],
    unit: str,
    at_least: float | None = None,
    at_most: float | None = None,
    bound: Bound | None = None,
    per: str = "",
) -> Row:
    """Returns the median of ``values`` as a row, held against its target; ``per``: of what ``bound`` speaks."""
    value = statistics.median(values)
    ok = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    return Row(
        table=table,
        name=name,
        value=round(value, 4),
        unit=unit,
        at_least=at_least,
        at_most=at_most,
        ok=ok,
        spread=(round(min(values), 4), round(max(values), 4)),
        bytes_moved=None if bound is None else round(bound.bytes_moved),
        operations=None if bound is None else round(bound.operations),
        per=per,
    )


def time_in_turn(calls: Mapping[str, Callable[[int], Any]], turns: int = 5) -> dict[str, list[float]]:
    """Returns the seconds of each call in each turn; every call is made once before, so that nothing compiles."""
    import jax  # planning is measured without it

    for call in calls.values():
        jax.block_until_ready(call(0))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call(turn + 1))
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Returns turn by turn quotients."""
    return [a / b for a, b in zip(over, under, strict=True)]
