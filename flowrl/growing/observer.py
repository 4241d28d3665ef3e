"""Observers of a growing library."""

from typing import Protocol

from flowrl.paths import RunPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.metrics import MetricsRow
from flowrl.schema.run import RunSpec


class Observer(Protocol):
    """Receives the progress of a growing library."""

    def started(self, spec: RunSpec, paths: RunPaths) -> None:
        """A run begins or goes on."""

    def row(self, skill: str, row: MetricsRow) -> None:
        """A skill's run wrote a row of metrics."""

    def finished(self, record: SkillRecord) -> None:
        """A run ended and its skill is in the library."""

    def failed(self, skill: str, reason: str) -> None:
        """A run ended without a result for the library."""

    def note(self, text: str) -> None:
        """A remark for the user."""
