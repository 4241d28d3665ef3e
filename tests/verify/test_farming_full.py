"""Loops that a policy of the full game could run in: whatever it does over and over pays less than finishing."""

from typing import Any

import numpy as np
import pytest

from flowrl.env.staging.worlds import hold, put
from tests.support.played import FULL, copies, game_of, plain

pytestmark = pytest.mark.slow
Script = tuple[Any, list[str]]
THERE_AND_BACK = ["RIGHT", "RIGHT", "LEFT", "LEFT"]


def to_and_fro(name: str, floor: int = 0, **held: Any) -> Script:
    return put(hold(plain(FULL, floor), **held), name, (0, 4)), THERE_AND_BACK * 30


def between(first: str, second: str) -> Script:
    """From one station to the other: what is nearer to one is farther from the other."""
    return put(put(plain(FULL), first, (0, 5)), second, (0, -5)), [*["RIGHT"] * 3, *["LEFT"] * 6, *["RIGHT"] * 3] * 10


def workshop(**held: Any) -> Any:
    return put(put(hold(plain(FULL), **held), "CRAFTING_TABLE", (1, 1)), "FURNACE", (1, -1))


def make_and_lose(make: str, lose: str, times: int, **held: Any) -> Script:
    """Makes something and spends it, the cell ahead being used again and again."""
    return workshop(**held), [make, *[lose, "DO"] * times] * 10


def plant_and_trample() -> Script:
    """Saplings planted and taken away unripe."""
    return put(hold(plain(FULL), sapling=9), "GRASS", (-1, 0)), ["PLACE_PLANT", "DO", "DO", "NOOP"] * 15


def search_and_plant() -> Script:
    world = put(plain(FULL), "GRASS", (-1, 0))
    return world, [*["DO"] * 10, "PLACE_PLANT", "DO", "DO"] * 8


def nap() -> Script:
    """Tries to sleep and gets up to walk, when not tired."""
    return plain(FULL), ["REST", "RIGHT", "LEFT", "NOOP"] * 20


def up_and_down_from_the_dungeon() -> Script:
    """The ladder down of the overworld is none to the mines, however often it is come near to."""
    world = put(plain(FULL), "LADDER_DOWN", (0, 0))
    return world, ["RIGHT", "RIGHT", "LEFT", "LEFT", "DESCEND", "ASCEND"] * 20


def dig_along() -> Script:
    """A row of ore in sight, walked along without mining it."""
    world = put(plain(FULL), "COAL", *[(-2, column) for column in range(-8, 9, 2)])
    return world, [*["RIGHT"] * 6, *["LEFT"] * 12, *["RIGHT"] * 6] * 5


def fill_ponds() -> Script:
    world = put(hold(plain(FULL), stone=9), "WATER", *[(0, column) for column in range(2, 9, 2)])
    return world, ["RIGHT", "PLACE_STONE", "LEFT"] * 20


LOOPS = {
    "coal in sight": (dig_along, "Collect Coal", 2),
    "iron to and fro": (lambda: to_and_fro("IRON", 2), "Collect Iron", 1),
    "diamond to and fro": (lambda: to_and_fro("DIAMOND"), "Collect Diamond", 1),
    "ruby to and fro": (lambda: to_and_fro("RUBY", 2), "Collect Ruby", 1),
    "sapphire to and fro": (lambda: to_and_fro("SAPPHIRE", 2), "Collect Sapphire", 1),
    "plant to and fro": (lambda: to_and_fro("PLANT"), "Eat Plant", 1),
    "saplings trampled": (plant_and_trample, "Eat Plant", 1),
    "saplings searched and planted": (search_and_plant, "Collect Sapling", 9),
    "between table and furnace": (lambda: between("CRAFTING_TABLE", "FURNACE"), "Make Iron Armour", 4),
    "between furnace and table": (lambda: between("FURNACE", "CRAFTING_TABLE"), "Make Iron Pickaxe", 1),
    "table to and fro": (lambda: to_and_fro("CRAFTING_TABLE"), "Make Diamond Armour", 3),
    "arrows made and shot": (
        lambda: make_and_lose("MAKE_ARROW", "SHOOT_ARROW", 2, wood=20, stone=20, bow=1), "Make Arrows", 8,
    ),
    "diamond armour for iron": (
        lambda: (workshop(diamond=30), ["MAKE_DIAMOND_ARMOUR", "NOOP"] * 10), "Make Iron Armour", 1,
    ),
    "iron armour for diamond": (
        lambda: (workshop(iron=30, coal=30), ["MAKE_IRON_ARMOUR", "NOOP"] * 10), "Make Diamond Armour", 1,
    ),
    "rest": (nap, "Wake Up", 1),
    "ladder of another floor": (up_and_down_from_the_dungeon, "Enter Gnomish Mines", 1),
    "blocked ladder": (lambda: to_and_fro("LADDER_DOWN", 1), "Enter Gnomish Mines", 1),
    "ponds filled": (fill_ponds, "Collect Drink", 1),
    "furnace to and fro": (lambda: to_and_fro("FURNACE"), "Make Iron Sword", 1),
}  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS)
def test_going_in_circles_pays_less_than_finishing(loop: str) -> None:
    game, (script, name, n) = game_of(FULL), LOOPS[loop]
    world, actions = script()
    done, reward = game.play(name, copies(world), [game.actions[action] for action in actions], n)
    assert not done.any()
    assert np.isfinite(reward).all()
    assert reward.cumsum(axis=0).max() < 1 and reward.sum(axis=0).max() < 0.5
