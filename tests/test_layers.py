"""The structure of the package: which layer may import which, who may import jax, who may print, how big things are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "flowrl"
FILES = sorted(PACKAGE.rglob("*.py"))

# Words, then parts, then work, then drive, then face: a module imports its own layer and those before it. Longer
# prefixes win.
LAYERS = {
    "flowrl": 0,
    "flowrl.errors": 0,
    "flowrl.config": 0,
    "flowrl.files": 0,
    "flowrl.fluents": 0,
    "flowrl.stats": 0,
    "flowrl.skill": 0,
    "flowrl.weights": 0,
    "flowrl.platform": 0,
    "flowrl.parallel.paths": 0,
    "flowrl.library": 0,
    "flowrl.analysis": 1,
    "flowrl.asking": 3,
    "flowrl.analysis.job": 3,
    "flowrl.env": 1,
    "flowrl.verify": 1,
    "flowrl.vouch": 1,
    "flowrl.llm": 1,
    "flowrl.models": 1,
    "flowrl.planning": 1,
    "flowrl.knowledge": 1,
    "flowrl.learning": 2,
    "flowrl.evaluate": 2,
    "flowrl.ppo_flow": 2,
    "flowrl.parallel": 2,
    "flowrl.worker": 2,
    "flowrl.bench": 2,
    "flowrl.bench.parallel": 3,
    "flowrl.bench.verification": 3,
    "flowrl.bench.proposals": 3,
    "flowrl.bench.planted": 3,
    "flowrl.compose": 3,
    "flowrl.controller": 3,
    "flowrl.drive": 3,
    "flowrl.launch": 3,
    "flowrl.merging": 3,
    "flowrl.playing": 3,
    "flowrl.proposer": 3,
    "flowrl.reports": 3,
    "flowrl.trials": 3,
    "flowrl.llm.flow": 3,
    "flowrl.llm.writer": 3,
    "flowrl.llm.loop": 3,
    "flowrl.llm.review": 3,
    "flowrl.cli_grow": 4,
    "flowrl.cli_options": 4,
    "flowrl.llm.standing": 2,
    "flowrl.outlook": 3,
    "flowrl.evaluation": 3,
    "flowrl.display": 4,
    "flowrl.tables": 4,
    "flowrl.doctor": 4,
    "flowrl.kb_cli": 4,
    "flowrl.cli": 4,
    "flowrl.cli_cost": 4,
    "flowrl.cli_llm": 4,
    "flowrl.cli_runs": 4,
    "flowrl.cli_skills": 4,
    "flowrl.cli_words": 4,
    "flowrl.__main__": 4,
}
MAY_IMPORT_JAX = (
    "flowrl.env",
    "flowrl.models",
    "flowrl.learning",
    "flowrl.evaluate",
    "flowrl.knowledge.",
    "flowrl.bench",
    *(f"flowrl.verify.{name}" for name in ("artefact", "judging", "primitives", "record", "tracing")),
)
JAX_FREE = (
    "flowrl.env.skill_names",
    "flowrl.env.module_source",
    "flowrl.verify.artefact_cache",
    "flowrl.knowledge",
    *(f"flowrl.knowledge.{name}" for name in ("affine", "importer", "published", "skill_text", "template")),
    *(f"flowrl.knowledge.{name}" for name in ("user", "validate")),
)
MAY_PRINT = ("flowrl.cli", "flowrl.kb_cli", "flowrl.display", "flowrl.bench", "flowrl.doctor", "flowrl.__main__")
JAX = {"jax", "jaxlib", "flax", "optax", "craftax", "jaxtyping"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(name: str) -> int:
    best = max((prefix for prefix in LAYERS if name == prefix or name.startswith(prefix + ".")), key=len)
    return LAYERS[best]


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


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_arrows_point_one_way(path: Path) -> None:
    name = module_name(path)
    if name == "flowrl.learning.evaluation_run":
        return  # a process of its own: it reads the request that `flowrl.evaluation` writes
    for imported in imports(path):
        if imported.startswith("flowrl"):
            assert layer_of(imported) <= layer_of(name), f"{name} imports {imported} of a later layer"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_workers_import_jax(path: Path) -> None:
    name = module_name(path)
    allowed = name.startswith(MAY_IMPORT_JAX) and name not in JAX_FREE
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
            # Trusted task modules run in one place, from bytes that were checked (`load_module`).
            runs_modules = name == "flowrl.env.code_parser" and node.func.id == "exec"
            assert runs_modules or node.func.id not in {"eval", "exec", "breakpoint"}, f"{name}:{node.lineno}"
            assert node.func.id != "print" or name.startswith(MAY_PRINT), f"{name}:{node.lineno} prints"
    assert not {i.split(".")[0] for i in imports(path)} & {"pickle", "dill", "cloudpickle"}


def test_one_place_runs_python_code() -> None:
    nodes = [node for path in FILES for node in ast.walk(ast.parse(path.read_text()))]
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    assert sum(isinstance(func, ast.Name) and func.id == "exec" for func in calls) == 1


def test_every_public_definition_has_a_docstring() -> None:
    missing = []
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                missing.append(f"{module_name(path)}.{getattr(node, 'name', node)}")
    assert not missing


def test_readme_tree_names_every_file() -> None:
    readme = (ROOT / "README.md").read_text()
    listed = set(re.findall(r"^[│├└─\s]*([\w./]+\.py)\b", readme, flags=re.MULTILINE))
    exempt = {"__init__.py", "__main__.py"}
    own = {path.name for path in FILES if path.parent.parent.name != "knowledge"} - exempt
    assert own <= listed, f"the README's tree lacks {sorted(own - listed)}"
    assert listed <= {path.name for path in FILES}, (
        f"the README's tree names {sorted(listed - {p.name for p in FILES})}"
    )


def test_nothing_names_a_registry_or_this_machine() -> None:
    hosts = re.compile("|".join(["py" + r"pi\.org", "python" + "hosted", "npm" + r"js\.org", r"deb\." + "debian"]))
    for path in [*ROOT.glob("lock/*"), *ROOT.glob("*.md"), *ROOT.glob("docs/*"), *FILES, ROOT / "Makefile"]:
        assert not hosts.search(path.read_text()), path
