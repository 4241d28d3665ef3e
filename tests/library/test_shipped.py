"""The library that comes with flowrl."""

from pathlib import Path

import numpy as np
import pytest

from flowrl.errors import LibraryError
from flowrl.evaluation.playback import weights_for
from flowrl.library import shipped
from flowrl.library.home import SkillLibrary
from flowrl.library.shipped import library_to_read, shipped_library
from flowrl.paths import DEFAULT_HOME
from tests.support.homes import add_skill, empty_home
from tools.ship import put_skill

GAME = "Tiny-Grid-v1"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SkillLibrary:
    """A skill with a companion, trained elsewhere and put into the package; the working folder is empty."""
    trained = empty_home(tmp_path / "trained")
    record = add_skill(trained, "Collect Wood", 0, companions=(7,), status="learned")
    odd = {name: leaf + np.float32(1 / 3) for name, leaf in trained.expert(record).items()}
    trained.store_expert(trained.skill_paths(record), odd, 1234)
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "package")
    out = empty_home(tmp_path / "package" / GAME)
    put_skill(trained, record, out.skill_paths(record))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return out


def test_what_is_shipped_is_read_where_there_is_no_home_and_none_was_named(package: SkillLibrary) -> None:
    library, comes_with_flowrl = library_to_read(DEFAULT_HOME, GAME)
    assert comes_with_flowrl and [record.name for record in library.records()] == ["Collect Wood"]
    with pytest.raises(LibraryError, match="There is no home elsewhere"):
        library_to_read(Path("elsewhere"), GAME)
    assert shipped_library("No-Such-Game") is None
    with pytest.raises(LibraryError, match="There is no home"):
        library_to_read(DEFAULT_HOME, "No-Such-Game")
    own = empty_home(DEFAULT_HOME)
    assert library_to_read(DEFAULT_HOME, GAME) == (own, False), "one's own comes first"


def test_experts_are_shipped_in_half_precision_and_guarded_as_ever(package: SkillLibrary) -> None:
    record = package.record("Collect Wood")
    expert = package.expert(record)
    assert all(leaf.dtype == np.float32 and (leaf == np.float32(np.float16(1 / 3))).all() for leaf in expert.values())
    companion = weights_for(package, 7, "Collect Wood")
    assert all((leaf == 7.5).all() for leaf in companion.values())
    assert record.weights == package.weights_hash(record)
    params = package.skill_paths(record).params
    params.write_bytes(params.read_bytes()[:-1] + b"\x01")
    with pytest.raises(LibraryError, match="it was changed since"):
        package.expert(record)
