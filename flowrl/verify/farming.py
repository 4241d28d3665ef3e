"""Scripts of play that go in circles: what a policy could farm, if a reward paid for it."""

from collections.abc import Iterator
from dataclasses import dataclass

from flowrl.env.domain import Domain, World
from flowrl.env.staging import plain


@dataclass(frozen=True)
class Script:
    """A world and what is done in it.

    Attributes:
        name: what is done, for messages: "the reward pays 3 for NAME".
        actions: by name.
    """

    name: str
    world: World
    actions: tuple[str, ...]


def scripts(domain: Domain, world: World) -> Iterator[Script]:
    """Yields the scripts of a game, staged in a world of it."""
    yield Script("doing nothing", plain(world), ("NOOP",) * 100)
