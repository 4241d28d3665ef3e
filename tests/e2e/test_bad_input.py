"""What users get wrong, and what is broken around flowrl: a message that names it, never a traceback."""

import errno
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from flowrl.cli.options import command_again
from flowrl.config import build_config
from flowrl.errors import PlanError, PlatformError, UsageError
from flowrl.files import write_json, write_text
from flowrl.growing.proposers import KnowledgeProposer
from flowrl.growing.run_setup import SkillSetUp
from flowrl.knowledge.base import load_base
from flowrl.library.catalog import plan_with_library
from flowrl.library.home import command_for
from flowrl.parallel.run_reports import retry_run
from flowrl.parallel.scheduler import NothingToPropose, Proposal
from tests.support.homes import SMALL, add_skill, empty_home
from tests.support.runs import TINY

ROOT = Path(__file__).parents[2]


def flowrl(*arguments: str, cwd: Path, modules: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs a command; ``modules`` is a folder whose Python modules come before all others."""
    folders = [str(folder) for folder in (modules, ROOT) if folder is not None]
    command, environment = [sys.executable, "-m", "flowrl", *arguments], {"PYTHONPATH": os.pathsep.join(folders)}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, check=False, timeout=600, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("home", ["afile/x", "/proc/flowrl-home"])
def test_a_home_that_cannot_be_made_is_named(home: str, tmp_path: Path) -> None:
    (tmp_path / "afile").write_text("here already")
    done = flowrl("grow", "--env", TINY, "--skills", "1", "--home", home, cwd=tmp_path)
    assert done.returncode == 1 and f"flowrl: Could not write {home}/home.json: " in done.stderr
    assert "Traceback" not in done.stderr and [path.name for path in tmp_path.iterdir()] == ["afile"]


def test_a_full_disk_is_said_wherever_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_text(tmp_path / "file", "old")
    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(PlatformError, match=r"file: the disk is full\. What stood there is unchanged"):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"


def test_doctor_says_that_jax_is_broken(tmp_path: Path) -> None:
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax/__init__.py").write_text("raise ImportError('libfoo.so: cannot open shared object file')")
    done = flowrl("doctor", "--json", cwd=tmp_path, modules=tmp_path)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1 and not checks["jax results"]["ok"]
    assert "ImportError: libfoo.so: cannot open" in checks["jax results"]["found"]
    assert "JSONDecodeError" not in done.stderr


def test_doctor_says_that_its_checks_died(tmp_path: Path) -> None:
    (tmp_path / "jax.py").write_text("import os\n\nos._exit(7)\n")
    done = flowrl("doctor", cwd=tmp_path, modules=tmp_path)
    assert done.returncode == 1 and "The checks ended with exit code 7 and no report" in done.stderr
    assert "-m flowrl.cli.doctor" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("damage", [None, b"\xff\xfe broken"], ids=["missing", "not UTF-8"])
def test_a_module_of_the_library_that_cannot_be_read_is_named(damage: bytes | None, tmp_path: Path) -> None:
    library = empty_home(tmp_path / "home")
    module = library.skill_paths(add_skill(library, "Wood", 0, status="learned")).module
    module.unlink()
    if damage is not None:
        module.write_bytes(damage)
    done = flowrl("plan", "wood", "--from", "learned", "--home", "home", cwd=tmp_path)
    assert done.returncode == 1 and "0_Wood/module.py is " in done.stderr and "from a copy" in done.stderr
    assert "Traceback" not in done.stderr


SEEDS = [
    ("grow", "--skills", "1", "--seed", "99999999999999999999"),
    ("train", "Collect Wood", "--seed", "4294967296"),
    ("train", "Collect Wood", "--set", "seed=4294967296"),
    ("eval", "Collect Wood", "--seed", "99999999999999999999"),
    ("grow", "--env", "", "--skills", "1"),
    ("kb", "list", "--env", ""),
]


@pytest.mark.parametrize("arguments", SEEDS, ids=" ".join)
def test_values_that_make_no_sense_are_bad_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = flowrl(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert ("seed" in done.stderr or "No environment ''" in done.stderr) and "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_home_of_another_observation_is_not_played(tmp_path: Path) -> None:
    library = empty_home(tmp_path / "home")
    add_skill(library, "Wood", 0, status="learned")
    write_json(library.paths.description, library.description.model_copy(update={"layout": "tiny-0"}))
    for command in (("eval", "Wood"), ("grow", "--skills", "2")):
        done = flowrl(*command, "--home", "home", cwd=tmp_path)
        assert done.returncode == 1 and "holds layout='tiny-0', not 'tiny-1'" in done.stderr


def test_a_damaged_run_is_named_and_the_rest_is_listed(tmp_path: Path) -> None:
    library = empty_home(tmp_path / "home")
    add_skill(library, "Wood", 0, status="learned")
    add_skill(library, "Damaged", 2)
    run = SkillSetUp(load_base(TINY), library, SMALL)(Proposal("Collect Drink"), 1)
    run.config.write_bytes(run.config.read_bytes()[:60])
    record = library.paths.skill(2, "Damaged").record
    record.write_text("{")
    done = flowrl("skills", "list", "--home", "home", "--json", cwd=tmp_path)
    assert done.returncode == 0 and [row["name"] for row in json.loads(done.stdout)] == ["Wood"]
    warnings = done.stderr.splitlines()
    assert len(warnings) == 2 and all(line.startswith("flowrl: warning: ") for line in warnings)
    assert "skill_1_Collect_Drink/run.json is damaged" in done.stderr and "move home/training_runs" in done.stderr
    for command in (("runs", "list"), ("status",)):
        assert flowrl(*command, "--home", "home", cwd=tmp_path).returncode == 0
    write_json(record, add_skill(library, "Damaged", 2))
    done = flowrl("grow", "--skills", "2", "--home", "home", cwd=tmp_path)
    assert done.returncode == 1 and "skill_1_Collect_Drink/run.json is damaged" in done.stderr


def test_commands_in_messages_name_the_home(tmp_path: Path) -> None:
    home = tmp_path / "my home"
    library, base = empty_home(home), load_base(TINY)
    with pytest.raises(PlanError, match=r"flowrl grow --skills 1 --home '.*/my home'"):
        plan_with_library(library, "wood")
    add_skill(library, "Collect Wood", 0)
    for how, command in (("weak", "train"), ("failed", "runs retry")):
        answer = KnowledgeProposer(base, library, "Place Table").propose((), {"Collect Wood": how})
        assert isinstance(answer, NothingToPropose)
        assert answer.reason.endswith(f"flowrl {command} 'Collect Wood' --home '{home}'")
    SkillSetUp(base, library, SMALL)(Proposal("Collect Drink"), 1)
    with pytest.raises(UsageError, match="is interrupted"):
        retry_run(library, "Collect Drink")
    assert command_for(Path("flowrl-home"), "grow") == "flowrl grow"


CALLED = {
    ".venv/bin/flowrl": [".venv/bin/flowrl"],
    "/usr/local/bin/flowrl": ["/usr/local/bin/flowrl"],
    "/somewhere/flowrl/__main__.py": [sys.executable, "-m", "flowrl"],
}


@pytest.mark.parametrize("called", CALLED)
def test_the_command_that_goes_on_is_the_one_that_was_given(called: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [called, "grow", "--home", "my home"])
    assert shlex.split(command_again()) == [*CALLED[called], "grow", "--home", "my home"]


def test_more_minibatches_than_can_be_counted_are_refused() -> None:
    build_config("gpu", ["ppo.minibatch_size=512"])
    with pytest.raises(UsageError, match=r"32,768 minibatches, too many .* Raise ppo\.minibatch_size, which is 2"):
        build_config("gpu", ["ppo.minibatch_size=2", "ppo.steps=64", "env.groups=1", "env.worlds=1024"])
