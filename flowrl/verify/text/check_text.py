"""The text of a skill file held against an allow-list, on its syntax tree; nothing of it is run.

What is found is a sentence that an author, or a model, can act on: the line, what stands there, what to write instead.
"""

import ast
import contextlib
import io
import tokenize
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from flowrl.errors import nearest_names
from flowrl.fluents import Vocabulary
from flowrl.skillcode.inputs import FULL_GAME_ONLY, SKILL_INPUTS
from flowrl.skillcode.source import without_mark
from flowrl.verify.text.allow_list import DEEPEST, LONGEST_LINE, LONGEST_TEXT, MAX_NODES
from flowrl.verify.text.check_tree import problems_of_tree
from flowrl.verify.verdict import Check

FUNCTIONS = ("is_done", "reward")


@dataclass(frozen=True)
class Reading:
    """What a text was found to be.

    Attributes:
        checks: in order; the last one failed if any did.
        is_done_arguments, reward_arguments: the inputs that the functions take, empty if a check failed.
    """

    checks: tuple[Check, ...]
    is_done_arguments: tuple[str, ...] = ()
    reward_arguments: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """The first thing that is wrong, empty if nothing is."""
        return next((check.detail for check in self.checks if not check.passed), "")


def read_skill_text(text: str, env: str, vocabulary: Vocabulary, trusted: bool = False) -> Reading:
    """Returns what the text of a skill file was found to be, check by check until one fails.

    Args:
        trusted: its author is the user or the package: the allow-list is passed over.
    """
    checks: list[Check] = []

    def passes(name: str, problem: str | None, detail: str) -> bool:
        checks.append(Check(name=name, passed=problem is None, detail=problem or detail))
        return problem is None

    tree, problem = _parsed(text)
    if not passes("parse", problem, f"{len(text):,} characters of Python") or tree is None:
        return Reading(tuple(checks))
    if not trusted:
        problem = next(problems_of_tree(tree, env, vocabulary), None)
        if not passes("allow-list", problem, "imports, names, attributes, numbers and statements are all on the list"):
            return Reading(tuple(checks))
    if not passes("functions", _functions_problem(tree), "one is_done and one reward"):
        return Reading(tuple(checks))
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS}
    problem = next((p for name in FUNCTIONS for p in _argument_problems(found[name], vocabulary)), None)
    arguments = {name: tuple(a.arg for a in node.args.args + node.args.kwonlyargs) for name, node in found.items()}
    taken = ", ".join(sorted({*arguments["is_done"], *arguments["reward"]}))
    if not passes("arguments", problem, f"they take {taken or 'nothing'}"):
        return Reading(tuple(checks))
    return Reading(tuple(checks), arguments["is_done"], arguments["reward"])


def _parsed(text: str) -> tuple[ast.Module | None, str | None]:
    """Returns the syntax tree, or why there is none."""
    text = without_mark(text)
    if (problem := _text_problem(text)) is not None:
        return None, problem
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
            compile(tree, "the skill file", "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        return None, f"{where}this does not parse as Python: {error.msg}. Write plain Python 3.11, without any fence."
    except (ValueError, RecursionError, MemoryError):
        return None, "The text is nested too deep to be read. Give parts of it names of their own."
    size, depth = _extent(tree)
    if size > MAX_NODES or depth > DEEPEST:
        return None, (
            f"The text has {size:,} parts, {depth} deep; {MAX_NODES:,} and {DEEPEST} are the most. "
            "Write it shorter: a skill needs two small functions."
        )
    return tree, None


def _text_problem(text: str) -> str | None:
    if not text.strip():
        return "The text is empty. Write a skill file with the functions is_done and reward."
    if len(text) > LONGEST_TEXT:
        return f"The text has {len(text):,} characters; {LONGEST_TEXT:,} are the most. Write it shorter."
    comments = _comments(text)
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > LONGEST_LINE:
            return f"line {number}: it is {len(line):,} characters long; {LONGEST_LINE:,} are the most. Break it."
        plain = (c.isprintable() or c in "\t\r" or (at >= comments.get(number, len(line)) and _is_blank(c))
                 for at, c in enumerate(line))  # fmt: skip
        strange = next((c for c, is_plain in zip(line, plain, strict=True) if not is_plain), None)
        if strange is not None:
            return f"line {number}: it holds the control character U+{ord(strange):04X}. Leave it out."
    return _identifier_problem(text)


def _is_blank(character: str) -> bool:
    """Says whether a character only takes room, or none; such come along with text that is pasted or generated."""
    return unicodedata.category(character) == "Zs" or character in "\f\u200b\u200c\u200d\u2060\ufeff"


def _comments(text: str) -> dict[int, int]:
    """Returns the column at which a line's comment begins, by the number of the line."""
    found: dict[int, int] = {}
    with contextlib.suppress(tokenize.TokenError, SyntaxError):  # ast.parse says what it is
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = token.start[1]
    return found


def _identifier_problem(text: str) -> str | None:
    """Returns which name is not plain ASCII: Python takes such names for others that look alike."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.NAME, tokenize.NUMBER, tokenize.OP, tokenize.ERRORTOKEN):
                strange = not token.string.isascii()
                if strange:
                    return (
                        f"line {token.start[0]}: {token.string!r} is not plain ASCII, and Python may take it for "
                        "another name. Write names with the letters a to z, digits and underscores."
                    )
    except (tokenize.TokenError, SyntaxError):
        return None  # ast.parse says what it is
    return None


def _extent(tree: ast.AST) -> tuple[int, int]:
    """Returns how many nodes a tree has and how deep it is, without recursion."""
    count, deepest, level = 0, 0, [tree]
    while level:
        count, deepest = count + len(level), deepest + 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return count, deepest


def _functions_problem(tree: ast.Module) -> str | None:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for name in FUNCTIONS:
        lines = [node.lineno for node in functions if node.name == name]
        if not lines:
            return f"The function {name} is missing. Add one at the top level: def {name}(inventory, n): ..."
        if len(lines) > 1:
            return f"{name} is defined {len(lines)} times, at lines {' and '.join(map(str, lines))}. Keep one."
    return None


def _argument_problems(node: ast.FunctionDef, vocabulary: Vocabulary) -> Iterator[str]:
    arguments, where = node.args, f"line {node.lineno}: {node.name}"
    if arguments.vararg or arguments.kwarg or arguments.posonlyargs:
        yield f"{where} may take named arguments only, no *args, **kwargs or '/'. Write out the inputs that it uses."
    for argument in arguments.args + arguments.kwonlyargs:
        if argument.arg not in SKILL_INPUTS:
            near = nearest_names(argument.arg, SKILL_INPUTS)
            yield f"{where} asks for {argument.arg!r}, which skill code cannot see. {near}"
        elif vocabulary.floors == 1 and argument.arg in FULL_GAME_ONLY:
            yield f"{where} asks for {argument.arg!r}, which only full Craftax has. Leave it out."
    defaults = dict(zip(reversed([a.arg for a in arguments.args]), reversed(arguments.defaults), strict=False))
    defaults |= {a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None}
    for name, value in defaults.items():
        plain = isinstance(value, ast.Constant) and type(value.value) is int
        if name != "n" or not plain:
            yield f"{where} gives {name!r} a default; flowrl passes every input by name. Leave the default out."
