"""Counts how a checkout of flowrl is built: `python tools/house.py [CHECKOUT ...] [--json]`, one column each."""

import argparse
import ast
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median, quantiles

HERE = Path(__file__).resolve().parent.parent
MIN_LINES = 4
"""Shorter files only mark a folder as a package."""
Graph = Mapping[str, set[str]]
Count = int | float
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules_of(checkout: Path) -> dict[str, Path]:
    """The package's files by module name."""
    found: dict[str, Path] = {}
    for path in sorted((checkout / "flowrl").rglob("*.py")):
        parts = path.relative_to(checkout).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def nodes_of(modules: Mapping[str, Path]) -> dict[str, list[ast.AST]]:
    """All nodes of each module's syntax tree, the module itself first."""
    return {name: list(ast.walk(ast.parse(path.read_text()))) for name, path in modules.items()}


def imports_of(nodes: Mapping[str, Sequence[ast.AST]]) -> dict[str, set[str]]:
    """The modules each module imports, inside functions and for type checking too."""
    graph: dict[str, set[str]] = {}
    for name, found in nodes.items():
        graph[name] = set()
        for node in found:
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names} & nodes.keys()
            elif isinstance(node, ast.ImportFrom) and node.module and node.module in nodes:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= (inside & nodes.keys()) or {node.module}
    return graph


def room_of(module: str) -> str:
    """The package of a module; of a module at the root, its own name."""
    return module.split(".")[1] if "." in module else "__init__"


def rooms_of(graph: Graph) -> dict[str, set[str]]:
    """The same imports between packages, each loose module a package of its own."""
    rooms: dict[str, set[str]] = {}
    for module, imported in graph.items():
        rooms.setdefault(room_of(module), set()).update({room_of(other) for other in imported} - {room_of(module)})
    return rooms


def circles_in(graph: Graph) -> list[list[str]]:
    """Strongly connected components of more than one node, largest first."""
    reached = {node: _reach(graph, node) for node in graph}
    found = {frozenset(other for other in reached[node] if node in reached.get(other, ())) for node in graph}
    return sorted((sorted(circle) for circle in found if len(circle) > 1), key=lambda circle: (-len(circle), circle))


def _reach(graph: Graph, start: str) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for other in graph.get(waiting.pop(), ()):
            if other not in reached:
                reached.add(other)
                waiting.append(other)
    return reached


def used_once(nodes: Sequence[ast.AST]) -> int:
    """Number of private functions that their file uses exactly once."""
    uses = Counter(node.id for node in nodes if isinstance(node, ast.Name))
    uses.update(node.attr for node in nodes if isinstance(node, ast.Attribute))
    names = [node.name for node in nodes if isinstance(node, Function)]
    return sum(uses[name] == 1 for name in names if name.startswith("_") and not name.endswith("__"))


def first_sentence(docstring: str) -> str:
    """Up to the first full stop, question mark or blank line."""
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.?!])(?<!e\.g\.)(?<!i\.e\.)\s", paragraph)[0]


def first_sentences(nodes: Iterable[ast.AST]) -> list[str]:
    """First sentences of the docstrings of modules, classes and functions."""
    documented = (node for node in nodes if isinstance(node, ast.Module | ast.ClassDef | Function))
    return [first_sentence(text) for node in documented if (text := ast.get_docstring(node))]


def count(checkout: Path) -> dict[str, Count]:
    """The rows of the table for one checkout."""
    modules = modules_of(checkout)
    by_module = nodes_of(modules)
    nodes = [node for found in by_module.values() for node in found]
    graph = imports_of(by_module)
    circles = circles_in(rooms_of(graph))
    loose = [path for path in (checkout / "flowrl").glob("*.py") if not path.stem.startswith("__")]
    sizes = [size for path in modules.values() if (size := path.read_text().count("\n")) >= MIN_LINES]
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for node in nodes if isinstance(node, Function)]
    sentences = first_sentences(nodes)
    words = [len(sentence.split()) for sentence in sentences]
    return {
        "loose modules": len(loose),
        "package circles": len(circles),
        "packages in circles": sum(map(len, circles)),
        "file circles": len(circles_in(graph)),
        "files": len(sizes),
        "lines": sum(sizes),
        "functions": len(lengths),
        "function lines, median": median(lengths),
        "function lines, p90": _p90(lengths),
        "function lines, max": max(lengths),
        "private functions used once, %": round(100 * sum(map(used_once, by_module.values())) / len(lengths), 1),
        "docstring's first sentence: words, median": median(words),
        "docstring's first sentence: words, p90": _p90(words),
        "docstring's first sentence: commas, mean": round(mean(sentence.count(",") for sentence in sentences), 2),
        "README lines": (checkout / "README.md").read_text().count("\n"),
    }


def _p90(values: Sequence[int]) -> int:
    return round(quantiles(values, n=10, method="inclusive")[-1])


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or checkout.name


def main() -> None:
    """Prints a Markdown table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[HERE])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    columns = {_commit(checkout): count(checkout) for checkout in arguments.checkouts}
    if arguments.json:
        print(json.dumps(columns, indent=2))
        return
    print("| " + " | ".join(["", *columns]) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for row in next(iter(columns.values())):
        print("| " + " | ".join([row, *(f"{column[row]:,g}" for column in columns.values())]) + " |")


if __name__ == "__main__":
    main()
