"""The possible arguments of skill code. Plain words, for processes without jax."""

from flowrl.errors import nearest_names
from flowrl.schema.frozen import Frozen

SKILL_INPUTS: dict[str, str] = {
    "inventory": "upstream's Inventory after the step",
    "inventory_diff": "its change over this step",
    "closest_blocks": "[types, 2, 5] dx and dy to the five nearest known of each type, (30, 30) where unknown",
    "closest_blocks_prev": "the same before the step",
    "player_intrinsics": "health, food, drink, energy (full Craftax: mana as the fifth)",
    "player_intrinsics_diff": "their change over this step",
    "intrinsics_diff": "the same as player_intrinsics_diff",
    "achievements": "what has happened since this task began in this episode",
    "achievements_diff": "what happened in this step",
    "player_level": "the floor (full Craftax only)",
    "player_level_diff": "its change over this step (full Craftax only)",
    "monsters_killed": "kills per floor (full Craftax only)",
    "monsters_killed_diff": "their change over this step (full Craftax only)",
    "health_penalty": "0.1 x change of health, minus the health before if standing in lava, "
    "plus 0.1 x the sum of the changes of food, drink and energy",
    "env_reward": "upstream's own reward for this step",
    "n": "the amount wanted in hand at the end",
}
"""Name -> meaning. All values are of one world, after the step unless stated."""

FULL_GAME_ONLY = frozenset({"player_level", "player_level_diff", "monsters_killed", "monsters_killed_diff"})

DRAWN: dict[str, tuple[int, int]] = {
    "inventory": (0, 9),
    "closest_blocks": (-30, 30),
    "closest_blocks_prev": (-30, 30),
    "player_intrinsics": (0, 9),
    "achievements": (0, 1),
    "achievements_diff": (0, 1),
    "player_level": (0, 8),
    "monsters_killed": (0, 12),
    "n": (1, 9),
}
"""The range of each input in random transitions; -1 to 1 for the others."""


def input_problem(name: str, where: str, has_floors: bool = True) -> str | None:
    """Why a skill function cannot take an argument of this name. None if it can.

    Args:
        where: which function, for the message.
        has_floors: the game is full Craftax.
    """
    if name not in SKILL_INPUTS:
        return f"{where} asks for {name!r}, which skill code cannot see. {nearest_names(name, SKILL_INPUTS)}"
    if name in FULL_GAME_ONLY and not has_floors:
        return f"{where} asks for {name!r}, which only full Craftax has. Leave it out."
    return None


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
