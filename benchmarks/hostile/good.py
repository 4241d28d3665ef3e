"""Honest skills as different authors would write them: the sandbox must let every one of them pass."""

from benchmarks.hostile.program import Program
from flowrl.schema.skill import Quantity, SkillSpec


def _one(fluent: str, **more: object) -> SkillSpec:
    return SkillSpec.model_validate({"yields": {fluent: {"base": 1}}, **more})


_N = {"per_n": 1}
_WOOD = SkillSpec(yields={"wood": Quantity(per_n=1)}, item="wood", n_range=(1, 9))
_STONE = SkillSpec.model_validate(
    {"requires": {"wood_pickaxe": {"base": 1}}, "yields": {"stone": _N}, "item": "stone", "n_range": (1, 9)}
)
_SAPLING = SkillSpec(yields={"sapling": Quantity(per_n=1)}, item="sapling", n_range=(1, 3))

_SKILLS = {
    "plain": (
        _WOOD,
        '''"""Collect Wood: chop trees until n wood are in hand."""
from flowrl.env.shaping import gathered

def is_done(inventory, n):
    return inventory.wood >= n

def reward(inventory, inventory_diff, n):
    return gathered(inventory.wood, inventory_diff.wood, n)
''',
    ),
    "typed, with constants": (
        _WOOD,
        '''"""Collect Wood."""

import jax.numpy as jnp
from craftax.craftax_classic.constants import BlockType
from craftax.craftax_classic.envs.craftax_state import Inventory
from jax import Array

from flowrl.env.shaping import approach, gathered

TREE: int = BlockType.TREE.value
WEIGHT = 1.0


def is_done(inventory: Inventory, n: Array) -> Array:
    """Returns whether enough wood is in hand."""
    return jnp.greater_equal(inventory.wood, n)


def reward(
    inventory: Inventory, inventory_diff: Inventory, closest_blocks: Array, closest_blocks_prev: Array, n: Array
) -> Array:
    """Returns progress, and a little for coming nearer.

    The approach term is bounded by `flowrl.env.shaping`.
    """
    progress = WEIGHT * gathered(inventory.wood, inventory_diff.wood, n)
    nearer = approach(closest_blocks, closest_blocks_prev, TREE)
    return progress + nearer
''',
    ),
    "blocks by number": (
        _WOOD,
        """import jax
import jax.numpy as jnp

# closest_blocks[5] are trees: row 0 is dx, row 1 is dy
def is_done(inventory, n):
    return inventory.wood >= n

def reward(inventory, inventory_diff, closest_blocks, closest_blocks_prev, n):
    dist = jnp.abs(closest_blocks[5, :, 0]).sum()
    dist_prev = jnp.abs(closest_blocks_prev[5, :, 0]).sum()
    got = jnp.minimum(inventory.wood, n) - jnp.minimum(inventory.wood - inventory_diff.wood, n)
    near = jnp.where(jnp.abs(dist_prev - dist) <= 1, 0.02 * (dist_prev - dist), 0.0)
    return got / n - 0.5 * jnp.maximum(-got, 0) + near
""",
    ),
    "achievements by number": (
        _one("achievement:COLLECT_DRINK"),
        '''def is_done(achievements):
    return achievements[4] == 1

def reward(achievements_diff):
    """1.0 on the step in which the player drinks."""
    return 1.0 * achievements_diff[4]
''',
    ),
    "helper functions": (
        _STONE,
        '''import jax.numpy as jnp

STONE = 4
FAR = 30


def l1(blocks, kind):
    """Distance to the nearest block of a kind."""
    dx = blocks[kind, 0, 0]
    dy = blocks[kind, 1, 0]
    return jnp.abs(dx) + jnp.abs(dy)


def known(blocks, kind):
    return blocks[kind, 0, 0] < FAR


def is_done(inventory, n):
    return inventory.stone >= n


def reward(inventory, inventory_diff, closest_blocks, closest_blocks_prev, n):
    before = l1(closest_blocks_prev, STONE)
    now = l1(closest_blocks, STONE)
    seen = known(closest_blocks, STONE) & known(closest_blocks_prev, STONE)
    step = jnp.where(seen & (jnp.abs(before - now) == 1), before - now, 0)
    had = inventory.stone - inventory_diff.stone
    progress = (jnp.clip(inventory.stone, 0, n) - jnp.clip(had, 0, n)) / n
    penalty = 0.5 * jnp.clip(-inventory_diff.stone, 0, None)
    return progress - penalty + 0.01 * step
''',
    ),
    "boolean algebra": (
        _one("achievement:WAKE_UP"),
        """import jax.numpy as jnp

ENERGY = 3

def is_done(achievements):
    woke = achievements[15].astype(bool)
    return woke & ~(achievements[15] < 1) | jnp.logical_and(woke, woke)

def reward(achievements_diff, player_intrinsics_diff):
    rested = player_intrinsics_diff[ENERGY] > 0
    tired = player_intrinsics_diff[ENERGY] < 0
    return achievements_diff[15] + 0.05 * rested - 0.05 * tired
""",
    ),
    "steps and augmented assignment": (
        _SAPLING,
        """from jax import numpy as jnp

def is_done(inventory, n):
    enough = inventory.sapling >= n
    return enough

def reward(inventory, inventory_diff, n):
    total = 0.0
    gain = jnp.minimum(inventory.sapling, n) - jnp.minimum(inventory.sapling - inventory_diff.sapling, n)
    total += gain / n
    total -= 0.5 * jnp.where(gain < 0, -gain, 0)
    return total
""",
    ),
    "tuple unpacking": (
        _one("near:crafting_table", requires={"placed:crafting_table": {"base": 1}}),
        """import jax.numpy as jnp

TABLE = 11
REACH, STEP = 1, 0.05

def is_done(closest_blocks):
    dx, dy = closest_blocks[TABLE, 0], closest_blocks[TABLE, 1]
    return ((jnp.abs(dx) <= REACH) & (jnp.abs(dy) <= REACH)).any()

def reward(closest_blocks, closest_blocks_prev):
    now, before = jnp.abs(closest_blocks[TABLE, :, 0]), jnp.abs(closest_blocks_prev[TABLE, :, 0])
    a, b = now.sum(), before.sum()
    inside = jnp.max(now) <= REACH
    closer = jnp.where((a < 60) & (b < 60), jnp.minimum(b, 10) - jnp.minimum(a, 10), 0.0)
    return inside * 1.0 + STEP * closer.clip(-1, 1)
""",
    ),
    "at set": (
        _WOOD,
        """import jax.numpy as jnp

def is_done(inventory, n):
    return jnp.all(jnp.array([inventory.wood]) >= n)

def reward(inventory, inventory_diff, n):
    parts = jnp.zeros(2)
    got = jnp.minimum(inventory.wood, n) - jnp.minimum(inventory.wood - inventory_diff.wood, n)
    parts = parts.at[0].set(got / n)
    parts = parts.at[1].add(-0.5 * jnp.maximum(0, -got))
    return parts.sum()
""",
    ),
    "built-ins and negative indices": (
        _one("achievement:EAT_COW"),
        """import jax.numpy as jnp

EAT_COW = int(2)
SCALE = max(1, abs(-1))

def is_done(achievements):
    return achievements[EAT_COW] >= min(1, 2)

def reward(achievements_diff, player_intrinsics):
    energy = player_intrinsics[-1]
    return float(SCALE) * achievements_diff[EAT_COW] + 0.0 * jnp.abs(energy)
""",
    ),
    "conditional on a static value": (
        _WOOD,
        """from flowrl.env.shaping import LOSS_PRICE, STEP_VALUE, gathered

USE_SHAPING = False
BONUS = STEP_VALUE if USE_SHAPING else 0.0

def is_done(inventory, n):
    return inventory.wood >= n

def reward(inventory, inventory_diff, n):
    extra = BONUS * inventory_diff.wood if USE_SHAPING else 0.0
    return gathered(inventory.wood, inventory_diff.wood, n) + extra
""",
    ),
    "sums over a tuple": (
        _one(
            "wood_pickaxe",
            requires={"near:crafting_table": {"base": 1}, "wood": {"base": 1}},
            consumes={"wood": {"base": 1}},
            stays=True,
        ),
        """import jax.numpy as jnp

def is_done(inventory):
    return inventory.wood_pickaxe > 0

def reward(inventory_diff, health_penalty):
    gained = sum([inventory_diff.wood_pickaxe, 0])
    return jnp.asarray(gained, dtype=jnp.float32) + 0.1 * jnp.minimum(health_penalty, 0.0)
""",
    ),
    "achievement by name": (
        _one("achievement:DEFEAT_ZOMBIE"),
        '''"""Defeat a zombie."""
from craftax.craftax_classic.constants import Achievement

ZOMBIE = Achievement.DEFEAT_ZOMBIE.value

def is_done(achievements):
    return achievements[ZOMBIE] > 0

def reward(achievements_diff, env_reward):
    return achievements_diff[ZOMBIE].astype(float) + 0 * env_reward
''',
    ),
    "where in where": (
        _one("achievement:PLACE_STONE", requires={"stone": {"base": 1}}, consumes={"stone": {"base": 1}}),
        """import jax.numpy as jnp

PLACE_STONE = 10

def is_done(achievements: jnp.ndarray) -> jnp.ndarray:
    return jnp.where(achievements[PLACE_STONE] > 0, True, False)

def reward(achievements_diff: jnp.ndarray, inventory_diff) -> float:
    placed = achievements_diff[PLACE_STONE] > 0
    lost = inventory_diff.stone < 0
    return jnp.where(placed, 1.0, jnp.where(lost, -0.5, 0.0))
""",
    ),
    "select over conditions": (
        _one(
            "iron_pickaxe",
            requires={
                "near:crafting_table": {"base": 1},
                "near:furnace": {"base": 1},
                "wood": {"base": 1},
                "stone": {"base": 1},
                "coal": {"base": 1},
                "iron": {"base": 1},
            },
            consumes={"wood": {"base": 1}, "stone": {"base": 1}, "coal": {"base": 1}, "iron": {"base": 1}},
            stays=True,
        ),
        '''import jax.numpy as jnp
from craftax.craftax_classic.constants import BlockType

def _near(blocks, kind):
    return (jnp.abs(blocks[kind]) <= 1).all(axis=0).any()

def is_done(inventory):
    return inventory.iron_pickaxe.astype(jnp.int32) >= 1

def reward(inventory_diff, closest_blocks, closest_blocks_prev):
    """1 for the pickaxe; leaving the workshop costs what coming back to it pays."""
    table, furnace = BlockType.CRAFTING_TABLE.value, BlockType.FURNACE.value
    now = _near(closest_blocks, table) * 1.0 + _near(closest_blocks, furnace) * 1.0
    before = _near(closest_blocks_prev, table) * 1.0 + _near(closest_blocks_prev, furnace) * 1.0
    return jnp.select([inventory_diff.iron_pickaxe > 0], [1.0], default=0.0) + 0.05 * (now - before)
''',
    ),
    "comprehensions and stacks": (
        _one("near:furnace", requires={"placed:furnace": {"base": 1}}),
        """import jax.numpy as jnp

FURNACE = 12
WEIGHTS = jnp.array([0.02, 0.02])
AXES = (0, 1)

def is_done(closest_blocks):
    near = [jnp.abs(closest_blocks[FURNACE, axis]) <= 1 for axis in AXES]
    return (near[0] & near[1]).any()

def reward(closest_blocks, closest_blocks_prev):
    now = jnp.stack([jnp.abs(closest_blocks[FURNACE, i, 0]) for i in range(2)])
    before = jnp.stack([jnp.abs(closest_blocks_prev[FURNACE, i, 0]) for i in range(2)])
    steps = jnp.where(jnp.max(before) < 30, jnp.clip(before - now, -1, 1), 0)
    near = sum(w * s for w, s in zip(WEIGHTS, (steps[0], steps[1])))
    return 1.0 * (now <= 1).all() + near
""",
    ),
    "short": (
        _one("achievement:DEFEAT_SKELETON"),
        """def is_done(achievements): return achievements[12] > 0
def reward(achievements_diff): return achievements_diff[12] * 1.
""",
    ),
}

GOOD = tuple(Program(name, code, "an honest skill", "ok", spec=spec) for name, (spec, code) in _SKILLS.items())
