"""Reading a run's metrics while they are being written."""

import json
from pathlib import Path
from typing import Any


class MetricsReader:
    """Gives each row of a file of JSON lines once, as rows come; a half-written last line waits until it is whole.

    A run that goes on from a checkpoint drops the rows that it will write again: the file is then a new one and
    shorter, and the rows that come after those seen before are the new ones.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file, self._offset, self._seen = -1, 0, 0

    def new_rows(self) -> list[dict[str, Any]]:
        """Returns the rows that came since it was last asked."""
        try:
            found = self.path.stat()
            if found.st_ino == self._file and found.st_size == self._offset:
                return []
            replaced = found.st_ino != self._file or found.st_size < self._offset
            with self.path.open("rb") as file:
                file.seek(0 if replaced else self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        rows = [row for line in whole.splitlines() if (row := _parsed(line)) is not None]
        self._offset = (0 if replaced else self._offset) + len(whole)
        self._file = found.st_ino
        if replaced:
            known, self._seen = min(self._seen, len(rows)), len(rows)
            return rows[known:]
        self._seen += len(rows)
        return rows


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Returns a line's row; None for one that a killed worker left half-written."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
