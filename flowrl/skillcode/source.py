"""Task modules and skill code as text. Checked and rewritten on the syntax tree, never run."""

import ast
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from flowrl.errors import ModuleError
from flowrl.paths import slug
from flowrl.schema.plan import Plan
from flowrl.schema.run import TaskSpec
from flowrl.schema.skill import Skill
from flowrl.skillcode.inputs import input_problem

MEMBERS = ("is_done", "reward", "network_number")
_TASK_NAME = re.compile(r"task_(\d+)_(is_done|reward|network_number)")
_HEADER_NAMES = ("GLOBAL_TO_LOCAL", "LOCAL_TO_GLOBAL")


@dataclass(frozen=True)
class SkillSource:
    """The text of one skill and its functions' names."""

    prefix: str
    text: str
    is_done: str = "is_done"
    reward: str = "reward"


def without_mark(text: str) -> str:
    """The text without a byte order mark."""
    return text.removeprefix("\ufeff")


def parse(text: str, file: str) -> ast.Module:
    """The syntax tree of a text that compiles.

    Raises:
        ModuleError: the text is no Python, or nested so deep that Python gives up; names file and line.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(without_mark(text))
            compile(tree, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{file} does not parse{f' at line {line}' if line else ''}"
        raise ModuleError(f"{where}: {getattr(error, 'msg', error)}. Write plain Python, no fences.") from error
    except (RecursionError, MemoryError) as error:
        raise ModuleError(f"{file} is nested too deep to be read. Give parts of it names of their own.") from error
    return tree


def _bindings(tree: ast.Module) -> list[tuple[str, ast.stmt]]:
    """The names that a module defines and their statements."""
    found: list[tuple[str, ast.stmt]] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append((node.name, node))
        elif isinstance(node, ast.Assign):
            found.extend((t.id, node) for t in node.targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.append((node.target.id, node))
    return found


def argument_problems(node: ast.FunctionDef, file: str, has_floors: bool = True) -> list[str]:
    """Why flowrl could not call a skill function. It gives the inputs by name."""
    arguments, where = node.args, f"{file}, line {node.lineno}: {node.name}"
    if arguments.vararg or arguments.kwarg or arguments.posonlyargs:
        return [f"{where} may take named arguments only, no *args, **kwargs or '/'. Write out the inputs that it uses."]
    problems = (input_problem(name, where, has_floors) for name in argument_names(node))
    return [problem for problem in problems if problem is not None]


def argument_names(node: ast.FunctionDef) -> tuple[str, ...]:
    """The names of a function's arguments."""
    return tuple(argument.arg for argument in node.args.args + node.args.kwonlyargs)


def defaults_of(node: ast.FunctionDef) -> dict[str, ast.expr]:
    """The defaults of a function's arguments by name."""
    arguments = node.args
    plain = arguments.posonlyargs + arguments.args
    named = plain[len(plain) - len(arguments.defaults) :] + arguments.kwonlyargs
    defaults = [*arguments.defaults, *arguments.kw_defaults]
    return {each.arg: default for each, default in zip(named, defaults, strict=True) if default is not None}


def literal_number(node: ast.stmt) -> int | None:
    """The whole number that a function without arguments returns as a literal. None if it is no such function."""
    if not isinstance(node, ast.FunctionDef) or ast.unparse(node.args):
        return None
    match [statement for statement in node.body if not _is_text(statement)]:
        case [ast.Return(value=ast.Constant(value=int() as value))] if value >= 0 and not isinstance(value, bool):
            return value
    return None


def without_statement(text: str, tree: ast.Module, node: ast.stmt) -> str | None:
    """The text without a top-level statement. None if other statements share its lines."""
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    rows = range(first, (node.end_lineno or node.lineno) + 1)
    if any(other is not node and (other.lineno in rows or other.end_lineno in rows) for other in tree.body):
        return None
    lines = text.split("\n")
    before, after = lines[: rows[0] - 1], lines[rows[-1] :]
    while after and not after[0].strip() and (not before or not before[-1].strip()):
        after.pop(0)
    return "\n".join(before + after)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def network_numbers(text: str, file: str) -> tuple[int, ...]:
    """Read the network number of each task from a task module's text.

    Raises:
        ModuleError: it does not parse, has no task, a gap, a duplicate, an incomplete triple or an unknown argument, or
            a network number is no literal; names file and function.
    """
    bound: dict[str, ast.stmt] = {}
    for name, node in _bindings(parse(text, file)):
        if _TASK_NAME.fullmatch(name):
            if name in bound:
                raise ModuleError(f"{file}: {name} is defined twice, at lines {bound[name].lineno} and {node.lineno}.")
            bound[name] = node
            if isinstance(node, ast.FunctionDef) and not name.endswith("network_number"):
                for problem in argument_problems(node, file):
                    raise ModuleError(problem)
    numbers = []
    for name in (f"task_{i}_network_number" for i in range(count_tasks(bound, file))):
        if (number := literal_number(bound[name])) is None:
            must = "must be a function without arguments that returns one whole number, as a literal"
            raise ModuleError(f"{file}: {name} {must}.")
        numbers.append(number)
    return tuple(numbers)


def count_tasks(names: Iterable[str], file: str) -> int:
    """The number of tasks by their names.

    Raises:
        ModuleError: there is none, a number is left out, or a triple is incomplete.
    """
    found = {(int(m[1]), m[2]) for m in map(_TASK_NAME.fullmatch, names) if m}
    if not found:
        raise ModuleError(f"{file} has no task: it needs task_0_is_done, task_0_reward and task_0_network_number.")
    count = max(i for i, _ in found) + 1
    for i in range(count):
        missing = [f"task_{i}_{member}" for member in MEMBERS if (i, member) not in found]
        if len(missing) == len(MEMBERS):
            raise ModuleError(f"{file} has {count} tasks but no task {i}: the numbers must run from 0 without a gap.")
        if missing:
            raise ModuleError(f"{file} lacks {' and '.join(missing)}.")
    return count


def default_amount(source: SkillSource) -> int | None:
    """The amount that a skill's functions name as the default of `n`. None if none does with a literal."""
    functions = dict(_bindings(parse(source.text, source.prefix)))
    for name in (source.is_done, source.reward):
        node = functions.get(name)
        default = defaults_of(node).get("n") if isinstance(node, ast.FunctionDef) else None
        value = default.value if isinstance(default, ast.Constant) else None
        if type(value) is int and value >= 0:
            return value
    return None


class _Prefixer(ast.NodeTransformer):
    """Prefixes the module's own names where visible."""

    def __init__(self, prefix: str, names: set[str]):
        self.prefix, self.names = prefix, names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.prefix + node.id, node.ctx) if node.id in self.names else node

    def _visit_scope(self, node: ast.FunctionDef | ast.Lambda) -> ast.AST:
        outer = self.names
        arguments = node.args
        own = {a.arg for a in arguments.posonlyargs + arguments.args + arguments.kwonlyargs}
        own |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        self.names = outer - own
        self.generic_visit(node)
        self.names = outer
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if node.name in self.names and node.col_offset == 0:
            node.name = self.prefix + node.name
        return self._visit_scope(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._visit_scope(node)


def _prefixed(source: SkillSource) -> str:
    tree = parse(source.text, source.prefix)
    names = {name for name, _ in _bindings(tree)}
    tree.body = [node for i, node in enumerate(tree.body) if not (_is_future(node) or (i == 0 and _is_text(node)))]
    return ast.unparse(ast.fix_missing_locations(_Prefixer(f"{source.prefix}_", names).visit(tree)))


def compose_module(sources: Sequence[SkillSource], task_sources: Sequence[int], numbers: Sequence[int]) -> str:
    """The text of a task module. Each distinct skill's code once, then a triple for each task.

    Args:
        task_sources: for each task, the index of its skill in ``sources``.
        numbers: for each task, the network number it returns.
    """
    parts = ['"""A run\'s tasks, composed from the skills of its plan; each skill\'s code stands here once."""']
    statements = [node for source in sources for node in parse(source.text, source.prefix).body]
    futures = {alias.name for node in statements if _is_future(node) for alias in node.names}
    parts += [f"from __future__ import {name}" for name in sorted(futures)]
    parts += [_prefixed(source) for source in sources]
    for i, (which, number) in enumerate(zip(task_sources, numbers, strict=True)):
        source = sources[which]
        parts.append(
            f"task_{i}_is_done = {source.prefix}_{source.is_done}\n"
            f"task_{i}_reward = {source.prefix}_{source.reward}\n\n\n"
            f"def task_{i}_network_number():\n    return {number}"
        )
    return "\n\n\n".join(parts) + "\n"


def _renamed(text: str, tree: ast.Module, renames: Mapping[str, str]) -> str:
    """Rename in place and keep the author's layout."""
    lines = [line.encode() for line in text.split("\n")]
    spots: list[tuple[int, int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in renames:
            spots.append((node.lineno - 1, node.col_offset, node.id))
        elif isinstance(node, ast.FunctionDef) and node.name in renames:
            line = lines[node.lineno - 1]
            spots.append((node.lineno - 1, line.index(node.name.encode(), node.col_offset + 3), node.name))
    for row, column, name in sorted(spots, reverse=True):
        line = lines[row]
        lines[row] = line[:column] + renames[name].encode() + line[column + len(name.encode()) :]
    return "\n".join(line.decode() for line in lines)


def _is_future(node: ast.stmt) -> TypeGuard[ast.ImportFrom]:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _first_free_line(tree: ast.Module) -> int:
    end = 0
    for node in tree.body:
        if not (_is_text(node) or _is_future(node)):
            break
        end = node.end_lineno or node.lineno
    return end


def remap_network_numbers(
    code: str, global_to_local: Mapping[int, int], local_to_global: Mapping[int, int], file: str
) -> str:
    """Make the network numbers of a module local.

    The two maps go to the top; the author's `task_i_network_number` becomes `_original_task_i_network_number`; the
    functions that the trainer calls come last, so that nothing overrides them.

    Raises:
        ModuleError: the module is unusable, is remapped already, or names an expert that the maps lack.
    """
    code = without_mark(code)
    tree = parse(code, file)
    taken = {name for name, _ in _bindings(tree)}
    if taken & set(_HEADER_NAMES):
        raise ModuleError(f"{file} defines {' and '.join(sorted(taken & set(_HEADER_NAMES)))}: it is remapped already.")
    numbers = network_numbers(code, file)
    for i, number in enumerate(numbers):
        if number not in global_to_local:
            known = ", ".join(map(str, sorted(global_to_local)))
            raise ModuleError(f"{file}: task_{i}_network_number returns expert {number}; this run has {known}.")
    names = [f"task_{i}_network_number" for i in range(len(numbers))]
    lines = _renamed(code, tree, {name: f"_original_{name}" for name in names}).split("\n")
    at = _first_free_line(tree)
    header = [
        "# The run's own numbering of experts; the functions that use it stand at the end.",
        f"GLOBAL_TO_LOCAL = {dict(sorted(global_to_local.items()))!r}",
        f"LOCAL_TO_GLOBAL = {dict(sorted(local_to_global.items()))!r}",
        "",
    ]
    text = "\n".join(lines[:at] + header + lines[at:]).rstrip("\n")
    functions = [f"def {name}():\n    return GLOBAL_TO_LOCAL[_original_{name}()]" for name in names]
    return "\n\n\n".join([text, *functions]) + "\n"


def source_of(skill: Skill) -> SkillSource:
    """The functions that belong to a skill. Those of a task module's last task, or the only ones."""
    prefix = slug(skill.name).lower()
    if not skill.is_module:
        return SkillSource(prefix, skill.code)
    last = len(network_numbers(skill.code, skill.name)) - 1
    return SkillSource(prefix, skill.code, f"task_{last}_is_done", f"task_{last}_reward")


def compose_plan(plan: Plan, skills: Mapping[str, Skill], experts: Mapping[str, int]) -> str:
    """The task module of a plan with global experts. What pre-empts it follows its own tasks."""
    players = [skill for skill, _ in plan.players]
    names = list(dict.fromkeys(players))
    numbers = [*(experts[step.skill] for step in plan.steps), *(each.expert for each in plan.interrupts)]
    return compose_module([source_of(skills[name]) for name in names], [names.index(name) for name in players], numbers)


def tasks_of(plan: Plan, skills: Mapping[str, Skill], own: str) -> list[TaskSpec]:
    """The tasks of a plan. The trained skill draws its amount from its whole range."""
    tasks = []
    for i, step in enumerate(plan.steps):
        spec = skills[step.skill].spec
        is_own = i == len(plan.steps) - 1 and step.skill == own
        low, high = spec.n_range if is_own and spec.n_range else (step.n, step.n)
        if (fixed := default_amount(source_of(skills[step.skill]))) is not None:
            low = high = fixed  # workers read it from the signature too
        tasks.append(TaskSpec(skill=step.skill, low=low, high=high, item=spec.item, seeks=spec.seeks))
    return tasks
