"""The allow-list applied to a skill file's syntax tree. Every node, name, attribute and number."""

import ast
import re
from collections.abc import Iterator, Mapping

from flowrl.errors import nearest_names
from flowrl.fluents import Vocabulary
from flowrl.verify.text.allow_list import (
    ARRAY_METHODS,
    BUILTINS,
    CALLED_AT_TOP,
    CONSTANTS,
    ENUMS,
    FREE_MODULES,
    JNP,
    LINALG_PATHS,
    MAX_NUMBER,
    MAX_POWER,
    MAX_RANGE,
    MAX_SHIFT,
    SHAPING,
    describe,
)

_TOP = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.FunctionDef)
_INSIDE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return)
_EXPRESSIONS = (
    ast.Attribute, ast.BinOp, ast.BoolOp, ast.Call, ast.Compare, ast.Constant, ast.GeneratorExp, ast.IfExp, ast.List,
    ast.ListComp, ast.Name, ast.Slice, ast.Starred, ast.Subscript, ast.Tuple, ast.UnaryOp,
)  # fmt: skip
_PLAIN_TYPE = (
    ast.Attribute, ast.BinOp, ast.BitOr, ast.Constant, ast.List, ast.Load, ast.Name, ast.Subscript, ast.Tuple,
)  # fmt: skip
_LIMITED: dict[type[ast.operator], tuple[str, int]] = {ast.Pow: ("**", MAX_POWER), ast.LShift: ("<<", MAX_SHIFT)}
"""Operators whose right side must be a small number."""
_FUTURE = "__future__"
_RESERVED = BUILTINS.union(FREE_MODULES.values())
_UPPER = re.compile(r"[A-Z][A-Z0-9_]*")


def problems_of_tree(tree: ast.Module, env: str, vocabulary: Vocabulary) -> Iterator[str]:
    """Yield what in the tree is not allowed. A sentence each, in the order of the text."""
    return _Walker(env, vocabulary).module(tree)


def _at(node: ast.AST, problem: str) -> str:
    return f"line {getattr(node, 'lineno', '?')}: {problem}"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


class _Walker:
    """A walk over the tree that tracks definitions.

    Attributes:
        kinds: the kind of each name at the top level: "module", "enum", "function", "helper", "constant" or "type".
        below: functions that the current one may call although they are defined below it.
        is_lazy: annotations are never evaluated, because of a `__future__` import.
    """

    def __init__(self, env: str, vocabulary: Vocabulary):
        self.env = env
        self.fields = frozenset(vocabulary.items)
        self.kinds: dict[str, str] = {}
        self.locals: frozenset[str] = frozenset()
        self.below: frozenset[str] = frozenset()
        self.usable: dict[str, frozenset[str]] = {}
        self.is_lazy = False

    def module(self, tree: ast.Module) -> Iterator[str]:
        """Yield the problems of the whole text."""
        self.usable = usable_below(tree)
        for node in tree.body:
            if _is_text(node):
                continue
            if not isinstance(node, _TOP):
                what, instead = describe(node)
                yield _at(node, f"{what} is not allowed at the top level; {instead}.")
            elif isinstance(node, ast.Import | ast.ImportFrom):
                yield from self._import(node)
            elif isinstance(node, ast.FunctionDef):
                yield from self._function(node)
            else:
                yield from self._constant(node)

    def _bind(self, node: ast.AST, name: str, kind: str) -> Iterator[str]:
        if "__" in name:
            yield _at(node, f"{name!r} has two underscores in a row; such names belong to Python. Rename it.")
        elif name in self.kinds:
            yield _at(node, f"{name!r} is defined a second time. Give the two different names.")
        elif name in BUILTINS or (name in FREE_MODULES.values() and kind != "module"):
            yield _at(node, f"{name!r} hides a name of Python or jax. Rename it.")
        self.kinds[name] = kind

    def _import(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                wanted = FREE_MODULES.get(alias.name)
                if wanted is None or (alias.asname or alias.name) != wanted:
                    yield _at(node, self._import_problem(f"import {alias.name}"))
                else:
                    yield from self._bind(node, wanted, "module")
            return
        module = "." * node.level + (node.module or "")
        known = {"jax": frozenset({"Array"}), "flowrl.env.shaping": SHAPING, **CONSTANTS.get(self.env, {})}
        for alias in node.names:
            if module == "jax" and alias.name == "numpy" and alias.asname == "jnp":
                yield from self._bind(node, "jnp", "module")
            elif module == _FUTURE and alias.name == "annotations" and alias.asname is None:
                self.is_lazy = True
            elif alias.name not in known.get(module, ()) or alias.asname not in (None, alias.name):
                yield _at(node, self._import_problem(f"from {module} import {alias.name}"))
            else:
                yield from self._bind(node, alias.name, _kind_of(alias.name))

    def _import_problem(self, what: str) -> str:
        constants = "; ".join(
            f"from {module} import {', '.join(sorted(names))}" for module, names in CONSTANTS.get(self.env, {}).items()
        )
        return (
            f"'{what}' is not allowed. Skill code may use: import jax.numpy as jnp; from jax import Array; "
            f"from flowrl.env.shaping import {', '.join(sorted(SHAPING))}; {constants}."
        )

    def _constant(self, node: ast.Assign | ast.AnnAssign) -> Iterator[str]:
        if isinstance(node, ast.AnnAssign):
            yield from self._annotation(node.annotation)
        if node.value is None:
            yield _at(node, "a constant without a value; give it one, or leave it out.")
            return
        for part in ast.walk(node.value):
            if isinstance(part, ast.Call) and ".".join(_chain(part.func)) not in BUILTINS | CALLED_AT_TOP:
                yield _at(
                    part,
                    "constants at the top level are plain numbers, no calls but of built-ins and jnp.array; compute it "
                    "inside a function.",
                )
                return
        yield from self._expression(node.value)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(name, ast.Name):
                    yield from self._bind(name, name.id, "constant")
                else:
                    yield _at(node, "only plain names may be assigned to at the top level.")

    def _function(self, node: ast.FunctionDef) -> Iterator[str]:
        yield from self._bind(node, node.name, "helper")
        if node.decorator_list:
            yield _at(node, f"{node.name} has a decorator; leave it out, flowrl compiles the function itself.")
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
        if arguments.vararg or arguments.kwarg:
            yield _at(node, f"{node.name} may take named arguments only, no *args or **kwargs.")
        for default in [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)]:
            if not isinstance(default, ast.Constant):
                yield _at(default, f"a default of {node.name} is no plain number. Leave it out.")
            yield from self._expression(default)
        for annotation in [*(a.annotation for a in named), node.returns]:
            if annotation is not None:
                yield from self._annotation(annotation)
        own = [argument.arg for argument in named]
        for statement in node.body:
            own += [n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        yield from self._local_names(node, own)
        self.locals, self.below = frozenset(own), self.usable[node.name]
        del self.kinds[node.name]  # no function calls itself
        for statement in node.body:
            yield from self._statement(statement)
        self.kinds[node.name] = "helper"
        self.locals = self.below = frozenset()

    def _annotation(self, node: ast.expr) -> Iterator[str]:
        """Yield the problems of an annotation. If it is never evaluated, it only has to be a plain type."""
        quoted = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if not quoted and not (self.is_lazy and all(isinstance(part, _PLAIN_TYPE) for part in ast.walk(node))):
            yield from self._expression(node)

    def _local_names(self, node: ast.FunctionDef, own: list[str]) -> Iterator[str]:
        for name in own:
            if "__" in name:
                yield _at(node, f"{name!r} has two underscores in a row; such names belong to Python. Rename it.")
            elif self.kinds.get(name, "helper") not in ("helper", "function") or name in _RESERVED:
                yield _at(node, f"in {node.name}, {name!r} hides something of that name. Rename it.")

    def _statement(self, node: ast.stmt) -> Iterator[str]:
        if _is_text(node):
            return
        if not isinstance(node, _INSIDE):
            what, instead = describe(node)
            yield _at(node, f"{what} is not allowed; {instead}.")
            return
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if target is not None:
                yield from self._target(target)
        if isinstance(node, ast.AnnAssign):
            yield from self._annotation(node.annotation)
        if isinstance(node, ast.AugAssign):
            yield from self._operator(node, node.op, node.value)
        if node.value is not None:
            yield from self._expression(node.value)

    def _target(self, target: ast.expr) -> Iterator[str]:
        if isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                yield from self._target(part)
        elif not isinstance(target, ast.Name):
            yield _at(target, "only plain names may be assigned to; arrays don't change: write x = x.at[i].set(value).")

    def _expression(self, node: ast.expr) -> Iterator[str]:
        """Yield the problems of an expression."""
        if not isinstance(node, _EXPRESSIONS):
            what, instead = describe(node)
            yield _at(node, f"{what} is not allowed; {instead}.")
            return
        if isinstance(node, ast.Constant):
            yield from self._number(node)
        elif isinstance(node, ast.Name):
            yield from self._name(node)
        elif isinstance(node, ast.Attribute):
            yield from self._attribute(node)
            return
        elif isinstance(node, ast.BinOp):
            yield from self._operator(node, node.op, node.right)
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.GeneratorExp | ast.ListComp):
            yield from self._comprehension(node)
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.keyword):
                child = child.value
            if isinstance(child, ast.expr):
                yield from self._expression(child)

    def _number(self, node: ast.Constant) -> Iterator[str]:
        value = node.value
        if value is None or value is Ellipsis or isinstance(value, bool):
            return
        if isinstance(value, int | float):
            if not abs(value) <= MAX_NUMBER:
                shown = str(value) if isinstance(value, float) else f"a number of {len(hex(value)) - 2} hex digits"
                yield _at(node, f"{shown} is too large; the largest number is {MAX_NUMBER:,}.")
        elif isinstance(value, str | bytes):
            yield _at(node, "a text is not allowed here; skill code computes with numbers only.")
        else:
            yield _at(node, f"{value!r} is no number that skill code may use; write a whole or a decimal one.")

    def _name(self, node: ast.Name) -> Iterator[str]:
        if "__" in node.id:
            yield _at(node, f"{node.id!r} is one of Python's own names, which skill code may not use.")
        elif node.id not in self.locals | self.below | self.kinds.keys() | BUILTINS:
            near = nearest_names(node.id, [*sorted(self.locals), *self.kinds, *sorted(BUILTINS)])
            allowed = "its arguments, what stands above it, functions that don't lead back to it, and these built-ins"
            problem = f"the name {node.id!r} is not defined above, or not allowed. {near} A function may use {allowed}"
            yield _at(node, f"{problem}: {', '.join(sorted(BUILTINS))}.")
        elif isinstance(node.ctx, ast.Load) and self.kinds.get(node.id) == "module" and node.id not in self.locals:
            member = "where" if node.id == "jnp" else "Array"
            yield _at(node, f"{node.id} is a module; write what you use of it, as in {node.id}.{member}.")

    def _attribute(self, node: ast.Attribute) -> Iterator[str]:
        name, base = node.attr, node.value
        chain = _chain(node)
        root = chain[0] if chain and chain[0] not in self.locals else ""
        kind = self.kinds.get(root, "")
        if "__" in name or name.startswith("_"):
            yield _at(node, f"'.{name}' is one of Python's own attributes, which skill code may not use.")
        elif kind == "module":
            yield from self._module_attribute(node, chain)
        elif kind == "enum":
            rest = chain[1:]
            if not (_UPPER.fullmatch(rest[0]) and rest[1:] in ([], ["value"])):
                yield _at(node, f"'{'.'.join(chain)}' is not allowed; write {root}.NAME.value, its name in capitals.")
        elif name not in ARRAY_METHODS and name not in self.fields:
            near = nearest_names(name, sorted(self.fields | ARRAY_METHODS))
            what = "is neither a field of the inventory nor an array method that skill code may use"
            yield _at(node, f"'.{name}' {what}. {near}")
        else:
            yield from self._expression(base)

    def _module_attribute(self, node: ast.Attribute, chain: list[str]) -> Iterator[str]:
        path = ["jnp", *chain[2:]] if chain[:2] == ["jax", "numpy"] else chain
        on_the_list = (len(path) == 2 and path[1] in JNP) or (path[1:2] == ["linalg"] and path[2:] in LINALG_PATHS)
        if path == ["jax", "Array"] or (path[0] == "jnp" and on_the_list):
            return
        shown = ".".join(chain)
        if path[0] != "jnp":
            yield _at(node, f"'{shown}' is not allowed; write it with jax.numpy (jnp). jax.Array is a type.")
        else:
            near = nearest_names(path[-1], sorted(JNP))
            yield _at(node, f"'{shown}' is not on the list of jax.numpy functions that may be used. {near}")

    def _operator(self, node: ast.AST, op: ast.operator, right: ast.expr) -> Iterator[str]:
        if type(op) in _LIMITED:
            sign, most = _LIMITED[type(op)]
            number = right.value if isinstance(right, ast.Constant) else None
            if not (isinstance(number, int | float) and abs(number) <= most):
                yield _at(node, f"after {sign} write a plain number of at most {most}.")
        if isinstance(op, ast.Mult | ast.Add | ast.Mod):
            sides = [right, getattr(node, "left", right)]
            if any(isinstance(side, ast.List | ast.Tuple) for side in sides):
                yield _at(node, "lists and tuples are not multiplied or added; write jnp.array([...]).")

    def _call(self, node: ast.Call) -> Iterator[str]:
        if not isinstance(node.func, ast.Name | ast.Attribute):
            yield _at(node, "only functions that have a name may be called.")
            return
        if any(keyword.arg is None for keyword in node.keywords) or any(isinstance(a, ast.Starred) for a in node.args):
            yield _at(node, "write the arguments of a call out, without * or **.")
        if isinstance(node.func, ast.Name) and node.func.id == "range" and not self._is_short(node):
            yield _at(node, f"range takes plain numbers up to {MAX_RANGE}; use jax.numpy on whole arrays.")

    def _comprehension(self, node: ast.GeneratorExp | ast.ListComp) -> Iterator[str]:
        if len(node.generators) > 1:
            yield _at(node, "one 'for' in a comprehension is the most; use jax.numpy on whole arrays.")
        for generator in node.generators:
            if generator.ifs:
                yield _at(node, "no 'if' in a comprehension; use jnp.where.")
            if not self._is_short(generator.iter):
                yield _at(
                    node,
                    "a comprehension runs over a tuple that is written out, or several with zip or enumerate, or "
                    f"range(n) with n up to {MAX_RANGE}; use jax.numpy on whole arrays.",
                )
            yield from self._target(generator.target)
            yield from self._expression(generator.iter)
        yield from self._expression(node.elt)

    def _is_short(self, over: ast.expr) -> bool:
        """Whether an iterable is as short as its text."""
        if isinstance(over, ast.Name):
            return self.kinds.get(over.id) == "constant" and over.id not in self.locals
        if isinstance(over, ast.Call) and isinstance(over.func, ast.Name) and not over.keywords:
            if over.func.id == "range":
                return all(isinstance(a, ast.Constant) and a.value in range(MAX_RANGE + 1) for a in over.args)
            return over.func.id in ("zip", "enumerate") and all(self._is_short(a) for a in over.args)
        return isinstance(over, ast.Tuple | ast.List)


def _kind_of(name: str) -> str:
    if name in ENUMS:
        return "enum"
    return "type" if name in ("Array", "Inventory") else "constant" if name.isupper() else "function"


def _chain(node: ast.expr) -> list[str]:
    """The names of `a.b.c`. Empty for what does not begin with a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def usable_below(tree: ast.Module) -> dict[str, frozenset[str]]:
    """For each top-level function, the others that never use it. Directly or indirectly."""
    uses = _uses(tree)
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    reached = {name: _reached(name, uses) for name in functions}
    return {name: frozenset(n for n in functions if n != name and name not in reached[n]) for name in functions}


def _uses(tree: ast.Module) -> dict[str, set[str]]:
    """The names that each top-level statement mentions. Local names excepted."""
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
