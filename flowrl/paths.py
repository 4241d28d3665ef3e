"""Every path that flowrl reads or writes. And the one rule that turns a name into a folder."""

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = Path("flowrl-home")
PACKAGE_ROOT = Path(__file__).resolve().parents[1]
"""The folder that `flowrl` is imported from."""


def source_of(module: str) -> Path:
    """The source file of a module that is not imported.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module {module!r}, whose source decides what a cache holds.")
    return Path(spec.origin)


def slug(name: str) -> str:
    """Turn a name into a folder's name.

    >>> slug("Collect Wood")
    'Collect_Wood'
    """
    return re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") or "unnamed"


@dataclass(frozen=True)
class Folder:
    """A folder whose files are known by name."""

    folder: Path


class File:
    """A path inside a `Folder`, declared once: `result = File("result.json")`."""

    def __init__(self, name: str):
        self.name = name

    def __get__(self, owner: Folder, kind: type) -> Path:
        return owner.folder / self.name


@dataclass(frozen=True)
class SkillPaths(Folder):
    """The files of one skill in the library."""

    expert: int

    record = File("skill.json")
    module = File("module.py")
    history = File("history")
    analysis = File("analysis")
    """The folder of the skill's newest analysis."""
    start_states = File("start_states/final.safetensors")
    """States in which episodes of the skill ended in success."""
    companions = File("companions")
    """The experts that the skill plays with and that the library lacks."""

    @property
    def policy(self) -> Path:
        """The folder of the expert's weights."""
        return self.folder / f"expert_{self.expert}_policy"

    @property
    def params(self) -> Path:
        """The expert's weights."""
        return self.policy / "params.safetensors"

    @property
    def meta(self) -> Path:
        """What the weights are of and their hash."""
        return self.policy / "meta.json"

    def companion(self, expert: int) -> "SkillPaths":
        """Where the policy of such an expert lies."""
        return SkillPaths(self.companions, expert)


@dataclass(frozen=True)
class JobPaths(Folder):
    """The files that every job has."""

    request = File("request.json")
    """What is asked of the job, beyond a run's configuration."""
    result = File("result.json")
    """The outcome, written last."""
    lock = File("lock")
    """Held by the process that works on the folder."""
    log = File("log.txt")
    heartbeat = File("heartbeat")
    """The worker's process id and the time, rewritten as it gets on."""
    metrics = File("metrics.jsonl")
    stop = File("stop")
    """Asks a worker on another machine to save a checkpoint and leave."""


@dataclass(frozen=True)
class PlayPaths(JobPaths):
    """What it takes to play a plan. Configuration, task module, weights."""

    config = File("run.json")
    initial = File("initial.safetensors")

    @property
    def module(self) -> Path:
        """The task module."""
        return self.folder / "module.py"

    def artefact(self, key: str) -> Path:
        """Where an exported skill of the plan lies."""
        return self.folder / "artefacts" / f"{key}.stablehlo"


@dataclass(frozen=True)
class RunPaths(PlayPaths):
    """The files of one training run. Unpacks, as in the seed, into (run_folder, module_path)."""

    expert: int

    checkpoints = File("checkpoints")
    processed = File("processed.json")
    merge = File("merge")
    """The folder of the run's comparison with the library's experts."""
    frontier = File("start_states/frontier.safetensors")
    """States in which the run's own episodes reached its last task before it was trained."""

    def __iter__(self) -> Iterator[Path]:
        """The run's folder and its module."""
        yield self.folder
        yield self.module

    @property
    def module(self) -> Path:
        """The task module named after the expert."""
        return self.folder / f"{self.expert}.py"

    @property
    def checkpoint_updates(self) -> list[int]:
        """The updates of the whole checkpoints in order. The progress file is written last and removed first."""
        return sorted(int(path.stem.removeprefix("update_")) for path in self.checkpoints.glob("update_*.json"))

    @property
    def has_trained(self) -> bool:
        """Whether the run has saved a checkpoint."""
        return bool(self.checkpoint_updates)

    def start_states(self, digest: str) -> Path:
        """Where start states with this hash lie."""
        return self.folder / "start_states" / f"{digest}.safetensors"


@dataclass(frozen=True)
class HomePaths(Folder):
    """The files of a home."""

    description = File("home.json")
    lock = File("lock")
    owner = File("owner.json")
    state = File("state.json")
    drafts = File("drafts")
    requests = File("requests")
    ledger = File("ledger.jsonl")
    """Calls of language models and their cost."""
    prices = File("prices.toml")
    """The user's own prices of language models."""
    skills = File("skills")
    runs = File("training_runs")

    @property
    def root(self) -> Path:
        """The home itself."""
        return self.folder

    def skill(self, expert: int, name: str) -> SkillPaths:
        """The paths of a skill."""
        return SkillPaths(self.skills / f"{expert}_{slug(name)}", expert)

    def run(self, expert: int, name: str) -> RunPaths:
        """The paths of a skill's training run."""
        return RunPaths(self.runs / f"skill_{expert}_{slug(name)}", expert)
