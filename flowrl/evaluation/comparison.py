"""Request and answer of a comparison. The folder `merge/` of a run holds `request.json`, the
library's experts and the candidates by global number, a folder for each skill whose plan is played, with the experts
that lie beside that skill, and in the end `result.json`.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from flowrl.paths import File, JobPaths, PlayPaths, RunPaths
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.frozen import Frozen
from flowrl.stats import PairedDifference


class Contest(Frozen):
    """A candidate against the library's expert of ``skill``. Both play that skill's own plan."""

    skill: str
    expert: int


class ComparisonRequest(Frozen):
    """What to play: `request.json`.

    Attributes:
        contests: candidates for other skills' experts that the library holds, in the order of the plan.
        skill: the run's own skill.
        expert: its global expert.
        worlds: how many common worlds each contest is played on.
        number: which reserved worlds.
        held: the hash of each of the library's experts that take part, by global number.
        companions: which of them lie beside the skill, and are played in its plan only.
    """

    contests: tuple[Contest, ...]
    skill: str
    expert: int
    worlds: int
    number: int
    held: dict[int, str]
    companions: dict[int, str] = Field(default_factory=dict)


class MergeVerdict(Frozen):
    """The outcome of a contest.

    Attributes:
        difference: plan success with the candidate minus plan success with the library's expert.
        evaluation: of the skill, with the winner.
    """

    skill: str
    expert: int
    wins: bool
    difference: PairedDifference
    evaluation: Evaluation


class ComparisonAnswer(Frozen):
    """The outcome of a comparison: `result.json`.

    Attributes:
        held, companions: as in the request: the experts that the verdicts are about.
        bundle: all of the run's experts at once against what the library has for them, on the run's own plan; None:
            the library has nothing.
        verdicts: on the experts of other skills, empty where the bundle lost.
        evaluation: of the run's own skill, with the winner.
        frames: played for all of it.
    """

    held: dict[int, str]
    companions: dict[int, str] = Field(default_factory=dict)
    bundle: MergeVerdict | None
    verdicts: tuple[MergeVerdict, ...]
    evaluation: Evaluation
    status: Literal["learned", "weak"]
    frames: int = 0

    @property
    def bundle_wins(self) -> bool:
        """Whether the run's experts are to be played together from now on."""
        return self.bundle is None or self.bundle.wins

    def verdict_on(self, expert: int) -> MergeVerdict | None:
        """The outcome of the contest for an expert of another skill."""
        return next((verdict for verdict in self.verdicts if verdict.expert == expert), None)


@dataclass(frozen=True)
class ComparisonPaths(JobPaths):
    """The files of a comparison."""

    held = File("held.safetensors")
    """The library's experts by global number."""
    companions = File("companions.safetensors")
    """Those that lie beside the run's own skill by global number."""
    candidates = File("candidates.safetensors")
    """The run's experts by global number."""

    @staticmethod
    def of(run: RunPaths) -> "ComparisonPaths":
        """The files of a run's comparison."""
        return ComparisonPaths(run.merge)

    def run(self, expert: int) -> RunPaths:
        """The run whose candidates they are."""
        return RunPaths(self.folder.parent, expert)

    def contest(self, expert: int) -> PlayPaths:
        """The files of the plan that is played for an expert's contest."""
        return PlayPaths(self.folder / f"contest_{expert}")
