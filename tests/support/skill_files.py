"""Skill files and specifications as people write them."""

from typing import Any

from flowrl.fluents import Vocabulary
from flowrl.knowledge.quantities import parse_quantity
from flowrl.schema.skill import SkillSpec

RETURN = '''"""Return To Table: go back to a table that was placed, until it is within reach."""

SPEC = {"requires": {"placed:table": 1}, "yields": {"near:table": 1}, "practice": [["Collect Wood", 2]]}


def is_done(closest_blocks):
    return abs(closest_blocks[4, :, 0]).max() <= 1


def reward(closest_blocks, closest_blocks_prev):
    return 0.05 * (abs(closest_blocks_prev[4, :, 0]).sum() - abs(closest_blocks[4, :, 0]).sum()).clip(-1, 1)
'''


CLASSIC, TINY = "Craftax-Classic-Symbolic-v1", "Tiny-Grid-v1"


WORDS = Vocabulary(
    capacity=9, items=("wood", "stone", "gem", "pickaxe"), tiers={"pickaxe": 4}, achievements=("EAT_COW", "SLEEP"),
    stations=("table", "oven"), intrinsics=("food",), floors=3,
)  # fmt: skip


def spec(**parts: Any) -> SkillSpec:
    """A spec whose amounts are written as people write them."""
    amounts = {
        part: {fluent: parse_quantity(str(amount), part) for fluent, amount in parts.pop(part).items()}
        for part in ("requires", "consumes", "yields")
        if part in parts
    }
    return SkillSpec(**amounts, **parts)
