"""Measurements that stand behind the numbers in the documentation: `flowrl bench`."""

TABLES = {
    "plan": "benchmarks.tables.plans",
    "env": "benchmarks.tables.environment",
    "moe": "benchmarks.tables.mixture",
    "train": "benchmarks.tables.training",
    "growth": "benchmarks.tables.growth",
    "parallel": "benchmarks.tables.parallel",
    "verify": "benchmarks.tables.verification",
    "exported": "benchmarks.tables.exported",
    "learn": "benchmarks.tables.learning",
}
"""The tables, and the module that measures each; imported one by one: planning is measured without jax."""
WITH_SLOW_ROWS = frozenset({"parallel", "verify", "learn"})
"""What takes many minutes: `all` leaves those rows out, or measures them on a part, unless it is to be `--slow`."""
