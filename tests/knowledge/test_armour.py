"""Armour of the full game, played: four pieces, each bare, of iron or of diamond; and what its two skills end on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from flowrl.env.staging.worlds import hold, put
from flowrl.knowledge.base import load_base
from tests.support.played import FULL, Moment, copies, game_of, plain

pytestmark = pytest.mark.slow
IRON, DIAMOND = "Make Iron Armour", "Make Diamond Armour"
ACTIONS = {IRON: "MAKE_IRON_ARMOUR", DIAMOND: "MAKE_DIAMOND_ARMOUR"}
BASE = load_base(FULL)


def workshop(pieces: Sequence[int]) -> Any:
    """Worlds with a table, a furnace, these pieces on, and enough of everything."""
    world = put(put(plain(FULL), "CRAFTING_TABLE", (1, 1)), "FURNACE", (1, -1))
    return copies(hold(world, armour=np.array(pieces), iron=30, coal=30, diamond=30))


def makes(pieces: Sequence[int], *names: str) -> tuple[Moment, list[Any]]:
    """The moment and the inputs after the pieces named were made, one a step."""
    moment = Moment(game_of(FULL), workshop(pieces))
    return moment, [moment.step(game_of(FULL).actions[ACTIONS[name]]) for name in names]


def worn(moment: Moment) -> list[int]:
    return [int(piece) for piece in moment.worlds.inventory.armour[0]]


def test_no_fifth_piece_is_made_of_iron() -> None:
    moment, _ = makes([0, 0, 0, 0], *[IRON] * 5)
    most = BASE.skill(IRON).spec.max_n
    assert most is not None and worn(moment) == [1, 1, 1, 1] and sum(worn(moment)) == most
    assert int(moment.worlds.inventory.iron[0]) == 30 - 3 * most


def test_four_pieces_of_diamond_leave_no_place_for_iron_and_as_many_as_planned_do() -> None:
    most = BASE.skill(DIAMOND).spec.max_n
    assert most is not None
    moment, _ = makes([0, 0, 0, 0], *[DIAMOND] * most, IRON)
    assert worn(moment) == [2, 2, 2, 1] and bool(moment.achieved[0].sum() == 2)
    moment, _ = makes([0, 0, 0, 0], *[DIAMOND] * (most + 1), IRON)
    assert worn(moment) == [2, 2, 2, 2] and bool(moment.achieved[0].sum() == 1)


@pytest.mark.parametrize(
    ("pieces", "name", "n", "made"),
    [
        ([1, 1, 0, 0], DIAMOND, 1, 1),
        ([1, 1, 1, 1], DIAMOND, 1, 1),
        ([1, 1, 1, 1], DIAMOND, 2, 2),
        ([1, 1, 1, 0], DIAMOND, 3, 3),
        ([2, 0, 0, 0], IRON, 1, 1),
        ([2, 0, 0, 0], IRON, 2, 1),
        ([2, 0, 0, 0], IRON, 4, 2),
        ([2, 2, 0, 0], IRON, 4, 1),
        ([2, 2, 2, 0], IRON, 4, 1),
    ],
)
def test_other_armour_does_not_end_a_task_and_what_was_promised_holds(
    pieces: list[int], name: str, n: int, made: int
) -> None:
    """Nothing is done until the skill's own piece is made; then its event has happened, and the amount is there."""
    moment = Moment(game_of(FULL), workshop(pieces))
    inputs = [moment.step(0)] + [moment.step(game_of(FULL).actions[ACTIONS[name]]) for _ in range(made)]
    done, reward = game_of(FULL).judge(name, inputs, n)
    assert not done[:-1].any() and done[-1].all()
    spec = BASE.skill(name).spec
    assert sum(worn(moment)) >= spec.yields["armour"].at(n)
    assert made * 3 <= spec.consumes["diamond" if name == DIAMOND else "iron"].at(n)
    assert (reward[0] == 0).all() and (reward >= 0).all() and 0 < reward[:, 0].sum() <= 1.001


def test_the_other_skills_piece_pays_no_more_than_its_share() -> None:
    _, inputs = makes([0, 0, 0, 0], *[DIAMOND] * 3)
    done, reward = game_of(FULL).judge(IRON, inputs, 1)
    assert not done.any() and (reward == 0).all()
    _, inputs = makes([0, 0, 0, 0], *[IRON] * 4)
    done, reward = game_of(FULL).judge(DIAMOND, inputs, 2)
    assert not done.any() and (reward == 0).all()


@pytest.mark.parametrize("name", ACTIONS)
def test_the_largest_n_is_made_for_what_it_costs(name: str) -> None:
    spec = BASE.skill(name).spec
    assert spec.max_n is not None
    moment, inputs = makes([0, 0, 0, 0], *[name] * spec.max_n)
    done, reward = game_of(FULL).judge(name, inputs, spec.max_n)
    assert done[-1].all() and not done[:-1].any() and reward[:, 0].sum() == pytest.approx(1)
    assert sum(worn(moment)) == spec.yields["armour"].at(spec.max_n)
    for item, quantity in spec.consumes.items():
        assert 30 - int(getattr(moment.worlds.inventory, item)[0]) == quantity.at(spec.max_n)
