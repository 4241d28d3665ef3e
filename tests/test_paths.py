"""Folders of a home."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from flowrl.paths import HomePaths, slug


@given(st.text(max_size=30))
def test_a_slug_is_always_a_plain_folder_name(name: str) -> None:
    assert slug(name).replace("_", "a").isalnum() and slug(slug(name)) == slug(name)
    assert HomePaths(Path("h")).skill(3, "Make Wood Pickaxe").folder == Path("h/skills/3_Make_Wood_Pickaxe")


def test_a_run_unpacks_as_in_the_seed() -> None:
    folder, module = HomePaths(Path("h")).run(7, "Make Pickaxe")
    assert (str(folder), str(module)) == (
        "h/training_runs/skill_7_Make_Pickaxe",
        "h/training_runs/skill_7_Make_Pickaxe/7.py",
    )
