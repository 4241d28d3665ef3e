"""The checks of a skill file's text. Each problem is a sentence that an author or a
model can act on: the line, what is there, what to write instead.
"""

import ast
import contextlib
import io
import tokenize
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flowrl.fluents import Vocabulary
from flowrl.skillcode.skill_file import SkillFile, read_skill_file
from flowrl.skillcode.source import defaults_of, without_mark
from flowrl.verify.text.allow_list import MAX_DEPTH, MAX_LINE, MAX_NODES, MAX_TEXT
from flowrl.verify.text.check_tree import problems_of_tree
from flowrl.verify.verdict import Check

_WORDS = (tokenize.NAME, tokenize.NUMBER, tokenize.OP, tokenize.ERRORTOKEN)
_ON_THE_LIST = "imports, names, attributes, numbers and statements are all on the list"


@dataclass(frozen=True)
class Reading:
    """The outcome of checking a text.

    Attributes:
        checks: in order; the last one failed if any did.
        is_done_arguments, reward_arguments: the inputs that each function takes; empty if a check failed.
    """

    checks: tuple[Check, ...]
    is_done_arguments: tuple[str, ...] = ()
    reward_arguments: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """The first problem or an empty text."""
        return next((check.detail for check in self.checks if not check.passed), "")


def read_skill_text(text: str, env: str, vocabulary: Vocabulary, trusted: bool = False) -> Reading:
    """Check a skill file's text up to the first failure.

    Args:
        trusted: the author is the user or the package: the allow-list is passed over.
    """
    problem = _text_problem(without_mark(text))
    file = read_skill_file("" if problem else text, "The text", vocabulary.floors > 1)
    unread = (problem, *file.parse_problems, _size_problem(file.tree))
    checks: list[Check] = []

    def passes(name: str, problems: Iterable[str | None], detail: str) -> bool:
        first = next(filter(None, problems), "")
        checks.append(Check(name=name, passed=not first, detail=first or detail))
        return not first

    if (
        passes("parse", unread, f"{len(text):,} characters of Python")
        and (trusted or passes("allow-list", problems_of_tree(file.tree, env, vocabulary), _ON_THE_LIST))
        and passes("functions", file.function_problems, "one is_done and one reward")
    ):
        taken = ", ".join(sorted({name for names in file.arguments.values() for name in names}))
        if passes("arguments", [*file.argument_problems, *_default_problems(file)], f"they take {taken or 'nothing'}"):
            return Reading(tuple(checks), file.arguments["is_done"], file.arguments["reward"])
    return Reading(tuple(checks))


def _size_problem(tree: ast.Module) -> str | None:
    level: list[ast.AST] = [tree]
    size, depth = 0, 0
    while level:
        size, depth = size + len(level), depth + 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if size <= MAX_NODES and depth <= MAX_DEPTH:
        return None
    return (
        f"The text has {size:,} parts, {depth} deep; at most {MAX_NODES:,} and {MAX_DEPTH} are allowed. "
        "Write it shorter: a skill needs two small functions."
    )


def _text_problem(text: str) -> str | None:
    if not text.strip():
        return "The text is empty. Write a skill file with the functions is_done and reward."
    if len(text) > MAX_TEXT:
        return f"The text has {len(text):,} characters; at most {MAX_TEXT:,} are allowed. Write it shorter."
    tokens = _tokens(text)
    comments = {token.start[0]: token.start[1] for token in tokens if token.type == tokenize.COMMENT}  # line -> column
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE:
            return f"line {number}: it is {len(line):,} characters long; at most {MAX_LINE:,} are allowed. Break it."
        comment = comments.get(number, len(line))
        for column, sign in enumerate(line):
            if not (sign.isprintable() or sign in "\t\r" or (column >= comment and _is_blank(sign))):
                return f"line {number}: it holds the control character U+{ord(sign):04X}. Leave it out."
    for token in tokens:
        if token.type in _WORDS and not token.string.isascii():
            return (
                f"line {token.start[0]}: {token.string!r} is not plain ASCII, and Python may take it for another name. "
                "Write names with the letters a to z, digits and underscores."
            )
    return None


def _tokens(text: str) -> list[tokenize.TokenInfo]:
    """The tokens up to the first error."""
    found = []
    with contextlib.suppress(tokenize.TokenError, SyntaxError):
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            found.append(token)
    return found


def _is_blank(character: str) -> bool:
    """Whether a character is white space or invisible."""
    return unicodedata.category(character) == "Zs" or character in "\f\u200b\u200c\u200d\u2060\ufeff"


def _default_problems(file: SkillFile) -> Iterator[str]:
    """Yield the defaults of inputs. n alone may have one, as in files of the published style."""
    for name, node in file.functions.items():
        for argument, default in defaults_of(node).items():
            if argument != "n" or not (isinstance(default, ast.Constant) and type(default.value) is int):
                yield (
                    f"line {node.lineno}: {name} gives {argument!r} a default; flowrl passes every input by name. "
                    "Leave the default out."
                )
