"""What people ask of the process that grows a home, from another terminal: small files that it takes and removes."""

import uuid
from typing import Literal

from pydantic import BaseModel, ConfigDict

from flowrl.files import read_json, write_json
from flowrl.paths import HomePaths


class HomeRequest(BaseModel):
    """Stop a skill's run, or try a skill again that ended without being learned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: Literal["cancel", "retry"]
    skill: str


def leave_request(paths: HomePaths, request: HomeRequest) -> None:
    """Leaves a request for the process that holds the home."""
    write_json(paths.requests / f"{uuid.uuid4().hex}.json", request)


def take_requests(paths: HomePaths) -> list[HomeRequest]:
    """Returns the requests that were left since it was last asked, oldest first, and removes them."""
    if not paths.requests.exists():
        return []
    files = sorted(paths.requests.glob("[0-9a-f]*.json"), key=lambda path: path.stat().st_mtime_ns)
    found = [read_json(path, HomeRequest) for path in files]
    for path in files:
        path.unlink()
    return found
