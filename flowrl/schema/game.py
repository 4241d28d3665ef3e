"""What skill code of a game may see."""

from flowrl.schema.frozen import Frozen


class GameSignature(Frozen):
    """What skill code of a game may see.

    Attributes:
        leaves: shape and type of each argument, a struct's fields as `inventory.wood`.
        blocks: names of the rows of `closest_blocks`.
        achievements, actions: names, in order.
    """

    leaves: dict[str, tuple[tuple[int, ...], str]]
    blocks: tuple[str, ...]
    achievements: tuple[str, ...]
    actions: tuple[str, ...]
