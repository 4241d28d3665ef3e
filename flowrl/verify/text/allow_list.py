"""The allow-list of skill code and its alternatives.

Modules, functions, array methods, built-ins and sizes, as data. Nothing on it reads or writes files, starts processes,
calls back into Python, loops, draws random numbers or exposes Python's internals. Everything else is rejected.
"""

import ast

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


_INSTEAD: dict[type[ast.AST], tuple[str, str]] = {
    ast.While: ("a while loop", "write it with jax.numpy on whole arrays"),
    ast.For: ("a for loop", "write it with jax.numpy on whole arrays"),
    ast.AsyncFor: ("a loop", "write it with jax.numpy on whole arrays"),
    ast.If: ("an if statement", "the inputs are traced arrays, so write jnp.where(condition, a, b)"),
    ast.Match: ("a match statement", "write jnp.where(condition, a, b)"),
    ast.Try: ("a try statement", "leave it out; nothing here fails"),
    ast.With: ("a with statement", "leave it out"),
    ast.ClassDef: ("a class", "write plain functions"),
    ast.AsyncFunctionDef: ("an async function", "write def"),
    ast.FunctionDef: ("a function inside another", "define helpers at the top level"),
    ast.Lambda: ("a lambda", "define a helper function at the top level"),
    ast.Global: ("a global statement", "return what you compute"),
    ast.Nonlocal: ("a nonlocal statement", "return what you compute"),
    ast.Delete: ("a del statement", "leave it out"),
    ast.Assert: ("an assert", "leave it out"),
    ast.Raise: ("a raise", "leave it out"),
    ast.Import: ("an import inside a function", "put imports at the top"),
    ast.ImportFrom: ("an import inside a function", "put imports at the top"),
    ast.Pass: ("a pass", "return a value"),
    ast.Yield: ("a yield", "return a value"),
    ast.YieldFrom: ("a yield", "return a value"),
    ast.Await: ("an await", "leave it out"),
    ast.JoinedStr: ("an f-string", "skill code needs no texts"),
    ast.NamedExpr: ("a := assignment", "assign on a line of its own"),
    ast.Dict: ("a dict", "use names or a tuple"),
    ast.Set: ("a set", "use a tuple"),
    ast.DictComp: ("a dict comprehension", "use jax.numpy on whole arrays"),
    ast.SetComp: ("a set comprehension", "use jax.numpy on whole arrays"),
    ast.Expr: ("a statement that does nothing with its value", "assign it or return it"),
}


def describe(node: ast.AST) -> tuple[str, str]:
    """The name and a replacement of a syntax node."""
    return _INSTEAD.get(type(node), (type(node).__name__, "write it with plain expressions of jax.numpy"))
