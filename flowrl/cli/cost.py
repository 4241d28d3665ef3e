"""`flowrl cost`: calls of language models for a home, and their cost."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from flowrl.cli.options import Home, Json, open_library
from flowrl.cli.output import print_json, print_rich, warn
from flowrl.paths import DEFAULT_HOME

if TYPE_CHECKING:
    from rich.table import Table

    from flowrl.llm.transport.ledger import CostRow


def _money(row: "CostRow") -> str:
    """US dollars. With a question mark if the price of some calls is unknown."""
    if row.unpriced and row.unpriced == row.calls:
        return "?"
    return f"{row.cost:.4f}" + (" + ?" if row.unpriced else "")


def _table(rows: "Sequence[CostRow]", total: "CostRow") -> "Table":
    from flowrl.cli.tables import plain_table

    figures = ("calls", "no answer", "tokens in", "tokens out", "US $", "seconds", "accepted", "rejected")
    table = plain_table("skill", "stage", *figures, right=figures, title="calls of language models")
    for row in (*rows, total):
        counts = (str(row.calls), str(row.failed), f"{row.tokens_in:,}", f"{row.tokens_out:,}")
        judged = (str(row.accepted), str(row.rejected))
        style = "bold" if row is total else None
        table.add_row(row.skill or "-", row.stage, *counts, _money(row), f"{row.seconds:.1f}", *judged, style=style)
    return table


def cost(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Show calls of language models for a home: tokens, money and seconds by skill and stage."""
    from flowrl.errors import LibraryError
    from flowrl.llm.transport.ledger import cost_rows, cost_total, read_ledger

    file = open_library(home).paths.ledger
    lines, damaged = read_ledger(file)
    if damaged:
        warn(LibraryError(f"{file}: skipped damaged lines {', '.join(map(str, damaged))}; the sums lack their calls."))
    rows, total = cost_rows(lines), cost_total(lines)
    if as_json:
        print_json({"rows": [asdict(row) for row in rows], "total": asdict(total)})
        return
    if not lines:
        print(f"No calls of a language model for {home} so far.")
        return
    print_rich(_table(rows, total))
    if total.unpriced:
        unpriced = f"The price of {total.unpriced} of {total.calls} calls is unknown"
        print(f"\n?  {unpriced}; add it to {home}/prices.toml for later calls.")
