"""Honest code that is wrong: it fails, returns something else than one number, or no number at all."""

from benchmarks.hostile.program import DONE, IMPORTS, REWARD, WOOD, Program, ends, rewards
from flowrl.schema.skill import Quantity, SkillSpec

_TABLE = SkillSpec(
    yields={"near:crafting_table": Quantity(base=1)}, requires={"placed:crafting_table": Quantity(base=1)}
)
_COAL = SkillSpec(yields={"coal": Quantity(per_n=1)}, item="coal", n_range=(1, 2))

_TRACE = {
    "misspelled achievement": (
        "from craftax.craftax_classic.constants import Achievement\n"
        + rewards("achievements_diff[Achievement.COLECT_WOOD.value] * 1.0", "achievements_diff"),
        "no such achievement",
    ),
    "block of another game": (
        "from craftax.craftax_classic.constants import BlockType\n"
        + rewards("closest_blocks[BlockType.SAPPHIRE.value, 0, 0] * 0.0", "closest_blocks"),
        "there is no such block",
    ),
    "python if": (ends("True if inventory.wood > n else False"), "a branch on a traced value"),
    "python and": (ends("inventory.wood >= n and inventory.stone >= 0"), "a truth value of a traced one"),
    "python or": (ends("inventory.wood >= n or inventory.stone > 99"), "a truth value of a traced one"),
    "python not": (ends("not inventory.wood < n"), "a truth value of a traced one"),
    "chained comparison": (ends("0 < n <= inventory.wood"), "an `and` that is not seen"),
    "python min": (rewards("min(inventory_diff.wood, n) / n"), "a truth value of a traced one"),
    "python max": (rewards("max(inventory_diff.wood, 0) / n"), "a truth value of a traced one"),
    "python float": (rewards("float(inventory_diff.wood) / n"), "a number of a traced one"),
    "python int": (rewards("int(inventory_diff.wood) / n"), "a number of a traced one"),
    "python bool": (ends("bool(inventory.wood >= n)"), "a truth value of a traced one"),
    "range of n": (rewards("jnp.arange(n).sum() * 1.0"), "a shape that depends on the data"),
    "zeros of n": (rewards("jnp.zeros(n).sum() * 1.0"), "a shape that depends on the data"),
    "boolean mask": (
        rewards("jnp.array([1.0, 2.0])[jnp.array([n > 3, n < 3])].sum()"),
        "a shape that depends on the data",
    ),
    "None": (rewards("None"), "no value"),
    "tuple": (rewards("(inventory_diff.wood / n, 0.0)"), "two values"),
    "list": (rewards("[inventory_diff.wood / n]"), "a list"),
    "vector": (rewards("closest_blocks[5, 0] * 1.0", "closest_blocks"), "one number for each block"),
    "array of one": (rewards("jnp.array([inventory_diff.wood / n])"), "an axis too many"),
    "vector of truths": (ends("closest_blocks[5, 0] == 0", "closest_blocks"), "one truth for each block"),
    "the inventory": (rewards("inventory"), "a whole struct"),
    "float done": (ends("inventory.wood / n"), "a share instead of a truth value"),
    "done as where of floats": (ends("jnp.where(inventory.wood >= n, 1.0, 0.0)"), "a number instead of a truth value"),
    "wrong axes": (rewards("jnp.dot(closest_blocks, closest_blocks)", "closest_blocks"), "shapes that do not fit"),
    "shapes that do not fit": (rewards("(jnp.ones(3) + jnp.ones(4)).sum()"), "shapes that do not fit"),
    "index that is a float": (rewards("closest_blocks[5, 0, 0.5] * 1.0", "closest_blocks"), "an index that is none"),
    "too many indices": (rewards("achievements_diff[0, 1] * 1.0", "achievements_diff"), "an axis that is not there"),
    "calls a number": (rewards("n(3)"), "a number is no function"),
    "inventory by number": (rewards("inventory[0] * 1.0"), "a struct is no array"),
    "forgets an argument of a helper": (
        f"{IMPORTS}\n\ndef helper(a, b):\n    return a + b\n\n\n{DONE}\n\ndef reward(n):\n    return helper(n) * 1.0\n",
        "a call that lacks an argument",
    ),
    "unknown keyword": (rewards("jnp.where(n > 3, x=1.0, z=0.0)"), "a keyword that is not there"),
    "returns nothing": (f"{IMPORTS}\n\n{DONE}\n\ndef reward(n):\n    x = n * 1.0\n    return\n", "forgot the value"),
}
_NAMES = {
    "complex": (rewards("jnp.sqrt(jnp.array(-1.0, dtype=complex)) * n"), "no real number"),
    "inventory by name": (rewards("inventory['wood'] * 1.0"), "a struct is no dict"),
    "NaN where masked": (rewards("jnp.where(n > 99, 0.0, jnp.nan)"), "no number"),
    "reads an item of another game": (ends("inventory.sapphire >= n"), "full Craftax has it, Classic does not"),
    "misspelled item": (ends("inventory.woood >= n"), "there is no such item"),
    "constants of another game": (
        "from craftax.craftax.constants import BlockType\n" + rewards("n * 1.0"),
        "full Craftax's blocks in Classic",
    ),
    "undefined name": (rewards("wood / n"), "a name from nowhere"),
    "undefined function": (rewards("clip(n, 0, 1)"), "a name from nowhere"),
    "uses an input it did not ask for": (rewards("inventory_diff.wood / n", "n"), "a name from nowhere"),
    "forgot to import": (f"{DONE}\n\ndef reward(n):\n    return jnp.float32(n)\n", "a name from nowhere"),
    "time": ("import time\n" + rewards("time.time()"), "another value with each call"),
    "random": ("import random\n" + rewards("random.random()"), "another value with each call"),
    "np.random": ("import numpy as np\n" + rewards("np.random.rand()"), "another value with each call"),
    "numpy": ("import numpy as np\n" + rewards("np.minimum(inventory_diff.wood, 1) / n"), "numpy does not trace"),
    "complex literal": (rewards("1j * n"), "no real number"),
    "text": (rewards("'ten'"), "a text"),
    "no return": (f"{IMPORTS}\n\n{DONE}\n\ndef reward(n):\n    pass\n", "forgot to return"),
    "method of pandas": (rewards("closest_blocks.iloc[0]", "closest_blocks"), "another library's method"),
}
_FINITE = {
    "0 / 0": (rewards("0.0 * n / (n - n)"), "no number, always"),
    "divides by n - 1": (rewards("inventory_diff.wood / (n - 1)"), "no number where one is wanted"),
    "divides by what is missing": (rewards("inventory_diff.wood / (n - inventory.wood)"), "infinite at the goal"),
    "log of 0": (rewards("jnp.log(inventory.wood)", "inventory"), "infinite with empty hands"),
    "root of a loss": (rewards("jnp.sqrt(inventory_diff.wood)", "inventory_diff"), "no number when something is spent"),
    "infinity": (rewards("jnp.inf * n"), "infinite"),
    "overflow": (rewards("jnp.exp(100.0 * (1 + inventory.wood))", "inventory"), "infinite"),
    "difference of infinities": (rewards("jnp.where(n > 99, 0.0, jnp.inf - jnp.inf)"), "no number"),
}
_DONE_TOO_SOON = {
    "done from the start": (ends("n > 0", "n"), "nothing has to be done"),
    "done with empty hands": (ends("inventory.wood >= 0"), "nothing has to be done"),
    "done by being alive": (ends("player_intrinsics[0] > 0", "player_intrinsics"), "nothing has to be done"),
    "done by unknown blocks": (ends("closest_blocks[11, 0, 0] == 30", "closest_blocks"), "no table is known at first"),
}
_NEVER_DONE = {
    "never done": (ends("n < 0", "n"), "no way to finish"),
    "done with more than fits": (ends("inventory.wood >= n + 9"), "more than fits in hand"),
    "done with something else": (ends("inventory.stone >= n"), "not what the specification promises"),
    "done by an achievement of something else": (ends("achievements[4] > 0", "achievements"), "drinking is not wood"),
    "done with twice as much": (ends("inventory.wood >= 2 * n"), "twice what the specification promises"),
    "done and spent": (ends("(inventory.wood >= n) & (inventory_diff.wood < 0)", "inventory, inventory_diff, n"), "no"),
}
_OTHER_SPECS = (
    Program(
        "index beyond the array",
        ends("closest_blocks[40, 0, 0] <= 1", "closest_blocks"),
        "jax takes the last one instead",
        "reachable",
        spec=_TABLE,
    ),
    Program(
        "achievement beyond the array",
        ends("achievements[99] > 0", "achievements"),
        "jax takes the last one instead",
        "reachable",
    ),
    Program(
        "the wrong block",
        ends("(abs(closest_blocks[10, :, 0]) <= 1).all()", "closest_blocks"),
        "a diamond is no table",
        "reachable",
        spec=_TABLE,
    ),
    Program(
        "the wrong item", f"{IMPORTS}\n\n{DONE}\n\n{REWARD}", "wood where coal is promised", "reachable", spec=_COAL
    ),
)

BROKEN = (
    *(Program(name, code, why, "trace") for name, (code, why) in _TRACE.items()),
    *(Program(name, code, why, "allow-list") for name, (code, why) in _NAMES.items()),
    *(Program(name, code, why, "finite") for name, (code, why) in _FINITE.items()),
    *(Program(name, code, why, "initial") for name, (code, why) in _DONE_TOO_SOON.items()),
    *(Program(name, code, why, "reachable", spec=WOOD) for name, (code, why) in _NEVER_DONE.items()),
    *_OTHER_SPECS,
)
"""What an author who means well gets wrong."""
