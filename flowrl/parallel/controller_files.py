"""The controller's view of a home and requests to it."""

import uuid
from typing import Literal

from flowrl.files import read_json, write_json
from flowrl.paths import HomePaths
from flowrl.schema.frozen import Frozen


class HomeRequest(Frozen):
    """A request to stop or retry a skill."""

    what: Literal["cancel", "retry"]
    skill: str


def leave_request(paths: HomePaths, request: HomeRequest) -> None:
    """Leave a request for the growing process."""
    write_json(paths.requests / f"{uuid.uuid4().hex}.json", request)


def take_requests(paths: HomePaths) -> list[HomeRequest]:
    """Remove and return the pending requests in order."""
    if not paths.requests.exists():
        return []
    files = sorted(paths.requests.glob("[0-9a-f]*.json"), key=lambda path: path.stat().st_mtime_ns)
    found = [read_json(path, HomeRequest) for path in files]
    for path in files:
        path.unlink()
    return found


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
