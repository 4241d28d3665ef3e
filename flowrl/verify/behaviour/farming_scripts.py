"""Scripts of play that go in circles. What a policy could farm if a reward paid for it.

Each is staged on bare ground. Games without a script's blocks, items or actions skip it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from flowrl.env.domain import Domain, World
from flowrl.env.staging.worlds import hold, plain, put

Offsets = tuple[tuple[int, int], ...]
Actions = tuple[str, ...]
_AHEAD: Offsets = ((-1, 0),)
_TO_AND_FRO: Actions = ("RIGHT", "RIGHT", "LEFT", "LEFT") * 30
_ALONG: Actions = (*["RIGHT"] * 6, *["LEFT"] * 12, *["RIGHT"] * 6) * 5
_BETWEEN: Actions = (*["RIGHT"] * 3, *["LEFT"] * 6, *["RIGHT"] * 3) * 10
_ROW: Offsets = tuple((-2, column) for column in range(-8, 9, 2))
_NEAR: Offsets = ((1, 1),)

SEEN = (
    *("TREE", "STONE", "COAL", "IRON", "DIAMOND", "RUBY", "SAPPHIRE", "WATER", "GRASS", "PLANT", "RIPE_PLANT"),
    *("CRAFTING_TABLE", "TABLE", "FURNACE", "CHEST", "FOUNTAIN", "LADDER_DOWN", "LADDER_UP"),
)
"""Blocks that a player may walk to and fro before."""
ORES = ("TREE", "STONE", "COAL", "IRON", "DIAMOND", "RUBY", "SAPPHIRE", "CHEST")
"""Blocks that may come into view repeatedly."""


@dataclass(frozen=True)
class FarmingScript:
    """A world and the actions to play there.

    Attributes:
        name: the activity, for messages: "the reward pays 3 for NAME".
    """

    name: str
    world: World
    actions: Actions


@dataclass(frozen=True)
class _Scene:
    """A script before it is staged.

    Attributes:
        blocks: each with its offsets, in rows and columns from the player.
    """

    name: str
    actions: Actions
    blocks: tuple[tuple[str, Offsets], ...] = ()
    held: dict[str, int] = field(default_factory=dict)


def _each(blocks: tuple[str, ...], scene_fn: Callable[[str], _Scene]) -> tuple[_Scene, ...]:
    return tuple(scene_fn(block) for block in blocks)


def _name(block: str) -> str:
    return block.lower().replace("_", " ")


_TABLE = (("CRAFTING_TABLE", _NEAR),)
_TINY_TABLE = (("TABLE", _NEAR),)
_WORKSHOP = (("CRAFTING_TABLE", _NEAR), ("FURNACE", ((1, -1),)))
_TREE = ("TREE", _AHEAD)
_GROVE: Actions = (*["LEFT"] * 12, *["UP", "DO", "RIGHT", "UP", "DO", "PLACE_TABLE", "RIGHT"] * 12)
_TREES = ("TREE", tuple((-1, column) for column in range(-12, 13)))
"""A chopped tree is gone, so farming takes many."""
_PICKAXES = {"wood_pickaxe": 1}
_TIER = {"pickaxe": 1}

SCENES: tuple[_Scene, ...] = (
    _Scene("doing nothing", ("NOOP",) * 120),
    _Scene("walking in circles", ("RIGHT", "DOWN", "LEFT", "UP") * 30),
    _Scene("hitting the air", ("DO",) * 120),
    *_each(SEEN, lambda b: _Scene(f"going to and fro before a {_name(b)}", _TO_AND_FRO, ((b, ((0, 4),)),))),
    *_each(ORES, lambda b: _Scene(f"walking along a row of {_name(b)}s", _ALONG, ((b, _ROW),))),
    _Scene(
        "going from a table to a furnace and back",
        _BETWEEN,
        (("CRAFTING_TABLE", ((0, 5),)), ("FURNACE", ((0, -5),))),
    ),
    _Scene("going from a tree to water and back", _BETWEEN, (("TREE", ((0, 5),)), ("WATER", ((0, -5),)))),
    _Scene("drinking over and over", ("DO",) * 120, (("WATER", _AHEAD),)),
    _Scene("filling ponds with stones", ("RIGHT", "PLACE_STONE", "LEFT") * 20, (("WATER", _ROW),), {"stone": 9}),
    _Scene(
        "filling up water and going to the next",
        ("RIGHT", "PLACE_STONE", "LEFT") * 20,
        (("WATER", tuple((0, column) for column in range(2, 9, 2))),),
        {"stone": 9},
    ),
    _Scene("placing a stone and mining it", ("PLACE_STONE", "DO") * 60, held={"stone": 1, **_PICKAXES}),
    _Scene("placing a stone and mining it", ("PLACE_STONE", "DO") * 60, held={"stone": 1, **_TIER}),
    _Scene("chopping wood and placing tables", _GROVE, (_TREES,)),
    _Scene("chopping wood and making pickaxes", ("DO", "MAKE_WOOD_PICKAXE") * 60, (_TREE, *_TABLE)),
    _Scene("chopping wood and making swords", ("DO", "MAKE_WOOD_SWORD") * 60, (_TREE, *_TABLE)),
    _Scene("chopping wood and making pickaxes", ("DO", "MAKE_PICKAXE") * 60, (_TREE, *_TINY_TABLE)),
    _Scene("placing tables everywhere", ("PLACE_TABLE", "RIGHT", "DOWN") * 40, held={"wood": 9}),
    _Scene("placing furnaces everywhere", ("PLACE_FURNACE", "RIGHT", "DOWN") * 40, _TABLE, {"stone": 9}),
    _Scene(
        "planting saplings and trampling them",
        ("PLACE_PLANT", "DO", "DO", "NOOP") * 30,
        (("GRASS", _AHEAD),),
        {"sapling": 9},
    ),
    _Scene("searching grass and planting", (*["DO"] * 10, "PLACE_PLANT", "DO", "DO") * 9, (("GRASS", _AHEAD),)),
    _Scene("trying to sleep and getting up", ("SLEEP", "RIGHT", "LEFT", "NOOP") * 30),
    _Scene("trying to rest and getting up", ("REST", "RIGHT", "LEFT", "NOOP") * 30),
    _Scene(
        "making arrows and shooting them",
        ("MAKE_ARROW", "SHOOT_ARROW", "SHOOT_ARROW") * 40,
        _WORKSHOP,
        {"wood": 20, "stone": 20, "bow": 1},
    ),
    _Scene(
        "making torches and placing them",
        ("MAKE_TORCH", "PLACE_TORCH", "LEFT", "PLACE_TORCH", "RIGHT") * 24,
        _WORKSHOP,
        {"wood": 20, "coal": 20},
    ),
    _Scene("making armour of iron", ("MAKE_IRON_ARMOUR", "NOOP") * 10, _WORKSHOP, {"iron": 30, "coal": 30}),
    _Scene("making armour of diamond", ("MAKE_DIAMOND_ARMOUR", "NOOP") * 10, _WORKSHOP, {"diamond": 30}),
    _Scene(
        "trying a ladder and walking off it",
        ("RIGHT", "RIGHT", "LEFT", "LEFT", "DESCEND", "ASCEND") * 20,
        (("LADDER_DOWN", ((0, 0),)),),
    ),
)


def scripts(domain: Domain, world: World) -> Iterator[FarmingScript]:
    """Yield the staged scripts of a game."""
    items, actions, blocks = set(domain.items), set(domain.actions), set(domain.sight.names)
    for scene in SCENES:
        if set(scene.actions) <= actions and set(scene.held) <= items and {b for b, _ in scene.blocks} <= blocks:
            staged = hold(plain(world), **scene.held)
            for block, offsets in scene.blocks:
                inside = [spot for spot in offsets if max(map(abs, spot)) <= world.map.shape[-1] // 2]
                staged = put(staged, block, *inside)
            yield FarmingScript(scene.name, staged, scene.actions)
