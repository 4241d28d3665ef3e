"""The three functions that a model writes, as text. The expert's number is checked and removed."""

from flowrl.errors import ModuleError
from flowrl.skillcode.skill_file import functions_of
from flowrl.skillcode.source import literal_number, parse, without_statement

NUMBER = "network_number"


class CodeError(Exception):
    """An answer with the wrong code. The message tells its author what to do."""


def own_functions(text: str, expert: int) -> str:
    """The skill file without `network_number`: the number is assigned when the skill is trained.

    Raises:
        CodeError: the text is no Python, or `network_number` is missing or returns another number.
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
    if (rest := without_statement(text, tree, node)) is None:
        raise CodeError(f"{NUMBER}, at line {node.lineno}, must stand on lines of its own.")
    return rest.strip("\n") + "\n"
