"""The source files that cached artefacts, recordings and verdicts follow from: all are there, none is forgotten."""

import ast
from pathlib import Path

import pytest

from flowrl.paths import PACKAGE_ROOT, source_of
from flowrl.skillcode import artefact_cache
from flowrl.verify import verdict_cache
from flowrl.verify.behaviour import recordings

LISTED = {*artefact_cache.MADE_BY, *recordings.MADE_BY, *verdict_cache.BESIDES}
WITHOUT_EFFECT = {"flowrl.env.domain", "flowrl.env.registry", "flowrl.skillcode.artefact_cache"}
"""Types, the table of games, where files lie: no number of a verdict follows from them."""
FOLDER = PACKAGE_ROOT / "flowrl" / "verify"


@pytest.mark.parametrize("module", sorted(LISTED))
def test_a_module_that_a_cache_names_is_there(module: str) -> None:
    assert source_of(module).is_file()


def test_a_module_that_is_gone_is_an_error_and_not_passed_over() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"flowrl\.env\.gone"):
        source_of("flowrl.env.gone")


def test_a_verdict_follows_from_every_file_of_verify_whatever_its_folder() -> None:
    files = set(FOLDER.rglob("*.py"))
    assert files <= set(verdict_cache.verdict_sources())
    assert {"verify", "text", "isolation", "behaviour"} <= {file.parent.name for file in files}


def imported_by(file: Path) -> set[str]:
    """The modules of `env` and `skillcode` that a file imports."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    names = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names} | {n.module or "" for n in nodes}
    rooms = tuple(f"flowrl.{room}." for room in ("env", "skillcode"))
    return {
        name for name in names if name.startswith(rooms) and (PACKAGE_ROOT / f"{name.replace('.', '/')}.py").exists()
    }


def test_what_verify_imports_of_games_and_skill_code_is_in_a_list() -> None:
    imported = {module for file in FOLDER.rglob("*.py") for module in imported_by(file)}
    assert "flowrl.env.skill_inputs" in imported
    assert imported - LISTED <= WITHOUT_EFFECT


def test_what_the_recorder_imports_decides_the_recordings_name() -> None:
    imported = imported_by(source_of("flowrl.verify.behaviour.record_worker"))
    assert imported - set(recordings.MADE_BY) <= WITHOUT_EFFECT
