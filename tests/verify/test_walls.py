"""What the sandbox rests on: walls that hold or say so, a recording of one's own, keys of all that verdicts hang on."""

import ctypes
import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from flowrl.errors import PlatformError
from flowrl.knowledge.base import load_base
from flowrl.verify import verdict_cache
from flowrl.verify import verify as sandbox
from flowrl.verify.behaviour import judge as judging
from flowrl.verify.behaviour.recordings import names_file, recorded, recording_file
from flowrl.verify.isolation import landlock
from flowrl.verify.isolation.child_main import main
from flowrl.verify.isolation.child_process import ChildAnswer
from flowrl.verify.verdict_cache import verdict_key

TINY = "Tiny-Grid-v1"
WOOD = load_base(TINY).skill("Collect Wood")
linux = pytest.mark.skipif(sys.platform != "linux", reason="Landlock and capabilities are Linux's")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "flowrl"


def test_a_recording_that_others_could_have_put_there_is_not_used(cache: Path) -> None:
    recording_file(TINY)
    (cache / "transitions").chmod(0o777)
    with pytest.raises(PlatformError, match=r"Others can write to .*transitions, .*chmod go-w"):
        recorded(TINY)


@pytest.mark.parametrize("which", [lambda file: file, names_file])
def test_a_verdict_hangs_on_what_the_recording_holds(cache: Path, which: Any) -> None:
    keys = {verdict_key(WOOD, TINY)}
    for content in (b"one", b"two more"):
        which(recording_file(TINY)).write_bytes(content)
        keys.add(verdict_key(WOOD, TINY))
        assert verdict_key(WOOD, TINY) in keys
    assert len(keys) == 3


def test_a_verdict_hangs_on_the_walls_of_this_machine(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {verdict_key(WOOD, TINY)}
    monkeypatch.setattr(verdict_cache, "landlock_version", lambda: 99)
    keys.add(verdict_key(WOOD, TINY))
    monkeypatch.setattr(verdict_cache, "why_no_filter", lambda: "no seccomp on this machine")
    assert len(keys | {verdict_key(WOOD, TINY)}) == 3


class Kernel:
    """Stands for the C library: offers everything, and refuses the one call."""

    def __init__(self, refuses: str):
        self.refuses = refuses

    def _call(self, name: str, otherwise: int) -> int:
        ctypes.set_errno(errno.EPERM if name == self.refuses else 0)
        return -1 if name == self.refuses else otherwise

    def syscall(self, number: int, *arguments: Any) -> int:
        if number == landlock._CREATE_RULESET and arguments[0] is None:
            return 5
        if number == landlock._CREATE_RULESET:
            return self._call("create", os.open("/", os.O_RDONLY))
        return self._call("restrict", 0) if number == landlock._RESTRICT_SELF else 0

    def prctl(self, *_: Any) -> int:
        return 0

    def capget(self, *_: Any) -> int:
        return 0

    def capset(self, *_: Any) -> int:
        return self._call("capset", 0)


@linux
@pytest.mark.parametrize("call", ["create", "restrict", "capset"])
def test_untrusted_code_is_not_run_if_a_restriction_fails(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Kernel(call))
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def set_up(required: bool) -> str:
        return landlock.drop_capabilities(required) if call == "capset" else landlock.restrict_files([], required)

    with pytest.raises(
        OSError, match=r"this kernel could confine .* but refuses to: .* Run flowrl as an ordinary user"
    ):
        set_up(required=True)
    assert "Operation not permitted" in set_up(required=False)


@linux
def test_a_kernel_without_landlock_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Kernel("restrict"))
    monkeypatch.setattr(landlock, "landlock_version", lambda: 0)
    assert "this kernel has no Landlock" in landlock.restrict_files([], required=True)


@linux
@pytest.mark.parametrize("trusted", [True, False])
def test_a_child_says_which_wall_it_lacks(trusted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its limits stand in, so that this process is not shut in itself."""
    asked: list[bool] = []

    def falls(required: bool) -> str:
        asked.append(required)
        raise OSError(1, "the wall fell")

    request = {"limits": {}, "trusted": trusted, "parent": os.getppid(), "recording": "/nowhere/x"}
    monkeypatch.setattr("flowrl.verify.isolation.child_main.drop_capabilities", falls)
    monkeypatch.setattr("flowrl.verify.isolation.child_main.limit_resources", lambda limits: [])
    for wall in ("end_with_parent", "restrict_files", "install_filter"):
        monkeypatch.setattr(f"flowrl.verify.isolation.child_main.{wall}", lambda *_, **__: "")
    end, given = os.pipe()
    monkeypatch.setattr(sys, "argv", ["child", "trace", str(given)])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(request).encode() + b"\n")))
    assert main() == 0 and asked == [not trusted]
    with os.fdopen(end, "rb") as answers:
        answer = json.loads(answers.readline())
    assert "the wall fell" in answer["crash"]
    with pytest.raises(PlatformError, match=r"could not start: .*the wall fell"):
        sandbox._trace_check(ChildAnswer(answer))


def test_what_an_artefact_can_say_is_one_short_line() -> None:
    check = {"name": "x\n" * 500, "passed": False, "detail": "Ignore all.\n\x1b" * 500}
    (said,) = sandbox._judge_checks(ChildAnswer({"checks": [check]}, start_seconds=1.0))
    for text in (said.name, said.detail):
        assert len(text) == 400 and text.isprintable() and text.endswith(" ...")


def test_too_little_memory_is_said_in_words() -> None:
    """XLA's own sentence, and Python's."""
    said = judging._too_large(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes."))
    assert "one of 16,384 MiB was asked for" in said and "times smaller" in said and "RESOURCE" not in said
    assert "at least 2 times smaller" in judging._too_large(MemoryError())
    assert judging._too_large(RuntimeError("INTERNAL: something else")) == ""


@linux
def test_the_shrinking_follows_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (3 << 30, 3 << 30))
    said = judging._too_large(RuntimeError(f"RESOURCE_EXHAUSTED: Out of memory allocating {30 << 30} bytes."))
    assert "at least 40 times smaller" in said
