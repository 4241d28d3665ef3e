"""The libraries that come with flowrl. Trained and measured with it, and only read."""

from pathlib import Path

from flowrl.library.home import SkillLibrary
from flowrl.paths import DEFAULT_HOME, PACKAGE_ROOT

SHIPPED = PACKAGE_ROOT / "flowrl" / "shipped"
"""A home for each game, with an `about.json` that says how it was made and what it was measured at."""


def shipped_library(env: str) -> SkillLibrary | None:
    """The library that comes with flowrl for a game, if any."""
    home = SHIPPED / env
    return SkillLibrary.open(home) if home.is_dir() else None


def library_to_read(home: Path, env: str) -> tuple[SkillLibrary, bool]:
    """A home's library, or else the one that comes with flowrl; and whether it is that one.

    Only the home that nobody named may be missing: whoever names one means it.

    Raises:
        LibraryError: there is no such home, or it is damaged.
    """
    shipped = shipped_library(env) if home == DEFAULT_HOME and not home.exists() else None
    return (SkillLibrary.open(home), False) if shipped is None else (shipped, True)
