"""What others put beside flowrl's files, into its homes or where it is started: none of it runs, or is written to."""

import importlib.util
import marshal
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

from flowrl.cli.main import app
from flowrl.env.code_parser import load_module
from flowrl.errors import LibraryError, ModuleError, PlatformError
from flowrl.evaluation.comparison import ComparisonPaths, ComparisonRequest, Contest
from flowrl.files import append_line, open_to_append, read_json, read_lines, write_json, write_text
from flowrl.growing.merging import comparison
from flowrl.growing.run_setup import ModuleSetUp
from flowrl.jobs import ray_executor
from flowrl.jobs.job import Job
from flowrl.jobs.local import LocalExecutor, is_locked
from flowrl.jobs.ray_executor import RayExecutor, import_path
from flowrl.library.trust import is_vouched
from flowrl.llm import briefing
from flowrl.parallel.run_folder import FinishedRun
from flowrl.paths import RunPaths
from flowrl.rollout.run_env import build_env
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.userdirs import private_folder
from flowrl.verify.behaviour import recordings as transitions
from tests.support.homes import SMALL, add_skill, empty_home, two_wood
from tests.support.scripted_jobs import Scripted, controller_of

ROOT = Path(__file__).resolve().parents[2]
SETTLED = "GLOBAL_TO_LOCAL = {}\n"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "flowrl" / "vouched"


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    """A run that was set up just now."""
    module = ModuleSetUp(empty_home(tmp_path / "home"), SMALL, two_wood(0, 1), Path("two.py"))
    return module(module.proposal("Two"), 1)


def plant_bytecode(file: Path, code: CodeType) -> None:
    """Puts beside a file what Python's loaders take in its place without looking at its text (an unchecked hash)."""
    cached = Path(importlib.util.cache_from_source(str(file)))
    cached.parent.mkdir()
    cached.write_bytes(importlib.util.MAGIC_NUMBER + struct.pack("<I", 1) + bytes(8) + marshal.dumps(code))


def test_bytecode_beside_a_module_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "3.py"
    file.write_text(f"{SETTLED}WHAT = 'the text'\n")
    plant_bytecode(file, compile(f"open({str(tmp_path / 'ran')!r}, 'w')\nWHAT = 'bytecode'", str(file), "exec"))
    names = load_module(file)
    assert names["WHAT"] == "the text" and not (tmp_path / "ran").exists()
    assert names["__file__"] == str(file) and names["__name__"] == "flowrl_tasks_3"


def test_a_worker_runs_only_the_module_that_its_run_was_set_up_with(run: RunPaths) -> None:
    spec = read_json(run.config, RunSpec)
    build_env(spec, run)
    write_text(run.module, run.module.read_text() + "\n# by somebody else\n")
    with pytest.raises(ModuleError, match=r"1\.py was changed after its run was set up"):
        build_env(spec, run)
    build_env(spec.model_copy(update={"module_sha256": ""}), run)


def test_what_is_vouched_for_is_what_was_composed_not_what_the_home_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapped(path: Path, value: Any) -> None:
        write_json(path, value)
        if path.name == "run.json":
            write_text(path.with_name("1.py"), f"{SETTLED}# swapped\n")

    monkeypatch.setattr("flowrl.parallel.training_setup.write_json", swapped)
    module = ModuleSetUp(empty_home(tmp_path / "home"), SMALL, two_wood(0, 1), Path("two.py"))
    run = module(module.proposal("Two"), 1)
    assert "swapped" in run.module.read_text() and not is_vouched(run.module.read_text())


def test_an_older_run_goes_on_and_notes_its_module(run: RunPaths, tmp_path: Path) -> None:
    spec = read_json(run.config, RunSpec)
    write_json(run.config, spec.model_copy(update={"module_sha256": ""}))
    write_text(run.checkpoints / "update_3.json", "{}")
    module = ModuleSetUp(empty_home(tmp_path / "home"), SMALL, two_wood(0, 1), Path("two.py"))
    assert module(module.proposal("Two"), 1) == run and (run.checkpoints / "update_3.json").exists()
    assert read_json(run.config, RunSpec) == spec


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with packages that note that they were imported."""
    folder = tmp_path / "hostile"
    for file in ("jax.py", "numpy.py", "filelock.py", "flowrl/__init__.py", "flowrl/ppo_flow.py"):
        write_text(folder / file, f"open({str(tmp_path / 'ran')!r}, 'a').write({file!r})\n")
    return folder


def test_a_worker_does_not_import_from_where_it_is_started(
    hostile: Path, run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run.config.unlink()  # so that it ends at once
    done = subprocess.run(Job(run.folder, "Two").command(), cwd=hostile, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "has no run.json" in done.stderr and not (tmp_path / "ran").exists()


class Told(Exception):
    """A command was to be started."""


def commands(act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the command that something would start."""

    def told(command: list[str], **_: object) -> None:
        raise Told(command)

    monkeypatch.setattr(subprocess, "run", told)
    monkeypatch.setattr(subprocess, "Popen", told)
    with pytest.raises(Told) as found:
        act()
    return list(found.value.args[0])


def cli(*words: str) -> Callable[[], object]:
    return lambda: app(list(words), standalone_mode=False)


@pytest.mark.parametrize(
    "act",
    [
        cli("doctor"),
        cli("bench", "plan"),
        lambda: briefing.read_signature("Tiny-Grid-v1"),
        lambda: transitions._record("Tiny-Grid-v1", Path("recording")),
        lambda: ray_executor._require_cluster("127.0.0.1:1"),
    ],
    ids=["doctor", "bench", "briefing", "transitions", "ray"],
)
def test_no_child_process_imports_from_the_current_folder(
    act: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commands(act, monkeypatch)[:2] == [sys.executable, "-P"]


def test_every_command_of_this_python_in_the_package_leaves_the_current_folder_out() -> None:
    for path in (ROOT / "flowrl").rglob("*.py"):
        for word in ('"-m"', '"-c"'):
            text = path.read_text()
            assert f"[sys.executable, {word}" not in text or path.name == "options.py", path


def test_jobs_on_other_nodes_import_from_no_current_folder(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(hostile)
    monkeypatch.setattr(sys, "path", [str(hostile), "", "hidden/..", str(tmp_path), str(ROOT)])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert import_path().split(os.pathsep) == [str(tmp_path), str(ROOT)]
    monkeypatch.setenv("PYTHONPATH", str(hostile))
    assert str(hostile) in import_path().split(os.pathsep)
    monkeypatch.chdir(ROOT)
    assert str(ROOT) in import_path().split(os.pathsep)


def test_ray_is_started_from_the_package_not_from_the_current_folder(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    executor = RayExecutor.__new__(RayExecutor)
    nodes = [{"Alive": True, "Resources": {"CPU": 2}}]
    executor._ray = SimpleNamespace(
        init=lambda **_: seen.append(Path.cwd()),
        nodes=lambda: nodes,
        exceptions=SimpleNamespace(RayError=OSError),
    )
    executor._cores = 1
    monkeypatch.chdir(hostile)
    executor._connect(None)
    assert seen == [ROOT] and Path.cwd() == hostile


def test_a_private_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        folder = private_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert {place.stat().st_mode & 0o777 for place in (folder, folder.parent, folder.parent.parent)} == {0o700}
    assert private_folder(folder) == folder


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("which", ["a/b", "a"])
def test_another_users_folder_is_not_private_not_even_to_root(tmp_path: Path, which: str) -> None:
    folder = private_folder(tmp_path / "a" / "b")
    os.chown(tmp_path / which, 12345, 12345)
    with pytest.raises(PlatformError, match=rf"{which} belongs to user 12345.*XDG_STATE_HOME"):
        private_folder(folder)


def test_a_folder_is_not_private_where_others_can_rename_what_leads_to_it(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b" / "c")
    (tmp_path / "a").chmod(0o777)
    with pytest.raises(PlatformError, match=r"/a has the rights 777"):
        private_folder(folder)
    (tmp_path / "a").chmod(0o1777)
    assert private_folder(folder) == folder
    folder.chmod(0o1777)
    with pytest.raises(PlatformError, match=r"/c has the rights 1777"):
        private_folder(folder)


def test_the_way_to_a_private_folder_is_followed_through_links(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "open" / "c")
    (tmp_path / "link").symlink_to("open")
    assert private_folder(tmp_path / "link" / "c")
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PlatformError, match=r"/open has the rights 777"):
        private_folder(tmp_path / "link" / "c")
    (tmp_path / "open").chmod(0o700)
    (tmp_path / "own").symlink_to(folder)
    with pytest.raises(PlatformError, match=r"/own is a link"):
        private_folder(tmp_path / "own")


@pytest.mark.parametrize("link_fn", [os.link, os.symlink])
def test_a_lock_that_is_another_file_is_none(run: RunPaths, tmp_path: Path, link_fn: Callable[..., None]) -> None:
    other = tmp_path / "other"
    job = Job(run.folder, "Two")
    assert not is_locked(job)
    with FileLock(other):
        other.write_text("not to be emptied")
        run.lock.unlink(missing_ok=True)
        link_fn(other, run.lock)
        for act in (lambda: is_locked(job), lambda: LocalExecutor().submit(job)):
            with pytest.raises(LibraryError, match=r"lock is a link to another file, .* remove it"):
                act()
    assert other.read_text() == "not to be emptied"


def test_a_run_under_way_that_somebody_else_set_up_is_not_taken_up(run: RunPaths, tmp_path: Path) -> None:
    library = empty_home(tmp_path / "home")
    write_text(run.module, run.module.read_text() + "# by somebody else\n")
    executor = Scripted({})
    controller = controller_of(library, executor)
    with FileLock(run.lock):
        executor.is_under_way = is_locked  # type: ignore[method-assign]
        controller._begin()
    assert not controller.state.running and controller.state.ended == {"Two": "failed"}
    assert "its module is not known here" in str(controller.failures["Two"])


def test_a_comparison_under_way_that_somebody_else_set_up_is_not_taken_up(
    run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = empty_home(tmp_path / "home")
    contest = Contest(skill="Other", expert=0)
    known: dict[str, Any] = {"_contests": (contest,), "_held": {}, "is_locked": True}
    for name, value in known.items():
        monkeypatch.setattr(f"flowrl.growing.merging.{name}", lambda *_, value=value: value)
    paths = ComparisonPaths.of(run)
    request = ComparisonRequest(contests=(contest,), skill="Two", expert=1, worlds=1, number=0, held={})
    write_json(paths.request, request)
    player = paths.contest(0)
    module = run.module.read_text()
    write_text(player.module, module)
    write_json(player.config, read_json(run.config, RunSpec))
    record = add_skill(library, "Other", 0)
    finished = FinishedRun(run, read_json(run.config, RunSpec), TrainResult(outcome="done"), record.evaluation, {})
    job = comparison(library, finished)
    assert job is not None and job.folder == paths.folder
    for changed in (player.module, run.module):
        write_text(changed, module + "# by somebody else\n")
        with pytest.raises(LibraryError, match=rf"{changed.parent.name} was set up by another user"):
            comparison(library, finished)
        write_text(changed, module)


@pytest.mark.parametrize("open_fn", [lambda path: append_line(path, {"a": 1}), open_to_append])
def test_nothing_is_added_to_a_file_that_a_link_leads_to(tmp_path: Path, open_fn: Callable[[Path], object]) -> None:
    victim, link = tmp_path / "victim", tmp_path / "metrics.jsonl"
    victim.write_text("mine")
    link.symlink_to(victim)
    with pytest.raises(LibraryError, match=r"metrics\.jsonl is a link to .*victim.* Remove it"):
        open_fn(link)
    assert victim.read_text() == "mine"


def test_lines_are_added_and_logs_written_anew(tmp_path: Path) -> None:
    for i in range(2):
        append_line(tmp_path / "rows", {"i": i})
    assert read_lines(tmp_path / "rows") == [{"i": 0}, {"i": 1}]
    with open_to_append(tmp_path / "rows", anew=True) as file:
        file.write(b"new")
    assert (tmp_path / "rows").read_text() == "new"


def test_a_worker_whose_log_is_a_link_writes_nothing_and_says_so(run: RunPaths, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    run.log.symlink_to(victim)
    done = subprocess.run(Job(run.folder, "Two").command(), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "log.txt is a link to" in done.stderr and "Traceback" not in done.stderr
    with pytest.raises(LibraryError, match=r"log\.txt is a link"):
        LocalExecutor().submit(Job(run.folder, "Two"))
    assert victim.read_text() == "mine"
