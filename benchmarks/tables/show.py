"""Tables of measured figures, as people read them."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from flowrl.cli.tables import plain_table


def bench_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each measured figure, with its target."""
    columns = ("what", "median", "unit", "range", "target", "", "bytes moved, operations")
    table = plain_table(*columns, right=("median", "range"))
    title = ""
    for row in rows:
        if row["table"] != title:
            title = row["table"]
            table.add_row(title, style="bold")
        low, high = row["at_least"], row["at_most"]
        bounds = ([f">= {low:g}"] if low is not None else []) + ([f"<= {high:.3g}"] if high is not None else [])
        verdict = ("ok" if row["ok"] else "MISSED") if bounds else ""
        spread = f"{row['spread'][0]:,.4g} to {row['spread'][1]:,.4g}"
        figures = (f"{row['value']:,.5g}", row["unit"], spread)
        table.add_row(f"  {row['name']}", *figures, " and ".join(bounds), verdict, _bound_text(row))
    return table


def _bound_text(row: Mapping[str, Any]) -> str:
    """Bytes moved and operations, e.g. ``1.2 MB, 34 M a step``."""
    if row["bytes_moved"] is None:
        return ""
    return f"{_short(row['bytes_moved'])}B, {_short(row['operations']).rstrip()} a {row['per']}"


def _short(number: float) -> str:
    """A number with three digits and a prefix, e.g. ``1.2 M``."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {prefix}"
    return f"{number:.3g} "
