"""A job under way and its growing metrics."""

import time
from pathlib import Path

from flowrl.jobs.job import Job, JobEnd
from flowrl.paths import RunPaths
from flowrl.schema.metrics import MetricsRow, parse_row


class MetricsReader:
    """Reads each row of a growing `metrics.jsonl` once.

    A half-written last line waits until it is whole; lines that are no rows are skipped. A run that resumes from a
    checkpoint rewrites the file without the later rows: the rows after those already seen are then the new ones.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file, self._offset, self._seen = -1, 0, 0

    def new_rows(self) -> list[MetricsRow]:
        """The rows written since the last call."""
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
        rows = [row for line in whole.splitlines() if (row := parse_row(line)) is not None]
        self._offset = (0 if replaced else self._offset) + len(whole)
        self._file = found.st_ino
        if replaced:
            known, self._seen = min(self._seen, len(rows)), len(rows)
            return rows[known:]
        self._seen += len(rows)
        return rows


class Watched:
    """A job under way. What was read of its files, and when its heartbeat last changed."""

    def __init__(self, job: Job, paths: RunPaths, reader: MetricsReader | None = None):
        self.job, self.paths = job, paths
        self.reader = reader or MetricsReader(paths.metrics)
        self.last_end: JobEnd | None = None
        self._began_with = paths.checkpoint_updates[-1:]
        self._heartbeat, self._changed = "", time.monotonic()

    @property
    def progressed(self) -> bool:
        """Whether a checkpoint was saved since the start."""
        return self.paths.checkpoint_updates[-1:] > self._began_with

    def seen_alive(self) -> None:
        """Restart the clock of `silent_for`."""
        self._changed = time.monotonic()

    def silent_for(self) -> float:
        """Seconds since the heartbeat changed by this machine's clock."""
        try:
            heartbeat = self.job.heartbeat.read_text()
        except OSError:
            heartbeat = ""
        if heartbeat != self._heartbeat:
            self._heartbeat = heartbeat
            self.seen_alive()
        return time.monotonic() - self._changed
