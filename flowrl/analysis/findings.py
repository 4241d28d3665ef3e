"""Request and findings of an analysis."""

from typing import Literal

from pydantic import Field

from flowrl.analysis.segments import ENOUGH, Statistics, Trajectory
from flowrl.config import MAX_SEED
from flowrl.fluents import Vocabulary
from flowrl.schema.frozen import Frozen

ByN = dict[int, int]
"""An amount for each n that was tried."""


class Way(Frozen):
    """A way of doing a skill in staged worlds.

    Attributes:
        source: where it comes from: the last action of successful segments, tried in the worlds just before it, or
            trying every action on everything.
        faced: what the player stands before; "" in worlds of segments, where that is what it was.
        steps: how often the action is made until the skill is done, at most.
        worlds: in how many rich worlds it was tried, ``successes`` of which it was done in.
        ns: the amounts for which it was tried.
        least: for each fluent that was taken away, the least amount with which it was still done; 0: it is not needed.
        is_bare: it was done as well with exactly these amounts and nothing else; ``consumed`` and ``ended`` are from
            there, and empty without it.
        consumed: for each fluent, how much less there was afterwards; those of which nothing was lost are left out.
        ended: for each fluent of which there was more afterwards, how much there was then.
        has_body: the levels of the body are among ``ended`` where they rose; they began empty.
    """

    source: Literal["segments", "probing"]
    action: str
    faced: str = ""
    steps: int
    worlds: int
    successes: int
    ns: tuple[int, ...]
    least: dict[str, ByN]
    is_bare: bool
    consumed: dict[str, ByN] = Field(default_factory=dict)
    ended: dict[str, ByN] = Field(default_factory=dict)
    has_body: bool = False

    def __str__(self) -> str:
        """E.g. ``DO before TREE``."""
        return f"{self.action} before {self.faced}" if self.faced else f"{self.action} as the policy's last action"


class Findings(Frozen):
    """All that an analysis found out: `result.json`.

    Attributes:
        statistics: of the successful segments; None where there were too few.
        ways: how the skill was done in staged worlds, the likeliest first.
        trajectories: two segments to read, none where nothing was played.
        notes: what could not be found out, as sentences.
        frames: steps played with the library's experts.
    """

    skill: str
    env: str
    statistics: Statistics | None = None
    ways: tuple[Way, ...] = ()
    trajectories: tuple[Trajectory, ...] = ()
    notes: tuple[str, ...] = ()
    frames: int = 0
    seconds: float = 0.0


def way_text(way: Way) -> str:
    """A way as lines for people or prompts."""

    def amounts(of: dict[str, ByN]) -> str:
        shown = [
            f"{fluent} {'/'.join(map(str, by_n.values()))}" for fluent, by_n in sorted(of.items()) if any(by_n.values())
        ]
        return ", ".join(shown) or "nothing"

    lines = [
        f"{way}: done in {way.successes} of {way.worlds} rich worlds, within {way.steps} steps, "
        f"for n = {', '.join(map(str, way.ns))}",
        f"  least amounts that suffice: {amounts(way.least)}",
        f"  not needed: {', '.join(sorted(f for f, by_n in way.least.items() if not any(by_n.values()))) or 'nothing'}",
    ]
    if way.is_bare:
        lines += [f"  consumed: {amounts(way.consumed)}", f"  there afterwards: {amounts(way.ended)}"]
    return "\n".join(lines)


class AnalysisRequest(Frozen):
    """What is to be analysed: `request.json`.

    Attributes:
        vocabulary: how much of each thing there can be in the game.
        segments: successful segments after which no more worlds are begun.
        frames: the most steps that are played for them.
    """

    vocabulary: Vocabulary
    segments: int = Field(3 * ENOUGH, ge=0)
    frames: int = Field(300_000, ge=0)
    seed: int = Field(0, ge=0, le=MAX_SEED)
