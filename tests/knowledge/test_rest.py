"""Rest: which places it takes for safe, on drawn maps and on random ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from craftax.craftax_classic.constants import BlockType
from craftax.craftax_classic.envs.craftax_state import EnvState

from flowrl.env.block_memory import SLOTS, UNKNOWN
from flowrl.env.classic import reset, sheltered
from flowrl.knowledge.classic.rest import SAFE_VALUE, SIDE_VALUE, reward, value_of

BLOCKS = {"#": "STONE", ".": "PATH", "g": "GRASS", "s": "SAND", "w": "WATER", "t": "CRAFTING_TABLE"}
OPEN = [BlockType[name].value for name in ("GRASS", "SAND", "PATH")]
FIELD = """
ggggg
ggggg
ggggg
ggggg
ggggg"""
DEAD_END = """
#####
#####
##.##
##.##
ggggg"""
CHAMBER = """
#####
##.##
##.##
#####
ggggg"""
AT_THE_SHORE = """
#####
##w##
#w.t#
##s##
#####"""
CORRIDOR = """
#####
#####
.....
#####
#####"""


def drawn(text: str) -> np.ndarray:
    return np.array([[BlockType[BLOCKS[letter]].value for letter in row] for row in text.split()])


def closest(ground: np.ndarray) -> jax.Array:
    """What skill code sees of a map, the player in its middle."""
    found = np.full((len(BlockType), 2, SLOTS), UNKNOWN)
    rows, columns = ground.shape
    for block in range(len(BlockType)):
        cells = [(c - columns // 2, r - rows // 2) for r, c in np.argwhere(ground == block).tolist()]
        for i, cell in enumerate(sorted(cells, key=lambda cell: abs(cell[0]) + abs(cell[1]))[:SLOTS]):
            found[block, :, i] = cell
    return jnp.asarray(found)


@functools.cache
def blank() -> EnvState:
    shapes = jax.eval_shape(reset, jax.random.PRNGKey(0))
    world: EnvState = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return world


def is_sheltered(ground: np.ndarray) -> bool:
    middle = jnp.array(ground.shape) // 2
    return bool(sheltered(blank().replace(map=jnp.asarray(ground), player_position=middle)))


@pytest.mark.parametrize(
    ("text", "safe", "value"),
    [
        (FIELD, False, -4 * SIDE_VALUE),
        (DEAD_END, False, SAFE_VALUE - SIDE_VALUE),
        (CHAMBER, True, 2 * SAFE_VALUE - SIDE_VALUE),
        (AT_THE_SHORE, True, 2 * SAFE_VALUE - SIDE_VALUE),
        (CORRIDOR, False, -2 * SIDE_VALUE),
    ],
    ids=["open field", "dead end, two cells deep", "chamber of two", "water, table and a spit of sand", "corridor"],
)
def test_a_place_is_worth_what_its_ways_in_say(text: str, safe: bool, value: float) -> None:
    assert is_sheltered(drawn(text)) is safe
    assert float(value_of(closest(drawn(text)))) == pytest.approx(value)


def test_the_game_and_the_skill_agree_on_which_places_are_safe() -> None:
    """With three open sides and more the skill calls a place unsafe, as it sees five cells of a kind only."""
    rng, agreed = np.random.default_rng(0), {True: 0, False: 0}
    for _ in range(300):
        ground = rng.choice(
            [BlockType.STONE.value, BlockType.WATER.value, *OPEN], size=(9, 9), p=[0.5, 0.2, 0.1, 0.1, 0.1]
        )
        sides = sum(ground[cell] in OPEN for cell in ((3, 4), (5, 4), (4, 3), (4, 5)))
        whole = float(value_of(closest(ground))) + SIDE_VALUE * sides == pytest.approx(2 * SAFE_VALUE)
        assert whole == (is_sheltered(ground) and sides < 3), ground
        agreed[whole] += 1
    assert min(agreed.values()) > 20, "both kinds were met"


def test_closing_the_last_way_pays_and_opening_it_again_takes_that_back() -> None:
    shut, ajar, nothing = closest(drawn(CHAMBER)), closest(drawn(DEAD_END)), jnp.zeros(4)
    gain = float(reward(shut, ajar, nothing))
    assert gain == pytest.approx(SAFE_VALUE) and float(reward(ajar, shut, nothing)) == pytest.approx(-gain)
    slept, struck = jnp.array([0, 0, 0, 1]), jnp.array([-2, 0, 0, 0])
    assert float(reward(shut, shut, slept)) > 0 > float(reward(shut, shut, struck))
