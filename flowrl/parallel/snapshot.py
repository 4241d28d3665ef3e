"""The controller's view of a home, for other processes."""

from flowrl.schema.frozen import Frozen


class Snapshot(Frozen):
    """The controller's latest state: `state.json`.

    Only a view: a new controller starts from the library and the runs' folders.
    """

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
