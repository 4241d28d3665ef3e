"""`python -m flowrl.bench [env | moe | train | all]` prints its rows as JSON."""

import json
import sys

from flowrl.platform import check_jax_version


def main() -> int:
    """Measures one table or all and prints the rows; the exit code says whether every target was met."""
    names = ["env", "moe", "train"]
    asked = [argument for argument in sys.argv[1:] if not argument.startswith("-")] or ["all"]
    if not set(asked) <= {*names, "all"}:
        sys.stderr.write(f"usage: python -m flowrl.bench [{' | '.join(names)} | all]\n")
        return 2
    check_jax_version()
    from flowrl.bench import environment, mixture, training

    tables = {"env": environment.measure, "moe": mixture.measure, "train": training.measure}
    rows = []
    for name in names if "all" in asked else asked:
        sys.stderr.write(f"measuring {name} ...\n")
        rows += tables[name]()
    print(json.dumps([row.model_dump() for row in rows], indent=1))
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
