"""What the README says works: its commands exist, its module loads, its table names the skill inputs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flowrl.env.code_parser import bind_tasks, load_module
from flowrl.skillcode.inputs import SKILL_INPUTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"`flowrl ([a-z]+)", README)))


EXAMPLES = re.findall(r"^```\n\$ flowrl (.*?)\n(.*?)\n```$", README, flags=re.DOTALL | re.MULTILINE)


def _python_block(start: str) -> str:
    """Returns the README's Python block that holds ``start``."""
    return next(text for text in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if start in text)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_exist(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "flowrl", command, "--help"], capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(("command", "printed"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_commands_print_what_the_readme_shows(command: str, printed: str, tmp_path: Path) -> None:
    """In an empty folder, blanks at the ends of lines aside."""
    line = [sys.executable, "-m", "flowrl", *shlex.split(command)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
    found = [row.rstrip() for row in (done.stdout + done.stderr).strip().splitlines()]
    assert found == printed.splitlines()


def test_the_readme_has_examples_of_plans() -> None:
    assert len(EXAMPLES) >= 2


def test_the_skill_of_the_readme_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "return_to_table.py"
    file.write_text(_python_block("SPEC = "))
    line = [sys.executable, "-m", "flowrl", "kb", "check", str(file), "--env", "Tiny-Grid-v1"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_options_of_the_readme_exist() -> None:
    from flowrl.config import build_config

    settings = re.findall(r"--set ([\w.]+=[\w.-]+)", README)
    assert settings
    build_config(settings=settings)


def test_the_module_of_the_readme_loads(tmp_path: Path) -> None:
    text = _python_block("wood_then_drink.py")
    file = tmp_path / "wood_then_drink.py"
    file.write_text(text)
    tasks = bind_tasks(load_module(file))
    assert tasks.expert_of_task == (0, 3) and tasks.default_amounts == (1, None)


def test_the_readme_lists_every_skill_input() -> None:
    listed = re.search(r"Arguments are bound by name, any of: (.*?)\. What", README, flags=re.DOTALL)
    assert listed is not None and set(re.findall(r"`(\w+)`", listed[1])) == set(SKILL_INPUTS)


@pytest.mark.parametrize("target", re.findall(r"`make (\w+)`", README))
def test_make_targets_of_the_readme_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
