"""Rewards that pay for something else than the skill: a policy would learn that instead."""

from flowrl.bench.hostile.program import IMPORTS, Program, rewards
from flowrl.skill import Quantity, SkillSpec

_DRINK = SkillSpec(yields={"achievement:COLLECT_DRINK": Quantity(base=1), "intrinsic:drink": Quantity(base=1)})
_TABLE = SkillSpec(
    requires={"wood": Quantity(base=2)}, consumes={"wood": Quantity(base=2)}, stays=True, item="wood",
    yields={"near:crafting_table": Quantity(base=1), "placed:crafting_table": Quantity(base=1),
            "achievement:PLACE_TABLE": Quantity(base=1)},
)  # fmt: skip
_STONE = SkillSpec(
    requires={"wood_pickaxe": Quantity(base=1)},
    yields={"stone": Quantity(per_n=1), "achievement:COLLECT_STONE": Quantity(base=1)}, item="stone", n_range=(1, 9),
)  # fmt: skip
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

FARMS = (
    Program("pays for being alive", rewards("1.0 * (n > 0)"), "one a step, whatever is done", "farming"),
    Program(
        "pays for health", rewards("player_intrinsics[0] / 9", "player_intrinsics"), "one a step for staying well",
        "farming",
    ),
    Program("pays for what is held", rewards("inventory.wood / n"), "again each step", "farming"),
    Program(
        "pays for gains, never takes back", rewards("jnp.maximum(inventory_diff.wood, 0) * 1.0"),
        "wood gathered, spent and gathered again", "farming",
    ),
    Program("pays for coming nearer only", rewards(_NEARER_WOOD, _BLOCKS), "walking to and fro", "farming"),
    Program("pays for standing by a tree", rewards(
        "1.0 * (jnp.abs(closest_blocks[5]).sum(axis=0).min() <= 1)", "closest_blocks"), "waiting there", "farming"),
    Program("pays 41 for a tree in sight", rewards(
        "41.0 * ((closest_blocks[5] != 30).any() & (closest_blocks_prev[5] == 30).all())", _BLOCKS),
        "looking at it and away", "farming"),
    Program(
        "pays 41 for a table in sight", _with(_PLACED, _BLOCKS,
        "41.0 * ((closest_blocks[11] != 30).any() & (closest_blocks_prev[11] == 30).all())"),
        "placing tables and nothing else", "farming", spec=_TABLE,
    ),
    Program(
        "pays for a table each step", _with(_PLACED, "closest_blocks", "1.0 * (closest_blocks[11] != 30).any()"),
        "staying near it", "farming", spec=_TABLE,
    ),
    Program(
        "pays for stone mined, not for stone lost",
        _with(_MINED, "inventory_diff, n", "jnp.maximum(inventory_diff.stone, 0) * 1.0 / n"),
        "placing a stone and mining it again", "farming", spec=_STONE,
    ),
    Program(
        "pays for every stone placed", _with(_MINED, "achievements_diff", "achievements_diff[10] * 1.0"),
        "placing a stone and mining it again", "farming", spec=_STONE,
    ),
    Program(
        "pays for water in reach", _with(_DRUNK, "closest_blocks", "1.0 * (jnp.abs(closest_blocks[3]) <= 1).all(axis=0).any()"),
        "standing there", "farming", spec=_DRINK,
    ),
    Program(
        "pays for any step", rewards("jnp.abs(closest_blocks - closest_blocks_prev).sum() * 0.01", _BLOCKS),
        "walking about", "farming",
    ),
    Program("pays for the game's own reward", rewards("env_reward * 10.0", "env_reward"), "everything else", "farming"),
    Program("pays nothing", rewards("0.0 * n"), "nothing to learn from", "success"),
    Program("pays less than nothing for success", rewards("-1.0 * inventory_diff.wood / n"), "success is punished", "success"),
    Program("punishes each step", rewards("-1.0 + inventory_diff.wood / n"), "dying soon is best", "success"),
    Program("pays a million", rewards("1000000.0 * inventory_diff.wood / n"), "no value network can learn it", "success"),
)  # fmt: skip
"""What `verify` must tell from a reward that is earned once."""
