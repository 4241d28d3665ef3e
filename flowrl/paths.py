"""Every path that flowrl reads or writes, and the one rule that turns a name into a folder."""

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = Path("flowrl-home")
PACKAGE_ROOT = Path(__file__).resolve().parents[1]
"""The folder that `flowrl` is imported from."""


def source_of(module: str) -> Path:
    """The source file of a module, found without importing it.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module {module!r}, whose source decides what a cache holds.")
    return Path(spec.origin)


def slug(name: str) -> str:
    """Returns ``name`` as a folder or Python name: letters and digits kept, the rest one underscore.

    >>> slug("Collect Wood")
    'Collect_Wood'
    """
    return re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") or "unnamed"


@dataclass(frozen=True)
class SkillPaths:
    """The files of one skill in the library."""

    folder: Path
    expert: int

    @property
    def record(self) -> Path:
        return self.folder / "skill.json"

    @property
    def module(self) -> Path:
        return self.folder / "module.py"

    @property
    def history(self) -> Path:
        return self.folder / "history"

    @property
    def policy(self) -> Path:
        return policy_folder(self.folder, self.expert)

    @property
    def params(self) -> Path:
        return self.policy / "params.safetensors"

    @property
    def meta(self) -> Path:
        return self.policy / "meta.json"

    @property
    def analysis(self) -> Path:
        """The folder of the newest analysis of the skill."""
        return self.folder / "analysis"

    @property
    def start_states(self) -> Path:
        """States in which episodes of the skill ended in success."""
        return self.folder / "start_states" / "final.safetensors"

    @property
    def companions(self) -> Path:
        """The experts that the skill plays with and that the library lacks."""
        return self.folder / "companions"

    def companion(self, expert: int) -> "SkillPaths":
        """Returns where the policy of such an expert lies."""
        return SkillPaths(self.companions, expert)


def policy_folder(skill_folder: Path, expert: int) -> Path:
    """Returns the folder that holds an expert's weights inside a skill's folder."""
    return skill_folder / f"expert_{expert}_policy"


@dataclass(frozen=True)
class RunPaths:
    """The files of one training run; unpacks, as in the seed, into (run_folder, module_path)."""

    folder: Path
    expert: int

    def __iter__(self) -> Iterator[Path]:
        """Yields the run's folder and its module."""
        yield self.folder
        yield self.module

    @property
    def module(self) -> Path:
        return self.folder / f"{self.expert}.py"

    @property
    def config(self) -> Path:
        return self.folder / "run.json"

    @property
    def initial(self) -> Path:
        return self.folder / "initial.safetensors"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def checkpoint_updates(self) -> list[int]:
        """The updates of the whole checkpoints, ascending; the progress file is written last and removed first."""
        return sorted(int(path.stem.removeprefix("update_")) for path in self.checkpoints.glob("update_*.json"))

    @property
    def has_trained(self) -> bool:
        """Whether the run has saved a checkpoint."""
        return bool(self.checkpoint_updates)

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def heartbeat(self) -> Path:
        return self.folder / "heartbeat"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    @property
    def processed(self) -> Path:
        return self.folder / "processed.json"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    def artefact(self, key: str) -> Path:
        """Returns where an exported skill lies that the run loads."""
        return self.folder / "artefacts" / f"{key}.stablehlo"

    def start_states(self, digest: str) -> Path:
        """Returns where a library's start states lie that the run may begin at, by the hash of the file."""
        return self.folder / "start_states" / f"{digest}.safetensors"

    @property
    def frontier(self) -> Path:
        """The states in which the run's own episodes reached its last task before it was trained."""
        return self.folder / "start_states" / "frontier.safetensors"

    @property
    def merge(self) -> Path:
        """The folder in which candidates are held against the library's experts."""
        return self.folder / "merge"


@dataclass(frozen=True)
class HomePaths:
    """The files of a home."""

    root: Path

    @property
    def description(self) -> Path:
        return self.root / "home.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def owner(self) -> Path:
        return self.root / "owner.json"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def drafts(self) -> Path:
        return self.root / "drafts"

    @property
    def requests(self) -> Path:
        return self.root / "requests"

    @property
    def ledger(self) -> Path:
        """What was asked of language models, and what it cost."""
        return self.root / "ledger.jsonl"

    @property
    def prices(self) -> Path:
        """The user's own prices of language models."""
        return self.root / "prices.toml"

    @property
    def skills(self) -> Path:
        return self.root / "skills"

    @property
    def runs(self) -> Path:
        return self.root / "training_runs"

    def skill(self, expert: int, name: str) -> SkillPaths:
        """Returns the paths of a skill."""
        return SkillPaths(self.skills / f"{expert}_{slug(name)}", expert)

    def run(self, expert: int, name: str) -> RunPaths:
        """Returns the paths of a skill's training run."""
        return RunPaths(self.runs / f"skill_{expert}_{slug(name)}", expert)
