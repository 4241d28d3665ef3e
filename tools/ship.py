"""Puts a trained home into the package as the library that comes with flowrl: `python tools/ship.py HOME --command C`.

What plays is copied: specifications, code, experts in float16. What only trains is left: runs, checkpoints, start
states, earlier versions. The goal is measured before and after, at the game's own limit, and the numbers lie beside it.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from flowrl.evaluation.evaluate import evaluate_goal
from flowrl.files import pack_arrays, write_bytes, write_json
from flowrl.library.home import SkillLibrary, read_expert
from flowrl.library.shipped import SHIPPED
from flowrl.parallel.run_reports import frames_played, reports
from flowrl.paths import SkillPaths
from flowrl.schema.home import ExpertMeta, SkillRecord
from flowrl.weights import sha256

HERE = Path(__file__).resolve().parent.parent
CLOCK = 10_000
"""Steps after which the game itself ends."""


def arguments() -> argparse.Namespace:
    """Read what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--command", required=True, help="the command that trained the home")
    parser.add_argument("--goal", default="Collect Diamond", help="what is measured")
    parser.add_argument("--episodes", type=int, default=1024)
    return parser.parse_args()


def put_expert(library: SkillLibrary, source: SkillPaths, to: SkillPaths) -> str:
    """Write an expert in half precision, and what it is. The hash of the new file."""
    expert = read_expert(source, library.description)
    data = pack_arrays({name: leaf.astype(np.float16) for name, leaf in expert.items()})
    meta = ExpertMeta.model_validate_json(source.meta.read_text())
    write_json(to.meta, meta.model_copy(update={"sha256": sha256(data), "replaces": ""}))
    write_bytes(to.params, data)
    return sha256(data)


def put_skill(library: SkillLibrary, record: SkillRecord, to: SkillPaths) -> None:
    """Copy what a skill plays with."""
    source = library.skill_paths(record)
    weights = put_expert(library, source, to)
    for expert in record.companions:
        put_expert(library, source.companion(expert), to.companion(expert))
    if source.module.exists():
        write_bytes(to.module, source.module.read_bytes())
    write_json(to.record, record.model_copy(update={"weights": weights}))


def measured(library: SkillLibrary, goal: str, episodes: int) -> dict[str, Any]:
    """Success at the game's own limit on the worlds of seed 0."""
    found = evaluate_goal(library, goal, episodes, 0, CLOCK, lambda _row: None)
    return found.model_dump(mode="json")


def main() -> int:
    """Run the command line."""
    asked = arguments()
    library = SkillLibrary.open(asked.home)
    out = SHIPPED / library.description.env
    shutil.rmtree(out, ignore_errors=True)
    write_json(out / "home.json", library.description)
    shipped = SkillLibrary.open(out)
    for record in library.records():
        put_skill(library, record, shipped.skill_paths(record))
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True)
    about = {
        "command": asked.command,
        "commit": git.stdout.strip(),
        "frames": frames_played(library),
        "minutes": round(sum(report.seconds for report in reports(library)) / 60),
        "machine": f"{psutil.cpu_count()} cores ({platform.machine()})",
        "goal": asked.goal,
        "steps": CLOCK,
        "float32": measured(library, asked.goal, asked.episodes),
        "float16": measured(shipped, asked.goal, asked.episodes),
    }
    (out / "about.json").write_text(json.dumps(about, indent=1) + "\n")
    print(json.dumps({key: about[key] for key in ("command", "commit", "frames", "minutes", "machine")}))
    for kind in ("float32", "float16"):
        print(kind, about[kind]["success"])
    print(f"{sum(file.stat().st_size for file in out.rglob('*')) / 1e6:.1f} MB in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
