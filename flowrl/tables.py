"""Tables that commands print: plans, the frontier, measurements."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from flowrl.fluents import ACHIEVEMENT, INTRINSIC, NEAR, PLACED, REACHED
from flowrl.outlook import Outlook
from flowrl.planning.frontier import Verdict

_QUIET = (ACHIEVEMENT, INTRINSIC, PLACED, REACHED)
"""What a plan's table leaves out, as `--json` has it all: what only grows, and what says itself."""


def plain_table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """Returns an empty table without lines."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    return table


def held_text(held: Mapping[str, int]) -> str:
    """Returns what is in hand and within reach, e.g. ``2 wood, wood_pickaxe, near crafting_table``."""
    parts = []
    for fluent, amount in held.items():
        if fluent.startswith(NEAR):
            parts.append(f"near {fluent.removeprefix(NEAR)}")
        elif not fluent.startswith(_QUIET):
            parts.append(fluent if amount == 1 else f"{amount} {fluent}")
    return ", ".join(sorted(parts, key=lambda part: part.startswith("near "))) or "nothing"


def plan_table(outlook: Outlook) -> Table:
    """Returns a row for each step of a plan."""
    columns = ("step", "skill", "n", "expert", "status", "why", "held after it")
    table = plain_table(*columns, right=("step", "n", "expert"), title=f"plan for {outlook.plan.goal}")
    for i, row in enumerate(outlook.rows(), start=1):
        expert = "-" if row["expert"] is None else str(row["expert"])
        floor = f"floor {row['floor']}: " if any(state.floor for state in outlook.after) else ""
        held = floor + held_text(row["after"])
        table.add_row(str(i), row["skill"], str(row["n"]), expert, row["status"], row["why"], held)
    return table


def frontier_table(verdicts: Sequence[Verdict]) -> Table:
    """Returns a row for each skill of a base: where it stands, and why."""
    table = plain_table("skill", "standing", "reason", title="what can be learned next")
    for verdict in verdicts:
        style = {"ready": "bold green", "learned": "green"}.get(verdict.standing, "dim")
        table.add_row(verdict.skill, verdict.standing, verdict.reason, style=style)
    return table


def bench_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns a row for each figure measured, held against its target."""
    table = plain_table("what", "median", "unit", "range", "target", "", right=("median", "range"))
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
        table.add_row(f"  {row['name']}", *figures, " and ".join(bounds), verdict)
    return table
