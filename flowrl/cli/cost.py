"""`flowrl cost`: what was asked of language models for a home, and what it cost."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from flowrl.cli.output import HOME, Home, Json, print_json, print_rich, warn

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from flowrl.llm.transport.ledger import CostRow, Line


def _lines(home: "Path") -> "list[Line]":
    """Returns the home's ledger; damaged lines are named on stderr.

    Raises:
        LibraryError: there is no such home.
    """
    from flowrl.errors import LibraryError
    from flowrl.library.home import SkillLibrary
    from flowrl.llm.transport.ledger import read_ledger

    paths = SkillLibrary.open(home).paths
    lines, damaged = read_ledger(paths.ledger)
    if damaged:
        numbers = ", ".join(str(number) for number in damaged)
        warn(LibraryError(f"{paths.ledger}: damaged lines are left out: {numbers}. The sums are too small by them."))
    return lines


def _money(row: "CostRow") -> str:
    """Returns US dollars; a question mark where some or all of it is unknown."""
    if row.unpriced and row.unpriced == row.calls:
        return "?"
    return f"{row.cost:.4f}" + (" + ?" if row.unpriced else "")


def _table(rows: "Sequence[CostRow]", total: "CostRow") -> "Table":
    from flowrl.cli.tables import plain_table

    figures = ("calls", "no answer", "tokens in", "tokens out", "US $", "seconds", "accepted", "rejected")
    table = plain_table("skill", "stage", *figures, right=figures, title="asked of language models")
    for row in (*rows, total):
        counts = (str(row.calls), str(row.failed), f"{row.tokens_in:,}", f"{row.tokens_out:,}")
        judged = (str(row.accepted), str(row.rejected))
        style = "bold" if row is total else None
        table.add_row(row.skill or "-", row.stage, *counts, _money(row), f"{row.seconds:.1f}", *judged, style=style)
    return table


def cost(home: Home = HOME, as_json: Json = False) -> None:
    """Show what language models were asked for a home: calls, tokens, money and seconds by skill and stage."""
    from flowrl.llm.transport.ledger import cost_rows, cost_total

    lines = _lines(home)
    rows, total = cost_rows(lines), cost_total(lines)
    if as_json:
        print_json({"rows": [asdict(row) for row in rows], "total": asdict(total)})
        return
    if not lines:
        print(f"Nothing was asked of a language model for {home}.")
        return
    print_rich(_table(rows, total))
    if total.unpriced:
        print(
            f"\n?  The price of {total.unpriced} of {total.calls} calls is unknown; {home}/prices.toml may give it for "
            f"further ones."
        )
