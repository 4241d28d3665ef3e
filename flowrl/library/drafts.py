"""The skills that a model wrote for a home. Each with its code, what was found out about it, its fate."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from flowrl.files import append_line, read_json, read_lines, write_json
from flowrl.paths import HomePaths, slug
from flowrl.schema.frozen import Frozen
from flowrl.schema.skill import Skill, SkillSpec
from flowrl.stats import Share


class RewardDesign(Frozen):
    """A reward in words."""

    done_when: str = Field(min_length=1, max_length=2000)
    terms: tuple[str, ...] = Field(min_length=1, max_length=10)
    farming: str = Field(default="", max_length=2000)


class RewardCandidate(Frozen):
    """One way to reward a skill.

    Attributes:
        success: success after a short training; None if not yet known.
        frames: how long that was.
        note: why nothing came of it.
    """

    design: RewardDesign
    code: str
    success: Share | None = None
    frames: int = 0
    note: str = ""


class Draft(Frozen):
    """A skill as a model wrote it.

    Attributes:
        skill: with the code that is used, untrusted for ever: workers run what the sandbox exports.
        gain: the fluent that it is to bring.
        status: "trial" while its candidates are compared, "accepted" once it can be trained, "failed" if it cannot.
        candidates: all rewards that were written for it; the one in use is ``chosen``.
        reviewed: the version of its record whose specification was last compared with statistics, 0 for none.
        corrected: what came of that, until the library has it.
    """

    skill: Skill
    gain: str
    status: Literal["trial", "accepted", "failed"] = "accepted"
    reason: str = ""
    candidates: tuple[RewardCandidate, ...] = ()
    chosen: int = 0
    reviewed: int = 0
    corrected: SkillSpec | None = None

    def using(self, which: int) -> "Draft":
        """The draft with one of its candidates chosen."""
        skill = self.skill.model_copy(update={"code": self.candidates[which].code})
        return self.model_copy(update={"skill": skill, "chosen": which, "status": "accepted"})


class Failure(Frozen):
    """A failed proposal."""

    name: str
    stage: str
    reason: str


class Drafts:
    """The drafts of a home in files."""

    def __init__(self, home: HomePaths):
        self.folder = home.drafts
        self._failures = self.folder / "failures.jsonl"

    def __iter__(self) -> Iterator[Draft]:
        """Every draft, the oldest first. None of their code is trusted."""
        for path in self._files():
            draft = read_json(path, Draft)
            yield draft.model_copy(update={"skill": draft.skill.model_copy(update={"trusted": False})})

    def named(self) -> dict[str, Draft]:
        """The drafts by name."""
        return {draft.skill.name: draft for draft in self}

    def save(self, draft: Draft) -> None:
        """Write or replace a draft."""
        mine = slug(draft.skill.name)
        held = next((path for path in self._files() if path.stem.partition("_")[2] == mine), None)
        number = 1 + max((int(path.stem.partition("_")[0]) for path in self._files()), default=0)
        write_json(held or self.folder / f"{number:04}_{mine}.json", draft)

    def fail(self, failure: Failure) -> None:
        """Note a failed proposal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        append_line(self._failures, failure.model_dump())

    def failures(self) -> list[Failure]:
        """The failed proposals, oldest first."""
        return [Failure.model_validate(row) for row in read_lines(self._failures)] if self._failures.exists() else []

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*_*.json"))
