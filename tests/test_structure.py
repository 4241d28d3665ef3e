"""The structure of the package: package order, no circles, who may import jax or print, how big things are."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import GAMES, LONGEST
from tools.house import circles_in, count, imports_of, modules_of, nodes_of, room_of, rooms_of
from tools.tree import PAGE, folders_of, with_lists

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "flowrl"
FILES = sorted(PACKAGE.rglob("*.py"))

GROUND = ("errors", "config", "files", "fluents", "jax_runtime", "paths", "stats", "userdirs", "weights")
"""Modules at the root: they import one another and no package."""
ENTRY_POINTS = ("__init__", "__main__", "ppo_flow")
"""Modules at the root that only start something; no package imports them."""
PACKAGES = (
    "schema",
    "planning",
    "skillcode",
    "models",
    "env",
    "knowledge",
    "verify",
    "rollout",
    "library",
    "jobs",
    "evaluation",
    "training",
    "analysis",
    "parallel",
    "growing",
    "llm",
    "cli",
)
"""In order: a package imports those before it, and the ground."""
MAY_IMPORT_JAX = (
    "flowrl.models.",
    "flowrl.env.",
    "flowrl.knowledge.classic.",
    "flowrl.knowledge.craftax.",
    "flowrl.knowledge.tiny.",
    "flowrl.rollout.",
    "flowrl.training.",
    "flowrl.skillcode.artefact",
    "flowrl.skillcode.functions",
    "flowrl.verify.behaviour.judge",
    "flowrl.verify.behaviour.record_worker",
    "flowrl.verify.tracing",
    "flowrl.evaluation.compare",
    "flowrl.evaluation.play",
    "flowrl.evaluation.summary",
    "flowrl.analysis.ablation",
    "flowrl.analysis.analyse",
    "flowrl.analysis.probing",
    "flowrl.analysis.recorder",
    "flowrl.analysis.scripted_play",
)
"""Whole folders end in a dot; single modules are of packages that have a control half too."""
LIMITS = {
    "loose modules": 10,
    "package circles": 0,
    "README lines": 200,
    "docstring's first sentence: words, median": 8,
    "docstring's first sentence: words, p90": 12,
    "docstring's first sentence: commas, mean": 0.25,
}
"""The most that `make house` may count."""
MAY_PRINT = ("flowrl.cli",)
RUNS_CODE = {"flowrl.env.code_parser", "flowrl.verify.tracing"}
"""Trusted task modules, from bytes that were checked; a skill's text in the sandbox's first child."""
JAX = {"jax", "jaxlib", "flax", "optax", "craftax", "jaxtyping"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


MODULES = modules_of(ROOT)
ARROWS = imports_of(nodes_of(MODULES))


def test_every_room_has_its_place() -> None:
    rooms = {room_of(name) for name in MODULES if name != "flowrl"}
    assert rooms == {*GROUND, *ENTRY_POINTS, *PACKAGES} - {"__init__"}
    assert len(list(PACKAGE.glob("*.py"))) <= 12


def test_packages_form_no_circle_and_keep_their_order() -> None:
    rank = {room: i for i, room in enumerate(PACKAGES, start=1)} | dict.fromkeys(GROUND, 0)
    for name, imported in ARROWS.items():
        room = room_of(name)
        if room in ENTRY_POINTS:
            continue
        others = {room_of(other) for other in imported if other != "flowrl"} - {room}
        climbs = {other for other in others if rank.get(other, 99) > rank[room]}
        assert not climbs, f"{name} imports {climbs}, which come after {room}"
    assert circles_in(rooms_of(ARROWS)) == []


def test_files_form_no_circle() -> None:
    assert circles_in(ARROWS) == []


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_workers_import_jax(path: Path) -> None:
    name = module_name(path)
    folders = tuple(room for room in MAY_IMPORT_JAX if room.endswith("."))
    allowed = name in MAY_IMPORT_JAX or name.startswith(folders)
    used = {imported.split(".")[0] for imported in imports(path, top_level_only=True)} & JAX
    assert allowed or not used, f"{name} imports {used} at the top"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 420, f"{path} has {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 70, f"{path}:{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_print_no_pickle_no_eval(path: Path) -> None:
    name = module_name(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            runs_modules = name in RUNS_CODE and node.func.id == "exec"
            assert runs_modules or node.func.id not in {"eval", "exec", "breakpoint"}, f"{name}:{node.lineno}"
            assert node.func.id != "print" or name.startswith(MAY_PRINT), f"{name}:{node.lineno} prints"
    assert not {i.split(".")[0] for i in imports(path)} & {"pickle", "dill", "cloudpickle"}


def test_two_places_run_python_code() -> None:
    """One call each, and none by way of a module loader."""
    for path in FILES:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        run = sum(isinstance(func, ast.Name) and func.id == "exec" for func in calls)
        assert run == (module_name(path) in RUNS_CODE), path
        assert not any(isinstance(func, ast.Attribute) and func.attr == "exec_module" for func in calls), path


def test_every_public_definition_has_a_docstring() -> None:
    missing = []
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                missing.append(f"{module_name(path)}.{getattr(node, 'name', node)}")
    assert not missing


def test_no_test_file_imports_another() -> None:
    """What two of them need is in tests/support, which holds no tests."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        others = {name for name in imports(path) if name.split(".")[-1].startswith("test_") and "tests" in name}
        assert not others, f"{path} imports {others}"
    for path in (ROOT / "tests" / "support").rglob("*.py"):
        functions = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        assert not path.name.startswith("test_") and not any(name.startswith("test_") for name in functions), path


def test_files_that_the_suite_starts_first_exist() -> None:
    assert all((ROOT / "tests" / file).exists() for file in (*LONGEST, *GAMES))


def test_the_page_on_structure_is_what_the_files_say() -> None:
    """Else: `make structure`."""
    page = PAGE.read_text()
    assert with_lists(page) == page
    assert folders_of(page) == ["flowrl", *(f"flowrl/{room}" for room in PACKAGES), "benchmarks", "tools"]


def test_the_house_stays_as_small_as_it_is() -> None:
    counted = count(ROOT)
    assert {row: counted[row] for row, most in LIMITS.items() if counted[row] > most} == {}


def test_nothing_names_a_registry_or_this_machine() -> None:
    hosts = re.compile("|".join(["py" + r"pi\.org", "python" + "hosted", "npm" + r"js\.org", r"deb\." + "debian"]))
    for path in [*ROOT.glob("lock/*"), *ROOT.glob("*.md"), *ROOT.glob("docs/*"), *FILES, ROOT / "Makefile"]:
        assert not hosts.search(path.read_text()), path
