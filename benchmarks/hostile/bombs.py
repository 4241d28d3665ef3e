"""Programs that take all memory or never end, by Python and by jax."""

from benchmarks.hostile.program import DONE, IMPORTS, Program, ends, loaded, rewards, traced

_LINES = {
    "zeros": ("jnp.zeros(10**10)", "40 GB"),
    "range": ("jnp.arange(10**9)", "4 GB"),
    "pads": ("jnp.pad(jnp.ones(3), 10**9)", "8 GB"),
    "power of powers": ("9 ** 9 ** 9", "never computed"),
    "shift": ("1 << 10**12", "a number of a terabit"),
    "text repeated": ("'x' * 10**10", "10 GB"),
    "tuple repeated": ("(0,) * 10**10", "80 GB"),
    "list repeated": ("[0] * 10**10", "80 GB"),
    "list of a range": ("list(range(10**10))", "80 GB"),
    "bytes": ("bytes(10**10)", "10 GB"),
    "sum of a range": ("sum(range(10**12))", "hours"),
}
_ARRAYS = {
    "zeros by shape": ("jnp.zeros((100000, 100000))", "40 GB"),
    "zeros by digits": ("jnp.zeros((9, 9, 9, 9, 9, 9, 9, 9, 9, 9))", "14 GB in small numbers"),
    "repeats": ("jnp.repeat(jnp.ones(1000), 10**7)", "40 GB"),
    "identity": ("jnp.eye(100000)", "40 GB"),
    "tiles": ("jnp.tile(jnp.ones(9999), (9999,))", "400 MB"),
}
_RECURSION = {
    "recursion": "def helper(x):\n    return helper(x)",
    "mutual recursion": "def helper(x):\n    return other(x)\n\n\ndef other(x):\n    return helper(x)",
}
_DOUBLING = "".join(f"\n\ndef h{i + 1}(x):\n    return h{i}(x) + h{i}(x + 1)\n" for i in range(24))
_SORTS = "".join(
    f"\n\ndef s{i}(x):\n" + f"    x = {call}\n" * 10 + "    return x\n"
    for i, call in enumerate(["", "jnp.sort(x)[::-1]", "s1(x)", "s2(x)"])
    if i
)
_BROADCAST = """\
a = closest_blocks.reshape(-1) * 1.0
b = a[:, None] * a[None, :]
c = b[:, :, None, None] * b[None, None, :, :]
return c.sum()"""


def _with_blocks(body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{IMPORTS}\n\n{DONE}\n\ndef reward(closest_blocks):\n{lines}"


BOMBS = (
    *(Program(name, traced(f"x = {line}"), why, "allow-list") for name, (line, why) in _LINES.items()),
    *(Program(name, traced(f"x = {line}"), why, "trace") for name, (line, why) in _ARRAYS.items()),
    *(Program(name, loaded(text), "never returns", "allow-list") for name, text in _RECURSION.items()),
    Program(
        "recursion through the skill",
        f"{ends('helper(inventory, n)')}\n\ndef helper(inventory, n):\n    return is_done(inventory, n)\n",
        "never returns",
        "allow-list",
    ),
    Program(
        "calls that double",
        f"{IMPORTS}\n\ndef h0(x):\n    return x\n{_DOUBLING}\n\n{DONE}\n\ndef reward(n):\n    return h24(n * 1.0)\n",
        "sixteen million operations from twenty-four lines",
        "trace",
        "time",
    ),
    Program("product of numbers", traced("x = 1000000 * 1000000 * 1000000 * jnp.ones(3)"), "beyond 64 bits", "trace"),
    Program("nested broadcast", _with_blocks(_BROADCAST), "800 million numbers for each world", "trace"),
    Program(
        "outer products",
        _with_blocks("a = closest_blocks.ravel()\nb = jnp.outer(a, a).ravel()\nreturn jnp.outer(b, b).sum()"),
        "800 million numbers for each world",
        "trace",
    ),
    Program(
        "broadcast by shape",
        rewards("jnp.broadcast_to(n, (9999,)).sum() + jnp.broadcast_to(n, (99, 99, 99)).sum() * 0.0"),
        "a million numbers for each world",
        "trace",
    ),
    Program(
        "repeats what it repeated",
        _with_blocks("a = closest_blocks.ravel()\n" + "a = jnp.repeat(a, 50)\n" * 3 + "return a.sum()"),
        "20 million numbers for each world",
        "trace",
    ),
    Program(
        "size from a product",
        rewards("jnp.ones(n.ndim + 1).sum() + jnp.zeros((len(range(9999)), len(range(9999)))).sum()"),
        "400 MB",
        "allow-list",
    ),
    Program(
        "size from a constant",
        f"{IMPORTS}\nMANY = 99999\n\n\n{DONE}\n\ndef reward(n):\n    return jnp.zeros((MANY, MANY)).sum() * n\n",
        "40 GB",
        "trace",
    ),
    Program(
        "long constant",
        f"{IMPORTS}\nMANY = range(999999)\n\n\n{DONE}\n\ndef reward(n):\n    return jnp.array(MANY).sum() * 0.0\n",
        "a constant of a million numbers",
        "allow-list",
    ),
    Program(
        "many sorts",
        f"{IMPORTS}{_SORTS}\n\n{DONE}\n\ndef reward(closest_blocks):\n    return s3(closest_blocks.ravel()).sum()\n",
        "a thousand a step",
        "trace",
    ),
    # What the allow-list does not let through, against the walls that stand behind it.
    Program("gigabyte of zeros, traced", traced("x = jnp.zeros(10**10).sum()"), "40 GB", "allow-list", below="trace"),
    Program(
        "gigabytes of text",
        loaded("X = [str(i) * 10**7 for i in range(4000)]"),
        "40 GB, bit by bit",
        "allow-list",
        below="trace",
        below_says="[Mm]emory",
    ),
    Program(
        "shared memory without a name",
        loaded("import mmap\nX = [mmap.mmap(-1, 10**9) for _ in range(20)]\nfor m in X:\n    m.write(b'x' * 10**9)"),
        "memory that resource limits do not count",
        "allow-list",
        below="trace",
        below_says="[Mm]emory",
    ),
    Program(
        "endless loop when loaded",
        loaded("while True:\n    pass"),
        "never answers",
        "allow-list",
        below="trace",
        below_says="time",
    ),
    Program(
        "endless loop when traced",
        traced("while True:\n    pass"),
        "never answers",
        "allow-list",
        below="trace",
        below_says="time",
    ),
    Program(
        "endless power",
        loaded("X = 9 ** 9 ** 9"),
        "one operation that cannot be interrupted",
        "allow-list",
        below="trace",
        below_says="time",
    ),
    Program(
        "endless recursion below",
        loaded("def helper(x):\n    return helper(x)\n\n\nhelper(1)"),
        "the stack",
        "allow-list",
        below="trace",
        below_says="without end",
    ),
    Program(
        "endless recursion in C",
        loaded("import sys\nsys.setrecursionlimit(10**9)\ndef helper(x):\n    return helper(x)\n\n\nhelper(1)"),
        "the stack of C",
        "allow-list",
        below="trace",
    ),
)
"""What the limits hold."""
