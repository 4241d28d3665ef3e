"""What the pages say works: commands parse, examples print what is shown, code blocks load, files and links exist."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from flowrl.cli.main import app
from flowrl.config import build_config
from flowrl.env.code_parser import bind_tasks, load_module
from flowrl.skillcode.inputs import SKILL_INPUTS
from tools.picture import PICTURE, picture

ROOT = Path(__file__).parent.parent
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
TODAY = "\n".join(text for name, text in PAGES.items() if name != "docs/LOG.md")
"""All pages but the log, which keeps the names of its day."""
BLOCKS = "\n".join(re.findall(r"^```\n(.*?)^```$", TODAY, flags=re.DOTALL | re.MULTILINE))
LINES = re.findall(r"`(flowrl [^`\n]+)`", TODAY) + re.findall(r"^(?:\$ )?(flowrl [a-z].*)$", BLOCKS, flags=re.MULTILINE)
EXAMPLES = re.findall(r"^```\n\$ flowrl (.*?)\n(.*?)\n```$", TODAY, flags=re.DOTALL | re.MULTILINE)


def _python_block(start: str) -> str:
    return next(text for text in re.findall(r"```python\n(.*?)```", TODAY, flags=re.DOTALL) if start in text)


@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_commands_of_the_pages_exist_with_their_options(line: str) -> None:
    _, *arguments = shlex.split(line, comments=True)
    command: Any = typer.main.get_command(app)
    names = []
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        names.append(arguments.pop(0))
        command = command.commands[names[-1]]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {argument for argument in arguments if argument.startswith("-")} <= known
    assert CliRunner().invoke(app, [*names, "--help"]).exit_code == 0


@pytest.mark.parametrize(("command", "printed"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_commands_print_what_the_pages_show(command: str, printed: str, tmp_path: Path) -> None:
    """In an empty folder, blanks at the ends of lines aside."""
    line = [sys.executable, "-m", "flowrl", *shlex.split(command)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
    found = [row.rstrip() for row in (done.stdout + done.stderr).strip().splitlines()]
    assert found == printed.splitlines()


def test_the_pages_have_examples_of_plans() -> None:
    assert len(EXAMPLES) >= 2


def test_the_skill_of_the_pages_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "return_to_table.py"
    file.write_text(_python_block("SPEC = "))
    line = [sys.executable, "-m", "flowrl", "kb", "check", str(file), "--env", "Tiny-Grid-v1"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_options_of_the_pages_exist() -> None:
    settings = re.findall(r"--set ([\w.]+=[\w.-]+)", TODAY)
    assert len(settings) >= 4
    build_config(settings=settings)


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`((?:env|gate|model|ppo)\.[a-z_]\w*)`", TODAY))))
def test_option_names_of_the_pages_exist(option: str) -> None:
    part, name = option.split(".")
    assert name in type(getattr(build_config(), part)).model_fields


def test_the_module_of_the_pages_loads(tmp_path: Path) -> None:
    file = tmp_path / "wood_then_drink.py"
    file.write_text(_python_block("wood_then_drink.py"))
    tasks = bind_tasks(load_module(file))
    assert tasks.expert_of_task == (0, 3) and tasks.default_amounts == (1, None)


def test_the_pages_list_every_skill_input() -> None:
    listed = re.search(r"Arguments are bound by name, any of: (.*?)\. What", TODAY, flags=re.DOTALL)
    assert listed is not None and set(re.findall(r"`(\w+)`", listed[1])) == set(SKILL_INPUTS)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([\w-]+)`", TODAY))))
def test_make_targets_of_the_pages_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_the_readme_names_the_two_commands() -> None:
    assert {"demo", "test"} <= set(re.findall(r"`make ([\w-]+)`", PAGES["README.md"]))


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", TODAY))))
def test_modules_that_the_pages_run_exist(module: str) -> None:
    assert importlib.util.find_spec(module) is not None


FILES = re.findall(r"`(?:\S*python )?((?:flowrl|benchmarks|docs|examples|lock|tests|tools)/[^`\s]*)", TODAY)


@pytest.mark.parametrize("file", sorted(set(FILES)))
def test_files_that_the_pages_name_exist(file: str) -> None:
    assert any(ROOT.glob(file.rstrip("/")))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", PAGES[page])
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_readme_links_every_page() -> None:
    assert {page for page in PAGES if page.startswith("docs/")} <= set(re.findall(r"\]\(([^)]+)\)", PAGES["README.md"]))


def test_the_picture_is_what_its_script_draws() -> None:
    """Else: `make structure`."""
    assert PICTURE.read_text() == picture()
