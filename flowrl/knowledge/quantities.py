"""Amounts as text, such as "2*n + 1". Parsed as affine forms on the syntax tree, never evaluated."""

import ast
import re

from flowrl.errors import SpecError
from flowrl.schema.skill import Quantity

_MAX_CHARACTERS = 200
_MAX_NUMBER = 1_000_000
_ADJACENT = re.compile(r"(?<![\w.])(\d+)(?=\s*[A-Za-z_])")
_BARE = "n"


class _NotAffineError(Exception):
    """The text is not affine; the message names what is wrong."""


def parse_quantity(text: object, where: str) -> Quantity:
    """Parse an amount. For example "3", "n", "2n + 1" or "lambda k: 2*k + 1".

    Args:
        where: the skill and field, for messages.

    Raises:
        SpecError: it is no text of the form a*n + b with whole numbers.
    """
    if not isinstance(text, str):
        raise SpecError(f"{where}: {_shown(text)} is no amount; write a text such as '2*n + 1'.")
    try:
        per_n, base = _affine_text(text)
    except _NotAffineError as error:
        raise SpecError(
            f"{where}: {_shown(text)} is no amount: {error}. Write whole numbers, n, +, - and *, as in '2*n + 1'."
        ) from None
    return Quantity(per_n=per_n, base=base)


def quantity_text(quantity: Quantity) -> str:
    """An amount as `parse_quantity` reads it, e.g. "2*n + 1"."""
    if not quantity.per_n:
        return str(quantity.base)
    per_n = {1: "n", -1: "-n"}.get(quantity.per_n, f"{quantity.per_n}*n")
    if not quantity.base:
        return per_n
    return f"{per_n} {'+' if quantity.base > 0 else '-'} {abs(quantity.base)}"


def _shown(value: object) -> str:
    text = repr(value[: _MAX_CHARACTERS + 1] if isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _affine_text(text: str) -> tuple[int, int]:
    if len(text) > _MAX_CHARACTERS:
        raise _NotAffineError(f"it has {len(text)} characters, more than {_MAX_CHARACTERS}")
    try:
        # People write 2n for 2*n: a sign is put between a number and a name, nothing else changes.
        tree = ast.parse(_ADJACENT.sub(r"\1*", text.strip()), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _NotAffineError("it does not parse") from None
    parameter = _BARE
    if isinstance(tree, ast.Lambda):
        parameter, tree = _parameter_of(tree), tree.body
    per_n, base = _affine(tree, parameter)
    if max(abs(per_n), abs(base)) > _MAX_NUMBER:
        raise _NotAffineError(f"it is beyond {_MAX_NUMBER:,}")
    return per_n, base


def _parameter_of(tree: ast.Lambda) -> str:
    arguments = tree.args
    others = [*arguments.posonlyargs, *arguments.kwonlyargs, *arguments.defaults, arguments.vararg, arguments.kwarg]
    if len(arguments.args) != 1 or any(others):
        raise _NotAffineError("its lambda must take one plain parameter")
    return arguments.args[0].arg


def _affine(node: ast.expr, parameter: str) -> tuple[int, int]:
    """(a, b) of a * parameter + b."""
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return 0, value
        case ast.Name(id=name) if name == parameter:
            return 1, 0
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            a, b = _affine(operand, parameter)
            return (-a, -b) if isinstance(sign, ast.USub) else (a, b)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as op, right=right):
            return _combined(_affine(left, parameter), op, _affine(right, parameter), parameter)
    raise _NotAffineError(f"{ast.unparse(node)!r} is {_kind_of(node, parameter)}")


def _combined(left: tuple[int, int], op: ast.operator, right: tuple[int, int], parameter: str) -> tuple[int, int]:
    (a, b), (c, d) = left, right
    if isinstance(op, ast.Mult):
        if a and c:
            raise _NotAffineError(f"{parameter} is multiplied by itself")
        return a * d + c * b, b * d
    return (a + c, b + d) if isinstance(op, ast.Add) else (a - c, b - d)


def _kind_of(node: ast.expr, parameter: str) -> str:
    if isinstance(node, ast.Call):
        return "a call"
    if isinstance(node, ast.Name):
        return f"a name other than {parameter}"
    if isinstance(node, ast.Constant):
        return "no whole number"
    return "no sum and no product"
