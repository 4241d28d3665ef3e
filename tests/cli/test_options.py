"""`flowrl grow --proposer llm` on the command line: options, a server that is not there, a stop in the middle."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowrl.files import read_lines
from tests.support.commands import flowrl
from tests.support.llm_server import Say, openai_error, serving

GROW = ("grow", "--env", "Tiny-Grid-v1", "--proposer", "llm")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--proposer", "llm"), "No model. Give --model NAME"),
        (("--proposer", "banana"), "Unknown --proposer 'banana'"),
        (("--model", "x"), "--model goes with --proposer llm"),
        (("--max-cost", "0"), "--max-cost goes with --proposer llm"),
        (("--proposer", "llm", "--kb", "somewhere"), "--kb goes with --proposer knowledge"),
        (("--proposer", "llm", "--model", "x", "--goal", "gold"), "gold"),
        (("--proposer", "llm", "--model", "x", "--base-url", "nonsense"), "is no http address"),
        (("--proposer", "llm", "--replay", "t.jsonl", "--jobs", "2"), "--replay goes with --jobs 1"),
        (("--proposer", "llm", "--replay-strict", "--model", "x"), "--replay-strict goes with --replay"),
        (("--proposer", "llm", "--model", "x", "--manual", "nowhere.md"), "nowhere.md"),
    ],
)
def test_wrong_options_are_told_in_a_line(words: tuple[str, ...], why: str, tmp_path: Path) -> None:
    done = flowrl("grow", "--env", "Tiny-Grid-v1", "--home", str(tmp_path / "home"), *words)
    assert done.returncode == 2 and why in done.stderr and "Traceback" not in done.stderr


def test_a_transcript_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = flowrl(*GROW, "--home", str(tmp_path / "home"), "--replay", str(tmp_path / "nowhere.jsonl"))
    assert done.returncode == 1 and "nowhere.jsonl" in done.stderr and "Traceback" not in done.stderr


def test_a_server_that_knows_no_such_model_ends_it_in_a_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving(openai_error(404, "The model 'nobody' does not exist", "model_not_found")) as server:
        done = flowrl(*GROW, "--model", "nobody", "--base-url", server.url, "--home", str(home))
    assert done.returncode == 1 and "Not done: " in done.stdout and "nobody" in done.stdout
    assert [row["outcome"] for row in read_lines(home / "ledger.jsonl")] == ["LLMError"]


def test_ctrl_c_while_the_model_is_asked_ends_at_once(tmp_path: Path) -> None:
    with serving(Say(after=60)) as server:
        words = [*GROW, "--model", "slow", "--base-url", server.url, "--home", str(tmp_path / "home")]
        child = subprocess.Popen(
            [sys.executable, "-m", "flowrl", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 60
        while not server.asked and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(child.pid, signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert child.returncode == 130 and b"To continue:" in err
