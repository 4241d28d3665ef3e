"""`python -m benchmarks.tables [plan | env | moe | ...] [--slow] [--text]` prints each table, as JSON or as text."""

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.tables import TABLES, WITH_SLOW_ROWS
from benchmarks.tables.measure import tell
from benchmarks.tables.show import bench_table
from flowrl.cli.output import print_rich
from flowrl.errors import FlowRLError, nearest_names
from flowrl.jax_runtime import check_jax_version


def measure(name: str, slow: bool) -> list[dict[str, Any]]:
    """Returns the rows of one table, measured in this process.

    Args:
        slow: with the rows that take many minutes, and all of what is otherwise measured on a part.
    """
    if name != "plan":
        check_jax_version()
    module = importlib.import_module(TABLES[name])
    rows = module.measure(slow=slow) if name in WITH_SLOW_ROWS else module.measure()
    return [row.model_dump() for row in rows]


def measure_apart(names: Sequence[str], slow: bool) -> Iterator[list[dict[str, Any]]]:
    """Yields the rows of several tables, each measured in a process of its own; none of one that failed."""
    for name in names:
        if name == "learn" and not slow:
            continue
        tell(f"measuring {name} ...")
        start = time.monotonic()
        command = [sys.executable, "-P", "-m", "benchmarks.tables", name, *(["--slow"] if slow else ["--quick"])]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        rows = json.loads(done.stdout) if done.stdout.strip() else []
        tell(f"{name}: {time.monotonic() - start:.0f} s")
        if not rows and done.returncode:
            tell(f"{name} could not be measured (exit code {done.returncode}); its messages are above.")
        yield rows


def main() -> int:
    """Measures one table or all and prints the rows; the exit code says whether every target was met."""
    names = list(TABLES)
    asked = [argument for argument in sys.argv[1:] if not argument.startswith("-")] or ["all"]
    if not set(asked) <= {*names, "all"}:
        unknown = next(name for name in asked if name not in {*names, "all"})
        sys.stderr.write(f"flowrl: No table {unknown!r}. {nearest_names(unknown, [*names, 'all'])}\n")
        return 2
    slow, met = "--slow" in sys.argv, True
    try:
        if len(asked) == 1 and asked != ["all"]:
            found = iter([measure(asked[0], slow or "--quick" not in sys.argv)])
        else:
            found = measure_apart(names if "all" in asked else asked, slow or "all" not in asked)
        for rows in found:
            if "--text" not in sys.argv:
                print(json.dumps(rows), flush=True)
            elif rows:
                print_rich(bench_table(rows))
            met &= bool(rows) and all(row["ok"] for row in rows)
    except FlowRLError as error:
        sys.stderr.write(f"flowrl: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
