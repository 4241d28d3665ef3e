"""Growing a library while its controller and its workers are killed at random moments.

The library that comes out is held against one that grew undisturbed: the same weights, frames and numbers, skill by
skill, under whatever expert's number.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from flowrl.errors import TrainingError
from flowrl.jobs.job import Job
from flowrl.jobs.local import worker_process
from flowrl.library.home import SkillLibrary
from flowrl.schema.home import SkillRecord

SMALL = (
    "env.worlds=64", "env.fresh_worlds=64", "env.episode_steps=100", "model.width=32", "ppo.steps=32",
    "ppo.minibatch_size=512", "ppo.lr=2e-3", "ppo.frames=400000", "gate.episodes=200", "gate.worlds=256",
    "gate.per_amount_worlds=32", "gate.min_episodes=100", "checkpoint.every=1",
)  # fmt: skip
"""The tiny game, learned in seconds, with a checkpoint after each update."""
SKILLS = 5
SECONDS = (0.2, 7.0)
"""Between two kills: from before a worker has started to when it has ended."""
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Survived:
    """What became of the homes that were disturbed.

    Attributes:
        kills: processes killed, controllers and workers.
        controllers: of these, controllers.
        homes: libraries that grew meanwhile.
        differences: what is not as in the undisturbed library, as sentences.
    """

    kills: int
    controllers: int
    homes: int
    differences: tuple[str, ...]


def command(home: Path) -> list[str]:
    """Returns the command that grows a home of the tiny game, two skills at once."""
    settings = [word for setting in SMALL for word in ("--set", setting)]
    line = [
        sys.executable,
        "-P",
        "-m",
        "flowrl",
        "grow",
        "--env",
        "Tiny-Grid-v1",
        "--skills",
        str(SKILLS),
        "--jobs",
        "2",
    ]
    return [*line, "--losses", "1000", "--home", str(home), *settings]


def survive(folder: Path, kills: int, seed: int = 0) -> Survived:
    """Returns what became of libraries that grew below ``folder`` while ``kills`` processes were killed.

    Raises:
        TrainingError: a library does not grow to its end although nobody disturbs it.
    """
    calm = folder / "calm"
    _finish(calm)
    chance = random.Random(seed)
    done, controllers, homes, differences = 0, 0, 0, []
    while done < kills:
        home = folder / f"disturbed_{homes}"
        struck, of_controllers = _disturb(home, kills - done, chance)
        _finish(home)
        done, controllers, homes = done + struck, controllers + of_controllers, homes + 1
        differences += [f"{home.name}: {text}" for text in compare(calm, home)]
    return Survived(done, controllers, homes, tuple(differences))


def _disturb(home: Path, kills: int, chance: random.Random) -> tuple[int, int]:
    """Grows a home, killing up to ``kills`` processes; returns how many, and how many of them were controllers."""
    struck, controllers = 0, 0
    controller = _start(home)
    while struck < kills:
        time.sleep(chance.uniform(*SECONDS))
        if controller.poll() is not None:
            break
        victims = [pid for pid in _workers(home) if chance.random() < 0.5]
        if not victims or chance.random() < 0.4:
            controller.kill()
            controller.wait()
            struck, controllers = struck + 1, controllers + 1
            controller = _start(home)
        for pid in victims[: kills - struck]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                struck += 1
    controller.kill()
    controller.wait()
    return struck, controllers


def _start(home: Path) -> "subprocess.Popen[bytes]":
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.log").open("ab") as log:
        return subprocess.Popen(command(home), stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _workers(home: Path) -> list[int]:
    """Returns the process ids of the home's workers."""
    folders = sorted((home / "training_runs").glob("skill_*"))
    found = [worker_process(Job(folder, folder.name)) for folder in folders]
    return [process.pid for process in found if process is not None]


def _finish(home: Path) -> None:
    """Lets a home grow to its end, undisturbed."""
    controller = _start(home)
    code = controller.wait(PATIENCE_SECONDS)
    if code != 0:
        log = (home.parent / f"{home.name}.log").read_text(errors="replace").splitlines()[-30:]
        raise TrainingError(f"Growing {home} ended with exit code {code}:\n" + "\n".join(log))


def compare(calm: Path, disturbed: Path) -> list[str]:
    """Returns in what two homes differ that should hold the same, the numbers of experts aside."""
    ours, theirs = SkillLibrary.open(calm), SkillLibrary.open(disturbed)
    one, other = ours.named(), theirs.named()
    if one.keys() != other.keys():
        return [f"it holds {sorted(other)}, not {sorted(one)}"]
    found = []
    for name, record in one.items():
        if _essence(record) != _essence(other[name]):
            found.append(f"{name} was measured or versioned otherwise")
        if ours.weights_hash(record) != theirs.weights_hash(other[name]):
            found.append(f"{name} has other weights")
    numbers = [record.expert_idx for record in other.values()]
    if sorted(numbers) != list(range(len(numbers))):
        found.append(f"its experts have the numbers {sorted(numbers)}")
    unprocessed = [spec.skill for paths, spec in theirs.runs() if not paths.processed.exists()]
    return found + [f"the run of {name} was not processed" for name in unprocessed]


def _essence(record: SkillRecord) -> tuple[object, ...]:
    steps = tuple((step.skill, step.n) for step in record.plan.steps)
    return record.status, record.version, record.frames, record.evaluation, steps
