"""Skill files as text that is checked but never run."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowrl.errors import ModuleError, UsageError
from flowrl.skillcode.source import SkillSource, argument_names, argument_problems, compose_module, parse

FUNCTIONS = ("is_done", "reward")
_MAX_BYTES = 16_000_000


@dataclass(frozen=True)
class SkillFile:
    """What the text of a skill file says.

    Attributes:
        name: what messages call it.
        tree: its syntax tree, empty if it is no Python.
        functions: `is_done` and `reward`, each if it is defined once.
        parse_problems, function_problems, argument_problems: what is wrong, a sentence each.
    """

    name: str
    text: str
    tree: ast.Module
    functions: Mapping[str, ast.FunctionDef]
    parse_problems: tuple[str, ...] = ()
    function_problems: tuple[str, ...] = ()
    argument_problems: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the text is no skill file. Empty if it is one."""
        return self.parse_problems + self.function_problems + self.argument_problems

    @property
    def arguments(self) -> dict[str, tuple[str, ...]]:
        """The inputs that each function takes."""
        return {name: argument_names(node) for name, node in self.functions.items()}

    def problems_in_a_plan(self) -> tuple[str, ...]:
        """Why no run could use the file. It is none, or cannot stand in one module with other skills."""
        if self.problems:
            return self.problems
        try:
            sources = [SkillSource("one", self.text), SkillSource("two", self.text)]
            parse(compose_module(sources, [0, 1], [0, 1]), self.name)
        except (ModuleError, ValueError, RecursionError, MemoryError):
            return (f"{self.name} cannot stand in one module with the other skills of a plan; write it more plainly.",)
        return ()


def read_skill_file(text: str, name: str, has_floors: bool = True) -> SkillFile:
    """Read the text of a skill file. What is wrong with it is part of the value.

    Args:
        name: what messages call it.
        has_floors: the game is full Craftax, which has inputs that others lack.
    """
    try:
        tree = parse(text, name)
    except ModuleError as error:
        return SkillFile(name, text, ast.Module([], []), {}, parse_problems=(str(error),))
    found, wrong = {}, []
    for function in FUNCTIONS:
        nodes = [node for node in functions_of(tree) if node.name == function]
        if len(nodes) == 1:
            found[function] = nodes[0]
        elif nodes:
            lines = " and ".join(str(node.lineno) for node in nodes)
            wrong.append(f"{name}: {function} is defined more than once, at lines {lines}. Keep one.")
        else:
            wrong.append(f"{name} lacks the function {function}. Add one: def {function}(inventory, n): ...")
    unbound = [problem for node in found.values() for problem in argument_problems(node, name, has_floors)]
    return SkillFile(name, text, tree, found, function_problems=tuple(wrong), argument_problems=tuple(unbound))


def functions_of(tree: ast.Module) -> list[ast.FunctionDef]:
    """The functions that a file defines at its top."""
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def read_user_file(path: Path) -> str:
    """The text of a user's file.

    Raises:
        UsageError: there is none, or it is no text of a sane size.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path} is larger than {_MAX_BYTES:,} bytes: it can hold no skills. Give another file.")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}. Write one: flowrl kb new 'My Skill' --out {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {path} as text: {error}. Give another file.") from error
