"""What the process that grows a home last knew, for those who look on."""

from pydantic import BaseModel, ConfigDict


class Snapshot(BaseModel):
    """What the process that grows a home last knew, for those who look on: `state.json`.

    The library and the folders of the runs are the truth, from which a new process starts; this is a view.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    updated: float
    jobs: int
    count: int | None
    learned: tuple[str, ...]
    running: dict[str, str]
    queue: dict[str, tuple[str, ...]]
    ended: dict[str, str]
    reasons: dict[str, str]
    finished: bool
