"""Replacements for statements and expressions that skill code may not use."""

import ast

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
    """The name of a syntax node, and a replacement for it."""
    return _INSTEAD.get(type(node), (type(node).__name__, "write it with plain expressions of jax.numpy"))
