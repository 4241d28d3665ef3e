"""The three functions that a model writes, as text: the expert's number is looked at and taken out."""

from flowrl.errors import ModuleError
from flowrl.skillcode.skill_file import functions_of
from flowrl.skillcode.source import literal_number, parse

NUMBER = "network_number"


class CodeError(Exception):
    """A text that is not what was asked for; the message tells its author what to do."""


def own_functions(text: str, expert: int) -> str:
    """Returns a skill file with `is_done` and `reward`, the expert's number taken out: whoever trains it gives it one.

    Raises:
        CodeError: the text is no Python, or `network_number` is missing, or returns another number.
    """
    try:
        tree = parse(text, "the code")
    except ModuleError as error:
        raise CodeError(str(error)) from None
    named = [node for node in functions_of(tree) if node.name == NUMBER]
    if len(named) != 1:
        count = "no" if not named else "more than one"
        raise CodeError(f"The code has {count} function {NUMBER}. Write one: def {NUMBER}(): return {expert}")
    (node,) = named
    if literal_number(node) != expert:
        raise CodeError(f"{NUMBER}, at line {node.lineno}, must return {expert}, as a literal and without arguments.")
    lines = text.split("\n")
    begin = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    shared = [
        other
        for other in tree.body
        if other is not node and begin < (other.end_lineno or 0) and other.lineno <= (node.end_lineno or 0)
    ]
    if shared:
        raise CodeError(f"{NUMBER}, at line {node.lineno}, must stand on lines of its own.")
    return "\n".join(lines[:begin] + lines[node.end_lineno :]).strip("\n") + "\n"
