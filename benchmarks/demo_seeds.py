"""Grows the three demo skills once a seed and prints frames, minutes and success of each.

    .venv/bin/python benchmarks/demo_seeds.py --seeds 5

Every seed gets a home of its own below --homes; a seed that is done already is only read, so the command goes on
where it was stopped.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

NAME = "Craftax-Classic-Symbolic-v1"


def grow(home: Path, seed: int, skills: int, settings: list[str]) -> tuple[list[dict[str, object]], float, bool]:
    """Returns the library's rows, the minutes that growing took, and whether all was learned."""
    command = [sys.executable, "-m", "flowrl", "grow", "--env", NAME, "--skills", str(skills), "--home", str(home)]
    start = time.monotonic()
    done = subprocess.run([*command, "--seed", str(seed), *settings], stdout=subprocess.DEVNULL, check=False)
    minutes = (time.monotonic() - start) / 60
    listed = subprocess.run(
        [sys.executable, "-m", "flowrl", "skills", "list", "--home", str(home), "--json"],
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(listed.stdout), minutes, done.returncode == 0


def main() -> None:
    """Runs all seeds and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--skills", type=int, default=3)
    parser.add_argument("--homes", type=Path, default=Path("demo-seeds"))
    parser.add_argument("--set", action="append", default=[], dest="settings", help="as for flowrl grow")
    arguments = parser.parse_args()
    settings = [part for setting in arguments.settings for part in ("--set", setting)]
    print("| seed | skill | status | frames | step success | plan success | all learned, minutes |")
    print("|---|---|---|---|---|---|---|")
    for seed in range(arguments.seeds):
        rows, minutes, complete = grow(arguments.homes / f"seed_{seed}", seed, arguments.skills, settings)
        for row in rows:
            step = f"{row['step_success']:.3f} [{row['step_success_low']:.3f}, {row['step_success_high']:.3f}]"
            plan = f"{row['success']:.3f} [{row['success_low']:.3f}, {row['success_high']:.3f}]"
            total = f"{'yes' if complete else 'no'}, {minutes:.1f}" if row is rows[-1] else ""
            print(
                f"| {seed} | {row['name']} | {row['status']} | {row['frames']} | {step} | {plan} | {total} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
