"""Rewards that pay for something else than the skill: a policy would learn that instead."""

from benchmarks.hostile.program import IMPORTS, Program, rewards
from flowrl.schema.skill import Quantity, SkillSpec

_DRINK = SkillSpec(yields={"achievement:COLLECT_DRINK": Quantity(base=1), "intrinsic:drink": Quantity(base=1)})
_TABLE = SkillSpec(
    requires={"wood": Quantity(base=2)},
    consumes={"wood": Quantity(base=2)},
    stays=True,
    item="wood",
    yields={
        "near:crafting_table": Quantity(base=1),
        "placed:crafting_table": Quantity(base=1),
        "achievement:PLACE_TABLE": Quantity(base=1),
    },
)
_STONE = SkillSpec(
    requires={"wood_pickaxe": Quantity(base=1)},
    yields={"stone": Quantity(per_n=1), "achievement:COLLECT_STONE": Quantity(base=1)},
    item="stone",
    n_range=(1, 9),
)
_DRUNK = "def is_done(achievements):\n    return achievements[4] > 0\n"
_PLACED = "def is_done(achievements):\n    return achievements[1] > 0\n"
_MINED = "def is_done(inventory, n):\n    return inventory.stone >= n\n"


def _with(done: str, arguments: str, body: str) -> str:
    return f"{IMPORTS}\n\n{done}\n\ndef reward({arguments}):\n    return {body}\n"


_NEAR = "jnp.abs({blocks}[{block}]).sum(axis=0).min()"
_BLOCKS = "closest_blocks, closest_blocks_prev"
_NEARER_WOOD = (
    f"jnp.maximum({_NEAR.format(blocks='closest_blocks_prev', block=5)} - "
    f"{_NEAR.format(blocks='closest_blocks', block=5)}, 0) * 1.0"
)

_ALL = f"inventory, inventory_diff, {_BLOCKS}, n"
_EARNED = "gathered(inventory.wood, inventory_diff.wood, n)"

FARMS = (
    Program("pays for being alive", rewards("1.0 * (n > 0)"), "one a step, whatever is done", "farming"),
    Program(
        "pays for health",
        rewards("player_intrinsics[0] / 9", "player_intrinsics"),
        "one a step for staying well",
        "farming",
    ),
    Program("pays for what is held", rewards("inventory.wood / n"), "again each step", "farming"),
    Program(
        "pays for gains, never takes back",
        rewards("jnp.maximum(inventory_diff.wood, 0) * 1.0"),
        "wood gathered, spent and gathered again",
        "farming",
    ),
    Program(
        "pays for coming nearer only", rewards(f"{_EARNED} + {_NEARER_WOOD}", _ALL), "walking to and fro", "farming"
    ),
    Program(
        "pays for standing by a tree",
        rewards(f"{_EARNED} + 1.0 * (jnp.abs(closest_blocks[5]).sum(axis=0).min() <= 1)", _ALL),
        "waiting there",
        "farming",
    ),
    Program(
        "pays 41 for a tree in sight",
        rewards(f"{_EARNED} + 41.0 * ((closest_blocks[5] != 30).any() & (closest_blocks_prev[5] == 30).all())", _ALL),
        "looking at it and away",
        "farming",
    ),
    Program(
        "pays 41 for a table in sight",
        _with(
            _PLACED,
            f"achievements_diff, {_BLOCKS}",
            "achievements_diff[1] + 41.0 * ((closest_blocks[11] != 30).any() & (closest_blocks_prev[11] == 30).all())",
        ),
        "placing tables and nothing else",
        "success pays",
        spec=_TABLE,
    ),
    Program(
        "pays 5 for a table in sight",
        _with(
            _PLACED,
            f"achievements_diff, {_BLOCKS}",
            "achievements_diff[1] + 5.0 * ((closest_blocks[11] != 30).any() & (closest_blocks_prev[11] == 30).all())",
        ),
        "placing tables and nothing else",
        "farming",
        spec=_TABLE,
    ),
    Program(
        "pays for a table each step",
        _with(
            _PLACED,
            "achievements_diff, closest_blocks",
            "achievements_diff[1] + 1.0 * (closest_blocks[11] != 30).any()",
        ),
        "staying near it",
        "farming",
        spec=_TABLE,
    ),
    Program(
        "pays for stone mined, not for stone lost",
        _with(_MINED, "inventory_diff, n", "jnp.maximum(inventory_diff.stone, 0) * 1.0 / n"),
        "placing a stone and mining it again",
        "farming",
        spec=_STONE,
    ),
    Program(
        "pays for every stone placed",
        _with(
            _MINED,
            "achievements_diff, inventory, inventory_diff, n",
            "achievements_diff[10] + gathered(inventory.stone, inventory_diff.stone, n)",
        ),
        "placing a stone and mining it again",
        "farming",
        spec=_STONE,
    ),
    Program(
        "pays for water in reach",
        _with(
            _DRUNK,
            "achievements_diff, closest_blocks",
            "achievements_diff[4] + 1.0 * (jnp.abs(closest_blocks[3]) <= 1).all(axis=0).any()",
        ),
        "standing there",
        "farming",
        spec=_DRINK,
    ),
    Program(
        "pays for any step",
        rewards(f"{_EARNED} + jnp.abs(closest_blocks - closest_blocks_prev).sum() * 0.01", _ALL),
        "walking about",
        "farming",
    ),
    Program("pays for the game's own reward", rewards("env_reward", "env_reward"), "everything else", "farming"),
    Program("pays nothing", rewards("0.0 * n"), "nothing to learn from", "success pays"),
    Program(
        "pays less than nothing for success",
        rewards("-1.0 * inventory_diff.wood / n"),
        "success is punished",
        "success pays",
    ),
    Program(
        "punishes each step",
        rewards("-1.0 + inventory_diff.wood / n", "inventory_diff, n"),
        "dying soon is best",
        "success pays",
    ),
    Program(
        "pays a million",
        rewards("1000000.0 * inventory_diff.wood / n"),
        "no value network can learn it",
        "success pays",
    ),
)
"""What `verify` must tell from a reward that is earned once."""
