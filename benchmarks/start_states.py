"""Trains skills with and without start states and prints frames and seconds to 80 % step success from new worlds.

    .venv/bin/python benchmarks/start_states.py --grown demo --seeds 3 --share 0.5
    .venv/bin/python benchmarks/start_states.py --grown demo --skill "Collect Iron" --set ppo.frames=2000000 --json

--grown is a home that holds what the skills need; what is missing there is trained first. Every run has a copy of it
below --homes, without the skill itself; a run that is done is only read, so the command goes on where it was stopped.
Success is that of the training's own episodes from new worlds, the newest 400 that are over; "reached" is the first
update in which it is 80 % of at least 200 episodes that came as far as the skill's task. Seconds are wall time from the
start of the worker, compiling and looking for start states included.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from flowrl.jobs.watched import MetricsReader
from flowrl.paths import slug
from flowrl.schema.metrics import GateRow, MetricsRow, StartsRow, UpdateRow
from flowrl.stats import Share

WANTED, MIN_EPISODES, BUDGET = 0.8, 200, 20_000_000
SKILLS = ("Make Stone Pickaxe", "Collect Iron")
VARIANTS = ("new", "frontier")


@dataclass(frozen=True)
class Outcome:
    """How one run went.

    Attributes:
        reached_frames, reached_seconds: where the step success was 80 %; None where it never was.
        frames, seconds: where the run ended.
        step_success: of its last update.
        gate: step success on reserved worlds at its last gate.
        states: snapshots that episodes began at.
        from_snapshot: share of the frames that were of episodes begun there.
    """

    skill: str
    start: str
    seed: int
    reached_frames: int | None
    reached_seconds: float | None
    frames: int
    seconds: float
    step_success: float | None
    gate: float | None
    states: int
    from_snapshot: float


def flowrl(*words: str) -> str:
    """Returns what a command prints."""
    command = [sys.executable, "-m", "flowrl", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=sys.stderr, check=False, text=True).stdout


def learn_needs(home: Path, skill: str, env: str) -> None:
    """Trains what the skill's plan needs and the home lacks, one after another."""
    plan = json.loads(flowrl("plan", skill, "--env", env, "--home", str(home), "--json"))
    for name in dict.fromkeys(step["skill"] for step in plan["steps"]):
        if name == skill:
            continue
        known = json.loads(flowrl("skills", "list", "--home", str(home), "--json")) if home.exists() else []
        if not any(row["name"] == name and row["status"] == "learned" for row in known):
            flowrl("train", name, "--env", env, "--home", str(home))


def copy_home(grown: Path, home: Path, skill: str) -> None:
    """Copies a home's skills but for the one that is to be trained."""
    own = f"_{slug(skill)}"
    for part in ("home.json", "kb"):
        if (grown / part).is_file():
            home.mkdir(parents=True, exist_ok=True)
            shutil.copy2(grown / part, home / part)
        elif (grown / part).is_dir():
            shutil.copytree(grown / part, home / part)
    shutil.copytree(grown / "skills", home / "skills", ignore=lambda _, names: [n for n in names if n.endswith(own)])


def rows_of(home: Path, skill: str) -> list[MetricsRow]:
    """The metrics of the skill's run, none before there is one."""
    files = sorted(home.glob(f"training_runs/skill_*_{slug(skill)}/metrics.jsonl"))
    return MetricsReader(files[0]).new_rows() if files else []


def is_done(home: Path, skill: str) -> bool:
    """Returns whether the skill's run has ended."""
    return any(home.glob(f"training_runs/skill_*_{slug(skill)}/result.json"))


def train(grown: Path, home: Path, skill: str, start: str, seed: int, share: float, settings: list[str]) -> Outcome:
    """Returns how the skill's run went, played now if it was not before."""
    if not home.exists():
        copy_home(grown, home, skill)
    if not is_done(home, skill):
        begin = ["--start-from", start, *(["--start-share", str(share)] if start == "frontier" else [])]
        flowrl("train", skill, "--home", str(home), "--seed", str(seed), *begin, *settings, "--json")
    rows = rows_of(home, skill)
    updates = [row for row in rows if isinstance(row, UpdateRow)]
    if not updates:
        sys.exit(f"{skill} was not trained; why is said above. Learn what it needs in {grown}, delete {home}, go on.")
    gates = [row.step_success for row in rows if isinstance(row, GateRow)]
    found = [row for row in rows if isinstance(row, StartsRow)]
    reached = next((row for row in updates if has_reached(row.step_success)), None)
    return Outcome(
        skill,
        start,
        seed,
        reached.frames if reached else None,
        reached.seconds if reached else None,
        updates[-1].frames,
        updates[-1].seconds,
        share_of(updates[-1].step_success),
        share_of(gates[-1]) if gates else None,
        found[-1].states if found and found[-1].share else 0,
        round(statistics.fmean(row.from_kept.frames for row in updates), 4),
    )


def share_of(counts: Share) -> float | None:
    """A share as a number, None where nothing was counted."""
    return None if counts.value is None else round(counts.value, 4)


def has_reached(counts: Share) -> bool:
    """Whether enough episodes were counted and enough of them succeeded."""
    return counts.total >= MIN_EPISODES and (counts.value or 0.0) >= WANTED


def line(outcome: Outcome) -> str:
    """Returns an outcome as a row of a table in Markdown."""
    reached = (
        f"{outcome.reached_frames:,} frames, {outcome.reached_seconds:,.0f} s" if outcome.reached_frames else "never"
    )
    start = f"{outcome.start}, {outcome.states} states" if outcome.start == "frontier" else outcome.start
    gate = "-" if outcome.gate is None else f"{outcome.gate:.1%}"
    last = "-" if outcome.step_success is None else f"{outcome.step_success:.1%}"
    end = f"{outcome.frames:,} frames, {outcome.seconds:,.0f} s"
    cells = (outcome.skill, start, str(outcome.seed), reached, end, last, gate, f"{outcome.from_snapshot:.1%}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Runs all and prints a table in Markdown, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grown", type=Path, default=Path("demo"), help="a home with what the skills need")
    parser.add_argument("--homes", type=Path, default=Path("start-states"))
    parser.add_argument("--env", default="Craftax-Classic-Symbolic-v1")
    parser.add_argument("--skill", action="append", default=[], help="repeat; Make Stone Pickaxe and Collect Iron")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--set", action="append", default=[], dest="settings", help="as for flowrl train")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    chosen = [f"ppo.frames={BUDGET}", f"gate.stop_at={WANTED}", *arguments.settings]
    settings = [part for setting in chosen for part in ("--set", setting)]
    outcomes = []
    if not arguments.json:
        print("| skill | episodes begin | seed | 80 % step success | end | then | at the gate | kept frames |")
        print("|---|---|---|---|---|---|---|---|")
    for skill in arguments.skill or SKILLS:
        learn_needs(arguments.grown, skill, arguments.env)
        for seed in range(arguments.seeds):
            for start in VARIANTS:
                home = arguments.homes / f"{skill.replace(' ', '_')}_{start}_{seed}"
                outcome = train(arguments.grown, home, skill, start, seed, arguments.share, settings)
                outcomes.append(outcome)
                if not arguments.json:
                    print(line(outcome), flush=True)
    if arguments.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))


if __name__ == "__main__":
    main()
