"""What the commands of flowrl share: how they print, and the options that several of them have."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flowrl.schema.metrics import MetricsRow, OnRow

DEFAULT_ENV = "Craftax-Classic-Symbolic-v1"
HOME = Path("flowrl-home")
MAX_SEED = 2**32 - 1
DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130
"""Exit codes."""

Env = Annotated[str | None, typer.Option("--env", help=f"The game; what the home holds, else {DEFAULT_ENV}.")]
Home = Annotated[Path, typer.Option("--home", help="The folder that holds the library.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON; progress goes to stderr.")]


@contextlib.contextmanager
def progress_bar(name: str) -> "Iterator[OnRow]":
    """A bar on stderr, fed with rows; shown on a terminal only."""
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
    """Says on stderr what is wrong but keeps nothing from being shown."""
    sys.stderr.write(f"flowrl: warning: {error}\n")


def print_json(value: Any) -> None:
    """Prints a value as indented JSON."""
    print(json.dumps(value, indent=1))


def print_rich(renderable: Any) -> None:
    """Prints a table or the like; one that is piped is not folded at 80 columns."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False).print(renderable)
