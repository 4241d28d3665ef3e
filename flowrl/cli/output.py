"""What the commands of flowrl share: how they print, and the options that several of them have."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT_ENV = "Craftax-Classic-Symbolic-v1"
HOME = Path("flowrl-home")
MAX_SEED = 2**32 - 1
DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130
"""Exit codes."""

Env = Annotated[str | None, typer.Option("--env", help=f"The game; what the home holds, else {DEFAULT_ENV}.")]
Home = Annotated[Path, typer.Option("--home", help="The folder that holds the library.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON; progress goes to stderr.")]


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
