"""Observers of a growing library."""

from collections.abc import Mapping
from typing import Any, Protocol

from flowrl.paths import RunPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.run import RunSpec


class Observer(Protocol):
    """Who watches a library grow."""

    def started(self, spec: RunSpec, paths: RunPaths) -> None:
        """A run begins or goes on."""

    def row(self, skill: str, row: Mapping[str, Any]) -> None:
        """A skill's run wrote a row of metrics."""

    def finished(self, record: SkillRecord) -> None:
        """A run ended and its skill is in the library."""

    def failed(self, skill: str, reason: str) -> None:
        """A run ended and left nothing in the library."""

    def note(self, text: str) -> None:
        """Something that the user should know."""
