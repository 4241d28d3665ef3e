"""Open Ladder: kill eight monsters of the dungeon, which opens its ladder."""

from jax import Array

FLOOR, WANTED = 1, 8


def is_done(monsters_killed: Array) -> Array:
    """Returns whether as many monsters of the dungeon were killed as open its ladder."""
    return monsters_killed[FLOOR] >= WANTED


def reward(monsters_killed_diff: Array) -> Array:
    """Returns an eighth for each monster of the dungeon that is killed; skill code does not see creatures."""
    return monsters_killed_diff[FLOOR] / WANTED
