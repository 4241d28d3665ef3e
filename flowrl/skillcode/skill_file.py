"""The text of skill files from outside the package: read, taken apart and checked, never run."""

import ast
import warnings
from pathlib import Path

from flowrl.errors import ModuleError, UsageError
from flowrl.fluents import Vocabulary
from flowrl.skillcode.inputs import FULL_GAME_ONLY
from flowrl.skillcode.source import SkillSource, check_arguments, compose_module, parse

FUNCTIONS = ("is_done", "reward")
_LARGEST = 16_000_000


def read_text(path: Path) -> str:
    """Returns the text of a file that somebody named.

    Raises:
        UsageError: there is none, or it is no text of a sane size.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is larger than {_LARGEST:,} bytes: it can hold no skills. Give another file.")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}. Write one: flowrl kb new 'My Skill' --out {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {path} as text: {error}. Give another file.") from error


def parse_text(text: str, file: str) -> ast.Module:
    """Returns the syntax tree.

    Raises:
        ModuleError: the text is no Python, or nested so deep that Python gives up; names file and line.
    """
    try:
        return parse(text, file)
    except (RecursionError, MemoryError) as error:
        raise ModuleError(f"{file} is nested too deep to be read.") from error


def functions_of(tree: ast.Module) -> list[ast.FunctionDef]:
    """Returns the functions that a file defines at its top, in order."""
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def code_problems(text: str, file: str, vocabulary: Vocabulary) -> list[str]:
    """Returns why a text is no skill file that a run could use, a sentence each; none: it is one."""
    try:
        functions = functions_of(parse_text(text, file))
    except ModuleError as error:
        return [str(error)]
    found: list[str] = []
    for name in FUNCTIONS:
        named = [node for node in functions if node.name == name]
        if len(named) > 1:
            lines = " and ".join(str(node.lineno) for node in named)
            found.append(f"{file}: {name} is defined more than once, at lines {lines}. Keep one.")
        elif not named:
            found.append(f"{file} lacks the function {name}. Add one: def {name}(inventory, n): ...")
        else:
            found += _argument_problems(named[0], file, vocabulary)
    return found or _composition_problems(text, file)


def _argument_problems(node: ast.FunctionDef, file: str, vocabulary: Vocabulary) -> list[str]:
    try:
        check_arguments(node, file)
    except ModuleError as error:
        return [str(error)]
    asked = {argument.arg for argument in node.args.args + node.args.kwonlyargs}
    if vocabulary.floors == 1 and (absent := asked & FULL_GAME_ONLY):
        return [f"{file}: {node.name} asks for {min(absent)!r}, which only full Craftax has. Leave it out."]
    return []


def _composition_problems(text: str, file: str) -> list[str]:
    """Returns why the text cannot stand in one module with the other skills of a plan."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sources = [SkillSource("one", text), SkillSource("two", text)]
            compile(compose_module(sources, [0, 1], [0, 1]), file, "exec", dont_inherit=True)
    except SyntaxError as error:
        return [f"{file}: {error.msg}, once it stands in one module with the other skills of a plan. Leave that out."]
    except (ValueError, RecursionError, MemoryError):
        return [f"{file} cannot be put into one module with the other skills of a plan; write it more plainly."]
    return []
