"""Which functions of a text a function may use though they stand below it: those that don't lead back to it.

Skill code must not call itself, by whatever way; beyond that the order of functions is the author's.
"""

import ast
from collections.abc import Mapping


def usable_below(tree: ast.Module) -> dict[str, frozenset[str]]:
    """Returns, for each function at the top level, the others that do not use it, directly or through others."""
    uses = _uses(tree)
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    reached = {name: _reached(name, uses) for name in functions}
    return {name: frozenset(n for n in functions if n != name and name not in reached[n]) for name in functions}


def _uses(tree: ast.Module) -> dict[str, set[str]]:
    """Returns the names that each function and each constant at the top level mentions, a function's own left out."""
    uses: dict[str, set[str]] = {}
    for node in tree.body:
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        stored = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        loaded = {n.id for n in names if isinstance(n.ctx, ast.Load)}
        if isinstance(node, ast.FunctionDef):
            arguments = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
            uses.setdefault(node.name, set()).update(loaded - stored - arguments)
        else:
            for name in stored:
                uses.setdefault(name, set()).update(loaded)
    return uses


def _reached(start: str, uses: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    open_ends = [start]
    while open_ends:
        new = uses.get(open_ends.pop(), set()) - reached
        reached |= new
        open_ends += new
    return reached
