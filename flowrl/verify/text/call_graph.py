"""Which functions may be called above their definition. Those that don't lead back to the caller.

Skill code must not call itself, directly or indirectly; otherwise the order of functions is free.
"""

import ast
from collections.abc import Mapping


def usable_below(tree: ast.Module) -> dict[str, frozenset[str]]:
    """For each top-level function, the others that never use it. Directly or indirectly."""
    uses = _uses(tree)
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    reached = {name: _reached(name, uses) for name in functions}
    return {name: frozenset(n for n in functions if n != name and name not in reached[n]) for name in functions}


def _uses(tree: ast.Module) -> dict[str, set[str]]:
    """The names that each top-level function or constant mentions. Local names excepted."""
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
