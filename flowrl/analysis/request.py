"""The request of an analysis. Its folder also holds what it takes to play the skill's plan."""

from pydantic import Field

from flowrl.analysis.segments import ENOUGH
from flowrl.config import MAX_SEED
from flowrl.fluents import Vocabulary
from flowrl.schema.frozen import Frozen


class AnalysisRequest(Frozen):
    """What is to be analysed: `request.json`.

    Attributes:
        vocabulary: how much of each thing there can be in the game.
        segments: successful segments after which no more worlds are begun.
        frames: the most steps that are played for them.
        seed: which worlds.
    """

    vocabulary: Vocabulary
    segments: int = Field(3 * ENOUGH, ge=0)
    frames: int = Field(300_000, ge=0)
    seed: int = Field(0, ge=0, le=MAX_SEED)
