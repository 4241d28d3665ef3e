"""An evaluation plays in a child process that is locked, has no network and ends with its parent."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flowrl.errors import TrainingError
from flowrl.evaluation.evaluate import evaluate_goal
from flowrl.library.home import SkillLibrary
from flowrl.library.trust import vouch
from tests.support.homes import SMALL, add_skill, empty_home, two_wood

EVALUATION = """
import sys
from pathlib import Path
from flowrl.evaluation.evaluate import evaluate_goal
from flowrl.library.home import SkillLibrary

evaluate_goal(SkillLibrary.open(Path(sys.argv[1])), "Two", 8, 0, 50, print)
"""
OUTWARDS = "import socket\n\nsocket.create_connection(('127.0.0.1', {port}))\n"
SLEEP = "import time\n\nopen({note!r}, 'w').close()\ntime.sleep(120)\n"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def home_with(folder: Path, head: str) -> SkillLibrary:
    """A home with a module that its user passed by hand; evaluating it runs ``head`` first."""
    library, module = empty_home(folder / "home", SMALL), f"{head}\n{two_wood(0, 1)}"
    vouch(module, "mine")
    add_skill(library, "Two", 1, companions=[0], module=module)
    return library


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_a_module_that_is_evaluated_cannot_open_a_socket(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        library = home_with(tmp_path, OUTWARDS.format(port=server.getsockname()[1]))
        with pytest.raises(TrainingError, match=r"(?s)evaluation of Two failed\..*Operation not permitted"):
            evaluate_goal(library, "Two", 8, 0, 50, lambda row: None)
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_an_evaluation_ends_with_its_parent(tmp_path: Path) -> None:
    note = tmp_path / "begun"
    library = home_with(tmp_path, SLEEP.format(note=str(note)))
    parent = subprocess.Popen([sys.executable, "-c", EVALUATION, str(library.paths.root)])
    deadline = time.monotonic() + 120
    while not note.exists():
        assert time.monotonic() < deadline and parent.poll() is None, "the module was never loaded"
        time.sleep(0.05)
    (child,) = psutil.Process(parent.pid).children()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs([child], timeout=10)
    for process in alive:
        process.kill()
    assert not alive, "the child plays on without its parent"
