"""Measurements that stand behind the numbers in the documentation: `flowrl bench`."""

TABLES = {
    "plan": "flowrl.bench.plans",
    "env": "flowrl.bench.environment",
    "moe": "flowrl.bench.mixture",
    "train": "flowrl.bench.training",
    "growth": "flowrl.bench.growth",
    "parallel": "flowrl.bench.parallel",
    "verify": "flowrl.bench.verification",
    "exported": "flowrl.bench.exported",
    "learn": "flowrl.bench.learning",
}
"""The tables, and the module that measures each; imported one by one: planning is measured without jax."""
WITH_SLOW_ROWS = frozenset({"parallel", "verify", "learn"})
"""What takes many minutes: `all` leaves those rows out, or measures them on a part, unless it is to be `--slow`."""
