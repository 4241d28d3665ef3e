"""What is asked of the process that analyses a skill, and the files of its folder.

The folder holds what it takes to play the skill's own plan, `request.json`, and in the end `analysis.json`.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from flowrl.analysis.segments import ENOUGH, Value
from flowrl.config import MAX_SEED
from flowrl.fluents import Vocabulary
from flowrl.paths import RunPaths

ANSWER = "analysis.json"
MODULE = "flowrl.analysis.analyse_worker"


class AnalysisRequest(Value):
    """What is to be analysed: `request.json`.

    Attributes:
        vocabulary: how much of each thing there can be in the game.
        segments: after so many successful segments no more worlds are begun.
        frames: the most steps that are played for them.
        seed: which worlds.
    """

    vocabulary: Vocabulary
    segments: int = Field(3 * ENOUGH, ge=0)
    frames: int = Field(300_000, ge=0)
    seed: int = Field(0, ge=0, le=MAX_SEED)


@dataclass(frozen=True)
class AnalysisPaths:
    """The files of an analysis."""

    folder: Path

    @property
    def run(self) -> RunPaths:
        """The skill's own plan as it is played."""
        return RunPaths(self.folder, 0)

    @property
    def request(self) -> Path:
        return self.folder / "request.json"

    @property
    def answer(self) -> Path:
        return self.folder / ANSWER
