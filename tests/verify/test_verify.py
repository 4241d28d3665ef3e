"""The sandbox by its promises, one test each, the allow-list left out: what holds code that got past it."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from flowrl.errors import PlatformError
from flowrl.knowledge.base import load_base
from flowrl.schema.skill import Skill
from flowrl.skillcode.artefact_cache import find_artefact
from flowrl.verify import verify as sandbox
from flowrl.verify.isolation import seccomp
from flowrl.verify.isolation.resource_limits import SandboxLimits
from flowrl.verify.verdict import Check, Verdict
from flowrl.verify.verify import verify as remembered
from flowrl.verify.verify import verify_anew

TINY = "Tiny-Grid-v1"
GOOD = load_base(TINY).skill("Collect Wood")
FUNCTIONS = """
def is_done(inventory, n):
    return inventory.wood >= n


def reward(inventory_diff, n):
    return inventory_diff.wood / n
"""
LIMITS = SandboxLimits(seconds=60, cpu_seconds=40)
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel's walls are Linux's")


def trusted(code: str) -> Skill:
    """A skill whose text is run without a look at the allow-list, with all of Python's built-ins."""
    return GOOD.model_copy(update={"code": code, "trusted": True})


def attempt(action: str, limits: SandboxLimits = LIMITS) -> Verdict:
    """The verdict on a text that tries something when it is loaded, and fails with what came of it."""
    lines = "\n".join(f"    {line}" for line in action.strip().splitlines())
    caught = "except (OSError, ValueError) as error:\n    outcome = f'kept out: {error.args[0]}'\n"
    text = f"import os, sys\ntry:\n{lines}\n{caught}else:\n    outcome = 'BREACH'\nraise ValueError(outcome)\n"
    return verify_anew(trusted(text + FUNCTIONS), TINY, limits)


ATTEMPTS = {
    "an internet socket": "import socket; socket.socket(socket.AF_INET)",
    "a local socket": "import socket; socket.socket(socket.AF_UNIX)",
    "a pair of sockets": "import socket; socket.socketpair()",
    "a fork": "os.fork()",
    "another program": "import subprocess; subprocess.run(['/bin/true'])",
    "becoming another program": "os.execv('/bin/true', ['/bin/true'])",
    "a signal to its parent": "os.kill(os.getppid(), 0)",
    "its parent's environment": "open(f'/proc/{os.getppid()}/environ').read()",
    "the users of this machine": "open('/etc/passwd').read()",
    "another user": "os.setuid(1)",
    "more processor time": "import resource; resource.setrlimit(resource.RLIMIT_CPU, (99, 99))",
    "a file in memory": "os.memfd_create('x')",
    "a folder": "os.mkdir('/tmp/flowrl_breach')",
    "a link": "os.symlink('/etc', '/tmp/flowrl_breach')",
}


@pytest.mark.parametrize("what", ATTEMPTS)
def test_code_past_the_allow_list_is_kept_from(what: str) -> None:
    verdict = attempt(ATTEMPTS[what])
    assert not verdict.ok and "kept out: " in verdict.error, verdict.error
    assert "BREACH" not in verdict.error


def test_no_file_is_written_changed_or_removed(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    held = tmp_path / "held.txt"
    held.write_text("as it was")
    os.chmod(held, 0o666)
    action = f"""
import ctypes
tried = 0
for act in (
    lambda: open({str(tmp_path / "new")!r}, "w"),
    lambda: open({str(held)!r}, "a"),
    lambda: os.truncate({str(held)!r}, 0),
    lambda: os.unlink({str(held)!r}),
    lambda: os.rename({str(held)!r}, {str(tmp_path / "moved")!r}),
    lambda: os.chmod({str(held)!r}, 0),
    lambda: os.utime({str(held)!r}, (0, 0)),
):
    try:
        act()
    except OSError:
        tried += 1
if tried == 7:
    raise OSError(tried, "all refused")
"""
    before = held.stat()
    assert "kept out: 7" in attempt(action).error
    assert held.read_text() == "as it was" and held.stat().st_mtime == before.st_mtime
    assert [path.name for path in tmp_path.iterdir()] == ["held.txt"]


def test_the_environment_is_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    verdict = verify_anew(trusted(f"import os\nraise ValueError(sorted(os.environ))\n{FUNCTIONS}"), TINY, LIMITS)
    assert "PYTHONPATH" in verdict.error and "OPENAI" not in verdict.error and "HOME" not in verdict.error


def test_memory_is_bounded() -> None:
    little = SandboxLimits(seconds=60, cpu_seconds=40, memory=1 << 30)
    verdict = verify_anew(trusted(f"X = [bytes(range(256)) * 4096 for _ in range(8192)]\n{FUNCTIONS}"), TINY, little)
    assert not verdict.ok and "emory" in verdict.error


def test_an_endless_loop_ends_at_the_time_limit_and_leaves_nothing() -> None:
    limits = SandboxLimits(seconds=8, cpu_seconds=60)
    begin = time.monotonic()
    verdict = verify_anew(trusted(f"while True:\n    pass\n{FUNCTIONS}"), TINY, limits)
    assert time.monotonic() - begin < limits.seconds + 2
    assert not verdict.ok and "time limit" in verdict.error
    assert not [child for child in psutil.Process().children(recursive=True) if "flowrl.verify" in str(child.cmdline())]


def test_processor_time_is_bounded() -> None:
    verdict = verify_anew(
        trusted(f"while True:\n    pass\n{FUNCTIONS}"), TINY, SandboxLimits(seconds=120, cpu_seconds=5)
    )
    assert not verdict.ok and "processor time" in verdict.error


def test_an_answer_is_bounded() -> None:
    flood = "import os, sys\nwhile True:\n    os.write(int(sys.argv[2]), b'x' * 65536)\n"
    verdict = verify_anew(trusted(flood + FUNCTIONS), TINY, LIMITS)
    assert not verdict.ok and "answered more than" in verdict.error


@pytest.mark.parametrize("answer", ["[[", "[1]", "{}", "[" * 100_000, '{"problem": 3}', "\\xff\\xfe"])
def test_a_forged_answer_is_no_artefact(answer: str) -> None:
    forged = f"import os, sys\nos.write(int(sys.argv[2]), b'{answer}\\n')\nos._exit(0)\n"
    verdict = verify_anew(trusted(forged + FUNCTIONS), TINY, LIMITS)
    assert not verdict.ok and verdict.error and not verdict.artefact


def test_what_is_judged_and_kept_is_the_artefact_whatever_the_first_child_says() -> None:
    """Hostile code answers in the place of our own, with an artefact of its own making that pays for nothing."""
    forged = f"""
import json, os, sys
import numpy as np
from flowrl.skillcode.artefact import export_functions
leaves = {{"inventory.wood": np.zeros(2, np.int32), "n": np.zeros(2, np.int32)}}
data = export_functions(lambda inventory, n: inventory.wood >= 0, lambda n: n * 1.0, ("inventory", "n"), ("n",), leaves)
os.write(int(sys.argv[2]), json.dumps({{"problem": "", "enforced": []}}).encode() + b"\\n" + data)
os._exit(0)
{FUNCTIONS}"""
    assert verify_anew(trusted(forged), TINY, LIMITS).ok, "of a trusted skill nothing but finite numbers is asked"
    untrusted = _without_the_allow_list(forged)
    assert not untrusted.ok and "is_done is true in 64 of 64 states" in untrusted.error and not untrusted.artefact


def _without_the_allow_list(code: str) -> Verdict:
    """Verifies an untrusted text as if the allow-list, and the few built-ins, had been got around."""
    question = sandbox._trace_request
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowrl.verify.text.check_text.problems_of_tree", lambda *_: iter(()))
        patch.setattr(sandbox, "_trace_request", lambda *given: {**question(*given), "trusted": True})
        return verify_anew(GOOD.model_copy(update={"code": code, "trusted": False}), TINY, LIMITS)


def test_a_good_skill_passes_fast_and_its_artefact_is_kept() -> None:
    verdict = verify_anew(GOOD.model_copy(update={"trusted": False}), TINY)
    assert verdict.ok, verdict.error
    assert find_artefact(verdict.artefact) is not None
    assert [check.name for check in verdict.checks] == [
        "parse", "allow-list", "functions", "arguments", "trace", "artefact", "finite", "initial", "reachable",
        "promise", "success pays", "farming",
    ]  # fmt: skip
    assert any("no sockets" in line for line in verdict.enforced)
    assert 0 < verdict.start_seconds < verdict.seconds


def test_a_child_that_only_sleeps_ends_with_its_parent() -> None:
    """Nothing else would end it, were its parent killed: it takes no processor time."""
    code = f"import time\ntime.sleep(600)\n{FUNCTIONS}"
    program = (
        "from flowrl.knowledge.base import load_base\nfrom flowrl.verify.verify import verify_anew\n"
        f"skill = load_base({TINY!r}).skill('Collect Wood')\n"
        f"verify_anew(skill.model_copy(update={{'code': {code!r}}}), {TINY!r})"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = psutil.Popen([sys.executable, "-c", program], env=environment)
    try:
        deadline = time.monotonic() + 60
        while len(children := parent.children()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(4)
        assert all(child.is_running() for child in children)
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


def test_a_child_that_cannot_start_is_no_fault_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrl.verify.isolation.child_process._environment", lambda: {"PYTHONPATH": "/nonexistent"})
    monkeypatch.setattr("sys.executable", "/usr/bin/false")
    with pytest.raises(PlatformError, match=r"could not start: .* exit code 1"):
        verify_anew(GOOD, TINY)


def test_a_child_that_fails_before_it_comes_to_the_code_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "recorded", lambda env: Path("/nonexistent/recording"))
    monkeypatch.setattr(sandbox, "shapes_of", lambda file: {})
    monkeypatch.setattr(sandbox, "_trace_check", lambda answer: Check(name="trace", passed=True, detail=""))
    with pytest.raises(PlatformError, match=r"could not start: LibraryError: .* is missing"):
        verify_anew(GOOD, TINY, LIMITS)


def test_a_verdict_is_remembered_by_text_and_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    skill = GOOD.model_copy(update={"trusted": False})
    first = verify_anew(skill, TINY)
    monkeypatch.setattr("flowrl.verify.verify.Child", None)
    again = remembered(skill, TINY)
    assert again.ok and again.artefact == first.artefact and again.seconds < 1
    other = skill.model_copy(update={"spec": skill.spec.model_copy(update={"n_range": (1, 7)})})
    with pytest.raises(TypeError):
        remembered(other, TINY)


def test_a_verdict_whose_artefact_is_gone_is_reached_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    skill = GOOD.model_copy(update={"trusted": False})
    verify_anew(skill, TINY)
    monkeypatch.setattr("flowrl.verify.verdict_cache.find_artefact", lambda key: None)
    monkeypatch.setattr("flowrl.verify.verify.Child", None)
    with pytest.raises(TypeError):
        remembered(skill, TINY)


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_untrusted_code_is_not_run_without_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "why_no_filter", lambda: "libseccomp cannot be loaded: it is not there")
    with pytest.raises(OSError, match="Install libseccomp 2"):
        seccomp.install_filter(required=True)
    (said,) = seccomp.install_filter(required=False)
    assert "no kernel filter on this platform (libseccomp cannot be loaded" in said
