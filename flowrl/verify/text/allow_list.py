"""The allow-list of skill code. Modules, functions, array methods, built-ins and sizes, as data.

Nothing on it reads or writes files, starts processes, calls back into Python, loops, draws random numbers or exposes
Python's internals. Everything else is rejected.
"""

FREE_MODULES = {
    "jax.numpy": "jnp",
    "jax": "jax",
}
"""Modules that are imported whole, with the names that they must get."""

SHAPING = frozenset({"approach", "distance", "gathered", "within_reach", "STEP_VALUE", "REACH", "LOSS_PRICE"})

CONSTANTS: dict[str, dict[str, frozenset[str]]] = {
    "Craftax-Classic-Symbolic-v1": {
        "craftax.craftax_classic.constants": frozenset({"Achievement", "Action", "BlockType"}),
        "craftax.craftax_classic.envs.craftax_state": frozenset({"Inventory"}),
    },
    "Craftax-Symbolic-v1": {
        "craftax.craftax.constants": frozenset({"Achievement", "Action", "BlockType", "ItemType"}),
        "craftax.craftax.craftax_state": frozenset({"Inventory"}),
    },
    "Tiny-Grid-v1": {
        "flowrl.env.tiny": frozenset({"Achievement", "Action", "Block", "Inventory"}),
    },
}
"""The modules of each game's constants, and what may be imported from them."""

ENUMS = frozenset({"Achievement", "Action", "Block", "BlockType", "ItemType"})

_JNP = """
abs absolute add all allclose any arange argmax argmin array asarray astype atleast_1d bool_ broadcast_to ceil
choose clip concatenate cos count_nonzero cumsum cumprod diff divide dot e equal exp expand_dims exp2
expm1 eye finfo flip float32 floor floor_divide fmax fmin full full_like greater greater_equal heaviside hypot inf
inner int32 isclose isfinite isin isinf isnan left_shift less less_equal log log1p log2 logical_and
logical_not logical_or logical_xor matmul max maximum mean median min minimum mod moveaxis multiply nan_to_num
ndarray ndim negative newaxis not_equal ones ones_like outer pi pad positive power prod ptp ravel reciprocal
remainder repeat reshape right_shift rint roll round select shape sign sin size sort sqrt square squeeze stack std
subtract sum swapaxes take take_along_axis tan tanh tile transpose tri true_divide trunc uint8 var vstack hstack
where zeros zeros_like bitwise_and bitwise_or bitwise_xor bitwise_not argsort float_power
"""
JNP = frozenset(_JNP.split())
"""Functions and names of jax.numpy."""

LINALG_PATHS = (["norm"],)
"""What may follow jax.numpy.linalg."""

_METHODS = """
T add all any argmax argmin argsort astype at clip cumprod cumsum dot dtype flatten get max mean min multiply ndim
prod ptp ravel repeat reshape round set shape size sort squeeze std sum swapaxes take transpose var
"""
ARRAY_METHODS = frozenset(_METHODS.split())
"""What may follow a dot after an array, besides fields of the inventory."""

BUILTINS = frozenset({"abs", "bool", "enumerate", "float", "int", "len", "max", "min", "range", "sum", "tuple", "zip"})

CALLED_AT_TOP = frozenset({"jnp.array", "jnp.asarray", "jnp.int32", "jnp.float32"})
"""What may be called where a constant is defined, besides built-ins."""
MAX_RANGE = 64
MAX_NUMBER = 1_000_000
MAX_SIZE = 10_000
"""Elements of an array that skill code makes, for one world."""
MAX_POWER = 8
MAX_SHIFT = 16
MAX_TEXT = 20_000
"""Characters of a skill file."""
MAX_LINE = 1_000
MAX_NODES = 5_000
"""Nodes of a syntax tree."""
MAX_DEPTH = 60
