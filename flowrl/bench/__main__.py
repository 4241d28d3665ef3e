"""`python -m flowrl.bench [plan | env | moe | ... | all] [--slow]` prints the rows of its tables as JSON."""

import importlib
import json
import sys

from flowrl.platform import check_jax_version

MODULES = {
    "plan": "flowrl.bench.plans",
    "env": "flowrl.bench.environment",
    "moe": "flowrl.bench.mixture",
    "train": "flowrl.bench.training",
    "parallel": "flowrl.bench.parallel",
    "verify": "flowrl.bench.verification",
    "exported": "flowrl.bench.exported",
}
"""Imported one by one: planning is measured in a process that holds no jax."""
WITH_SLOW_ROWS = {"parallel"}
"""What has rows that take many minutes; they are left out of `all`, unless it is said to be `--slow`."""


def main() -> int:
    """Measures one table or all and prints the rows; the exit code says whether every target was met."""
    names = list(MODULES)
    asked = [argument for argument in sys.argv[1:] if not argument.startswith("-")] or ["all"]
    if not set(asked) <= {*names, "all"}:
        sys.stderr.write(f"usage: python -m flowrl.bench [{' | '.join(names)} | all] [--slow]\n")
        return 2
    rows = []
    for name in names if "all" in asked else asked:
        sys.stderr.write(f"measuring {name} ...\n")
        if name != "plan":
            check_jax_version()
        module = importlib.import_module(MODULES[name])
        if name in WITH_SLOW_ROWS:
            rows += module.measure(slow="all" not in asked or "--slow" in sys.argv)
        else:
            rows += module.measure()
    print(json.dumps([row.model_dump() for row in rows], indent=1))
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
