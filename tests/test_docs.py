"""What the README says works: its commands exist, its module loads, its table names the skill inputs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from flowrl.env.code_parser import bind_tasks, load_module
from flowrl.env.skill_names import SKILL_INPUTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"`flowrl ([a-z]+)", README)))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_exist(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "flowrl", command, "--help"], capture_output=True, check=False)
    assert done.returncode == 0


def test_options_of_the_readme_exist() -> None:
    from flowrl.config import build_config

    settings = re.findall(r"--set ([\w.]+=[\w.-]+)", README)
    assert settings
    build_config(settings=settings)


def test_the_module_of_the_readme_loads(tmp_path: Path) -> None:
    text = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert text is not None
    file = tmp_path / "wood_then_drink.py"
    file.write_text(text[1])
    tasks = bind_tasks(load_module(file))
    assert tasks.expert_of_task == (0, 3) and tasks.default_amounts == (1, None)


def test_the_readme_lists_every_skill_input() -> None:
    listed = re.search(r"Arguments are bound by name, any of: (.*?)\. What", README, flags=re.DOTALL)
    assert listed is not None and set(re.findall(r"`(\w+)`", listed[1])) == set(SKILL_INPUTS)


@pytest.mark.parametrize("target", re.findall(r"`make (\w+)`", README))
def test_make_targets_of_the_readme_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
