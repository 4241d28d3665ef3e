"""Output of the commands: exit codes, JSON, tables, warnings, a progress bar."""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowrl.schema.metrics import MetricsRow, OnRow

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130
"""Exit codes."""


@contextlib.contextmanager
def progress_bar(name: str) -> "Iterator[OnRow]":
    """A bar on stderr fed with rows. Shown on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from flowrl.schema.metrics import PlayingRow

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{name}: starting", total=None)

        def show(row: "MetricsRow") -> None:
            played, wanted = (row.played, row.wanted) if isinstance(row, PlayingRow) else (None, None)
            bar.update(task, description=f"{name}: {row.kind}", completed=played, total=wanted)

        yield show


def warn(error: Exception) -> None:
    """Print a warning."""
    sys.stderr.write(f"flowrl: warning: {error}\n")


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    print(json.dumps(value, indent=1))


def show(as_json: bool, value: Any, renderable: Any) -> None:
    """Print a value as JSON or its table."""
    if as_json:
        print_json(value)
    else:
        print_rich(renderable)


def print_rich(renderable: Any) -> None:
    """Print a table or the like. Piped output is 160 columns wide."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False).print(renderable)
