"""Nothing is lost: controllers and workers are killed at random moments, and the same library comes out."""

from pathlib import Path

import pytest

from benchmarks.tables.chaos import compare, survive
from flowrl.files import read_json, write_json
from flowrl.library.home import SkillLibrary
from flowrl.schema.home import SkillRecord

KILLS = 5
"""A sample; `flowrl bench parallel` kills fifty."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kills_lose_nothing(tmp_path: Path) -> None:
    survived = survive(tmp_path, KILLS)
    assert survived.kills >= KILLS and survived.controllers >= 1
    assert survived.differences == ()
    library = SkillLibrary.open(tmp_path / "calm")
    record = library.record("Place Table")
    path = library.skill_paths(record).record
    write_json(path, read_json(path, SkillRecord).model_copy(update={"version": 2}))
    assert compare(tmp_path / "disturbed_0", tmp_path / "calm") == ["Place Table was measured or versioned otherwise"]
