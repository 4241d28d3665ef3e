"""A job under way: its metrics, checkpoints and heartbeat."""

import time

from flowrl.jobs.job import Job, JobEnd
from flowrl.jobs.metrics_reader import MetricsReader
from flowrl.paths import RunPaths


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
        """Whether a checkpoint was saved since the worker was started."""
        return self.paths.checkpoint_updates[-1:] > self._began_with

    def seen_alive(self) -> None:
        """Restart the clock of `silent_for`."""
        self._changed = time.monotonic()

    def silent_for(self) -> float:
        """Seconds since the heartbeat last changed, by this machine's clock."""
        try:
            heartbeat = self.job.heartbeat.read_text()
        except OSError:
            heartbeat = ""
        if heartbeat != self._heartbeat:
            self._heartbeat = heartbeat
            self.seen_alive()
        return time.monotonic() - self._changed
