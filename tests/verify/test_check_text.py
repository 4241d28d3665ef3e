"""The allow-list on the text of skill files: what is refused, with which words, and that all of ours passes."""

import ast
import subprocess
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from flowrl.config import ENVIRONMENTS
from flowrl.knowledge.base import load_base
from flowrl.knowledge.own_skills import template
from flowrl.skillcode.inputs import FULL_GAME_ONLY, SKILL_INPUTS
from flowrl.skillcode.source import SkillSource, compose_module
from flowrl.verify.text.allow_list import ARRAY_METHODS, BUILTINS, JNP
from flowrl.verify.text.check_text import Reading, read_skill_text
from flowrl.verify.tracing import load_functions

CLASSIC, FULL = "Craftax-Classic-Symbolic-v1", "Craftax-Symbolic-v1"
GOOD = """import jax.numpy as jnp
from craftax.craftax_classic.constants import BlockType


def is_done(inventory, n):
    return inventory.wood >= n


def reward(inventory, inventory_diff, closest_blocks, n):
    {body}
    return inventory_diff.wood / n
"""


def read(text: str, env: str = CLASSIC) -> Reading:
    return read_skill_text(text, env, load_base(env).vocabulary)


def with_body(body: str) -> str:
    return GOOD.format(body="\n    ".join(body.split("\n")))


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_every_skill_that_ships_passes(env: str) -> None:
    for skill in load_base(env).skills:
        reading = read(skill.code, env)
        assert not reading.problem, f"{skill.name}: {reading.problem}"
        assert set(reading.is_done_arguments + reading.reward_arguments) <= set(SKILL_INPUTS)


def test_the_template_for_a_new_skill_passes() -> None:
    text = template("My Skill", load_base(CLASSIC).vocabulary)
    spec = next(node for node in ast.parse(text).body if isinstance(node, ast.Assign))
    lines = text.split("\n")
    assert not read("\n".join(lines[: spec.lineno - 1] + lines[spec.end_lineno :])).problem


FINE = {
    "an annotated constant of an array": "x: float = 0.5",
    "a norm": "x = jnp.linalg.norm(closest_blocks[BlockType.TREE.value, :, 0] * 1.0)",
    "an update": "x = jnp.zeros(4).at[1].set(2.0)",
    "a conditional expression of constants": "x = 1 if BlockType.TREE.value > 2 else 0",
    "a comprehension over a tuple": "x = sum(closest_blocks[b, 0, 0] for b in (1, 2, 3))",
    "a small power": "x = inventory.wood ** 2",
    "several targets": "a, b = inventory.wood, inventory.stone\na += b",
    "comparisons": "x = (inventory.wood > 2) & ~(inventory.stone < 1)",
}


@pytest.mark.parametrize("what", FINE)
def test_plain_code_passes(what: str) -> None:
    assert read(with_body(FINE[what])).problem == ""


ORDINARY = {
    "a reward called reward": GOOD.format(body="reward = inventory_diff.wood / n").replace(
        "return inventory_diff.wood / n", "return reward"
    ),
    "a reward called reward and is_done called is_done": GOOD.format(body="reward = 1.0").replace(
        "return inventory.wood >= n", "is_done = inventory.wood >= n\n    return is_done"
    ),
    "a local called like an imported function": "from flowrl.env.shaping import distance\n"
    + with_body("distance = n * 2.0\nx = distance + 1"),
    "a helper below": with_body("x = halved(n)") + "\n\ndef halved(x):\n    return thirded(x) / 2\n"
    "\n\ndef thirded(x):\n    return x / 3\n",
    "the future of annotations": "from __future__ import annotations\n"
    + GOOD.format(body="x: Any = 1").replace(
        "(inventory, n)", "(inventory: Inventory, n: Int[Array, ''] | int) -> bool"
    ),
    "quoted annotations": GOOD.format(body="x: 'int' = 1").replace(
        "(inventory, n)", "(inventory: 'Inventory', n) -> 'x'"
    ),
    "odd spaces in a comment": with_body("x = n  # a\u00a0b\u200bc\x0cd\u202fe\ufeff"),
    "a byte order mark": "\ufeff" + with_body("x = n"),
}


@pytest.mark.parametrize("what", ORDINARY)
def test_ordinary_code_passes_is_run_and_composed(what: str) -> None:
    text = ORDINARY[what]
    assert read(text).problem == ""
    functions = load_functions(text, CLASSIC, trusted=False)
    wood = SimpleNamespace(wood=2)
    values = {"inventory": wood, "inventory_diff": wood, "closest_blocks": 0, "n": 2}

    def said(names: Mapping[str, Any], before: str) -> list[Any]:
        taken = [{"inventory": wood, "n": 2}, values]
        return [names[f"{before}{name}"](**given) for name, given in zip(("is_done", "reward"), taken, strict=True)]

    module: dict[str, Any] = {}
    composed = compose_module([SkillSource("a", with_body("x = n")), SkillSource("b", text)], [0, 1], [0, 1])
    exec(compile(composed, "composed", "exec", dont_inherit=True), module)
    assert said(functions, "") == said(module, "b_") == [True, 1.0]


CIRCLES = {
    "itself": "def f(x):\n    return f(x)",
    "two": "def f(x):\n    return g(x)\ndef g(x):\n    return f(x)",
    "three": "def f(x):\n    return g(x)\ndef g(x):\n    return h(x)\ndef h(x):\n    return f(x)",
    "by another name": "def f(x):\n    return g(x)\ndef h(x):\n    return f(x)\nA = h\ndef g(x):\n    return A(x)",
    "in a tuple": "def f(x):\n    return g(x)\nA = (f, f)\ndef g(x):\n    return A[0](x)",
    "through a local": "def f(x):\n    y = g\n    return y(x)\ndef g(x):\n    return f(x)",
}


@pytest.mark.parametrize("what", CIRCLES)
def test_functions_that_lead_back_to_themselves_are_refused(what: str) -> None:
    problem = read(CIRCLES[what] + "\n" + with_body("x = n")).problem
    assert "is not defined above" in problem and "lead back" in problem


REFUSED = {
    "for x in range(3):\n    y = x": "a for loop",
    "while True:\n    x = 1": "a while loop",
    "if n > 1:\n    x = 1": "an if statement",
    "import os": "an import inside a function",
    "x = lambda y: y": "a lambda",
    "def inner():\n    return 1": "a function inside another",
    "with n:\n    x = 1": "a with statement",
    "try:\n    x = 1\nexcept Exception:\n    x = 2": "a try statement",
    "global Z": "a global",
    "del n": "a del",
    "assert n": "an assert",
    "raise ValueError": "a raise",
    "yield n": "a statement that does nothing with its value",
    "x = (yield)": "a yield",
    "x = (y := 2)": "a := assignment",
    "x = f'{n}'": "an f-string",
    "x = {1: 2}": "a dict",
    "x = {1, 2}": "a set",
    "x = 'text'": "a text",
    "x = b'text'": "a text",
    "x = 1j": "no number",
    "x = n.__class__": "Python's own attributes",
    "x = ().__class__.__bases__": "Python's own attributes",
    "x = jnp.__loader__": "Python's own attributes",
    "x = __builtins__": "Python's own names",
    "x = __import__('os')": "Python's own names",
    "x = getattr(n, 'shape')": "the name 'getattr' is not defined",
    "x = eval(n)": "the name 'eval'",
    "x = open(n)": "the name 'open'",
    "x = print(n)": "the name 'print'",
    "x = n.tofile(n)": "'.tofile' is neither a field",
    "x = inventory.wod": "'.wod' is neither a field of the inventory",
    "x = jnp.save(n, n)": "'jnp.save' is not on the list",
    "x = jnp.load(n)": "'jnp.load' is not on the list",
    "x = jnp.vectorize(n)": "'jnp.vectorize' is not on the list",
    "x = jnp.linalg.inv(n)": "'jnp.linalg.inv' is not on the list",
    "x = jnp.linalg": "'jnp.linalg' is not on the list",
    "x = jnp.where.lower(n)": "'jnp.where.lower' is not on the list",
    "x = jnp.linalg.norm.lower(n)": "'jnp.linalg.norm.lower' is not on the list",
    "x = jnp": "jnp is a module",
    "x = BlockType.TREE.__class__": "Python's own attributes",
    "x = BlockType.mro": "write BlockType.NAME.value",
    "x = BlockType.TREE.name": "write BlockType.NAME.value",
    "x = 10 ** 9 ** 9": "a plain number of at most",
    "x = 2 ** 1000": "a plain number of at most",
    "x = 1 << 40": "a plain number of at most",
    "x = n ** n": "a plain number of at most",
    "x = 123456789012": "is too large",
    "x = 1e300": "is too large",
    "x = range(100000)": "range takes plain numbers up to 64",
    "x = sum(range(9 * 9 * 9))": "range takes plain numbers up to 64",
    "x = [0] * 1000000": "lists and tuples are not multiplied",
    "x = sum(y for y in range(99))": "runs over a tuple that is written out",
    "x = sum(y for y in closest_blocks)": "runs over a tuple that is written out",
    "x = [a for a in (1, 2) if a]": "no 'if' in a comprehension",
    "x = [a + b for a in (1, 2) for b in (1, 2)]": "one 'for'",
    "jnp.zeros = n": "only plain names may be assigned",
    "inventory.wood = 3": "only plain names may be assigned",
    "closest_blocks[0] = 3": "only plain names may be assigned",
    "jnp = n": "hides something of that name",
    "abs = n": "hides something of that name",
    "x = jnp.where(*[n, n, n])": "without * or **",
    "x = (lambda: 0)()": "only functions that have a name",
    "x = is_done(inventory, reward)": "the name 'reward' is not defined above",
    "x = reward(n)": "the name 'reward' is not defined above",
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_not_on_the_list_is_refused_with_its_line(body: str) -> None:
    problem = read(with_body(body)).problem
    assert REFUSED[body] in problem and problem.startswith("line "), problem
    assert 9 <= int(problem.split(":")[0].removeprefix("line ")) <= 13


TEXTS = {
    "": "The text is empty",
    "   \n\n": "The text is empty",
    "def is_done(:": "does not parse",
    "```python\ndef is_done(): pass\n```": "does not parse",
    "x = 1\x00": "the control character U+0000",
    "x = '\u202e'": "the control character U+202E",
    "\u00aaa = 1": "is not plain ASCII",
    "x = \uff41bs": "is not plain ASCII",
    "a" * 1_001: "1,001 characters long",
    "a = 1\n" * 4_000: "24,000 characters",
    "a = " + "-" * 900 + "1": "deep",
    "a = " + "(" * 150 + "1" + ")" * 150: "",
    "import os": "'import os' is not allowed",
    "import jax": "",
    "import jax as j": "'import jax' is not allowed",
    "import jax.numpy": "'import jax.numpy' is not allowed",
    "import numpy as np": "'import numpy' is not allowed",
    "from jax import lax": "'from jax import lax' is not allowed",
    "from jax import *": "'from jax import *' is not allowed",
    "from os import path": "'from os import path' is not allowed",
    "from . import os": "is not allowed",
    "from __future__ import division": "is not allowed",
    "from __future__ import annotations\ndef f(x: open(1)):\n    return x": "the name 'open'",
    "from __future__ import annotations\nX = annotations": "the name 'annotations'",
    "def f(x: Any):\n    return x": "the name 'Any'",
    "X = f\ndef f(x):\n    return x": "the name 'f' is not defined above",
    "# \x1b[2J": "the control character U+001B",
    "# a\x0b": "the control character U+000B",
    "from craftax.craftax.constants import BlockType": "is not allowed",
    "from craftax.craftax_classic.constants import TEXTURES": "is not allowed",
    "from flowrl.env.shaping import jax": "is not allowed",
    "from flowrl.env.shaping import approach as a": "is not allowed",
    "class A: pass": "a class is not allowed",
    "print(1)": "a statement that does nothing",
    "for x in (1, 2): y = x": "a for loop is not allowed at the top level",
    "X = open('/etc/passwd')": "plain numbers, no calls",
    "import jax.numpy as jnp\nX = jnp.ones(3)": "plain numbers, no calls",
    "X = 1\nX = 2": "'X' is defined a second time",
    "len = 3": "'len' hides",
    "__all__ = 1": "two underscores",
    "def f(x=[]):\n    return x": "no plain number",
    "@jit\ndef f(x):\n    return x": "has a decorator",
    "async def f(x):\n    return x": "an async function",
    "def f(*x):\n    return x": "no *args",
    "def f(x: ('str', 1)):\n    return x": "a text is not allowed here",
}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:40]))
def test_a_text_is_refused_before_anything_is_run(text: str) -> None:
    reading = read(text)
    expected = TEXTS[text] or "The text lacks the function is_done"
    assert expected in reading.problem, reading.problem
    assert not reading.checks[-1].passed and not reading.is_done_arguments


FUNCTIONS = {
    "def is_done(n):\n    return n > 1": "The text lacks the function reward",
    "def is_done(n):\n    return n > 1\ndef reward(wood):\n    return 1.0": "reward asks for 'wood'",
    "def is_done(player_level):\n    return 1\ndef reward(n):\n    return 1.0": "which only full Craftax has",
    "def is_done(n, /):\n    return 1\ndef reward(n):\n    return 1.0": "named arguments only",
    "def is_done(n=True):\n    return 1\ndef reward(n):\n    return 1.0": "gives 'n' a default",
    "def is_done(inventory=3):\n    return 1\ndef reward(n):\n    return 1.0": "gives 'inventory' a default",
}


@pytest.mark.parametrize("text", FUNCTIONS)
def test_functions_and_their_arguments_are_looked_at(text: str) -> None:
    assert FUNCTIONS[text] in read(text).problem, read(text).problem


def test_two_functions_of_a_kind_are_refused() -> None:
    twice = "def is_done(n):\n    return n > 1\n" * 2 + "def reward(n):\n    return 1.0\n"
    assert "'is_done' is defined a second time" in read(twice).problem
    trusted = read_skill_text(twice, CLASSIC, load_base(CLASSIC).vocabulary, trusted=True)
    assert trusted.problem == "The text: is_done is defined more than once, at lines 1 and 3. Keep one."


def test_a_whole_number_is_a_default_for_n() -> None:
    """Files of the published style have one; flowrl passes n all the same."""
    text = "def is_done(n=3):\n    return n > 1\ndef reward(*, n=3):\n    return n * 1.0\n"
    assert read(text).is_done_arguments == ("n",)


def test_the_floor_is_there_for_full_craftax() -> None:
    text = "def is_done(player_level):\n    return player_level > 1\ndef reward(n):\n    return n * 1.0\n"
    assert "player_level" in FULL_GAME_ONLY and not read(text, FULL).problem


def test_nothing_on_the_list_reaches_files_or_python() -> None:
    dangerous = (
        "save",
        "load",
        "file",
        "callback",
        "vectorize",
        "apply",
        "piecewise",
        "from",
        "exec",
        "eval",
        "getattr",
    )
    for name in sorted(JNP | ARRAY_METHODS | BUILTINS):
        assert not any(part in name for part in dangerous), name


def test_jax_is_not_imported_to_read_a_text() -> None:
    code = "import sys, flowrl.verify.verify; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
