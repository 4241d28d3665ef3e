"""Record and replay: what is matched, what is said where nothing is, what a damaged file gives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.tables.planted import ENV, ERRORS, TRANSCRIPT
from flowrl.errors import LibraryError, LLMError, NotRecorded
from flowrl.knowledge.base import load_base
from flowrl.llm.briefing import skill_lines
from flowrl.llm.transport.client import Message, ModelRequest, ModelResponse
from flowrl.llm.transport.transcript import Replayer, TranscriptRecorder, read_transcript
from tests.support.scripted import Scripted, answered, asked

RATES = asked("Wood works in 0.93 of cases.\nName a skill.", masked="Wood works in {rate} of cases.\nName a skill.")
OTHER_RATES = asked(
    "Wood works in 0.88 of cases.\nName a skill.", masked="Wood works in {rate} of cases.\nName a skill."
)


def recorded(file: Path, *exchanges: tuple[ModelRequest, str]) -> Path:
    """Returns the file after the exchanges were recorded."""
    recorder = TranscriptRecorder(Scripted([answered(text) for _, text in exchanges]), file)
    for request, _ in exchanges:
        recorder.complete(request)
    return file


def test_what_was_recorded_is_replayed_with_its_tokens(tmp_path: Path) -> None:
    replayer = Replayer(recorded(tmp_path / "t.jsonl", (asked(), "A"), (asked(skill="Wood", stage="write"), "B")))
    assert replayer.complete(asked(skill="Wood", stage="write")).text == "B"
    assert replayer.complete(asked()) == ModelResponse(text="A", model="m", tokens_in=1000, tokens_out=200, seconds=0.0)


def test_a_transcript_keeps_the_prompt_in_full_and_masked(tmp_path: Path) -> None:
    exchange = read_transcript(recorded(tmp_path / "t.jsonl", (RATES, "A")))[0]
    assert exchange.prompt[0].text == RATES.messages[0].text
    assert exchange.prompt[0].masked == RATES.messages[0].masked
    assert (exchange.stage, exchange.skill, exchange.attempt, exchange.seconds) == ("propose", "", 1, 2.0)


def test_measured_values_may_differ_unless_strict(tmp_path: Path) -> None:
    file = recorded(tmp_path / "t.jsonl", (RATES, "A"))
    assert Replayer(file).complete(OTHER_RATES).text == "A"
    assert Replayer(file, strict=True).complete(RATES).text == "A"
    with pytest.raises(NotRecorded, match="--replay-strict") as caught:
        Replayer(file, strict=True).complete(OTHER_RATES)
    assert "-Wood works in 0.93 of cases." in str(caught.value)
    assert "+Wood works in 0.88 of cases." in str(caught.value)


@pytest.mark.parametrize(
    "other",
    [asked(stage="specify"), asked(skill="Wood"), asked(attempt=2), asked("Name two skills.")],
    ids=["stage", "skill", "attempt", "prompt"],
)
def test_another_stage_skill_attempt_or_prompt_is_not_recorded(tmp_path: Path, other: ModelRequest) -> None:
    with pytest.raises(NotRecorded):
        Replayer(recorded(tmp_path / "t.jsonl", (asked(), "A"))).complete(other)


def test_who_said_it_is_part_of_the_prompt(tmp_path: Path) -> None:
    said = asked().model_copy(
        update={"messages": (Message(role="system", text="Name a skill.", masked="Name a skill."),)}
    )
    with pytest.raises(NotRecorded):
        Replayer(recorded(tmp_path / "t.jsonl", (asked(), "A"))).complete(said)


def test_what_is_missing_is_held_against_the_nearest(tmp_path: Path) -> None:
    lines = [f"line {i}" for i in range(60)]
    far = asked("quite another prompt", skill="Wood")
    near = asked("\n".join(lines), skill="Wood")
    file = recorded(tmp_path / "t.jsonl", (far, "A"), (near, "B"), (asked("\n".join(lines), skill="Stone"), "C"))
    lines[30] = "LINE 30"
    with pytest.raises(NotRecorded) as caught:
        Replayer(file).complete(asked("\n".join(lines), skill="Wood"))
    message = str(caught.value)
    assert "stage propose, skill 'Wood', attempt 1" in message
    assert "-line 30" in message and "+LINE 30" in message and "line 10" not in message
    assert str(file) in message and "--record FILE" in message


def test_a_long_difference_is_cut(tmp_path: Path) -> None:
    file = recorded(tmp_path / "t.jsonl", (asked("\n".join(f"old {i}" for i in range(400))), "A"))
    with pytest.raises(NotRecorded, match=r"\.\.\. \d+ more lines") as caught:
        Replayer(file).complete(asked("\n".join(f"new {i}" for i in range(400))))
    assert str(caught.value).count("\n") < 40


def test_skills_and_attempts_that_are_recorded_are_named(tmp_path: Path) -> None:
    replayer = Replayer(
        recorded(tmp_path / "t.jsonl", (asked(skill="Wood"), "A"), (asked(skill="Wood", attempt=2), "B"))
    )
    with pytest.raises(NotRecorded, match="for the skills 'Wood'"):
        replayer.complete(asked(skill="Stone"))
    with pytest.raises(NotRecorded, match="for the attempts 1, 2 only"):
        replayer.complete(asked(skill="Wood", attempt=3))
    with pytest.raises(NotRecorded, match="no such stage"):
        replayer.complete(asked(skill="Wood", stage="refine"))


def test_the_same_request_again_gets_the_next_answer_then_the_last_again(tmp_path: Path) -> None:
    replayer = Replayer(recorded(tmp_path / "t.jsonl", (asked(), "A"), (asked(), "B")))
    assert [replayer.complete(asked()).text for _ in range(4)] == ["A", "B", "B", "B"]


def test_recording_goes_on_in_the_same_file(tmp_path: Path) -> None:
    file = recorded(tmp_path / "deep" / "t.jsonl", (asked(), "A"))
    assert [exchange.answer for exchange in read_transcript(recorded(file, (asked(), "B")))] == ["A", "B"]


def test_an_error_is_not_recorded(tmp_path: Path) -> None:
    recorder = TranscriptRecorder(Scripted([LLMError("no")]), tmp_path / "t.jsonl")
    with pytest.raises(LLMError):
        recorder.complete(asked())
    assert not (tmp_path / "t.jsonl").exists()


def test_texts_with_odd_line_ends_survive(tmp_path: Path) -> None:
    text = "a\u2028b\x85c\r\nd \u00e9 \U0001f333"
    assert Replayer(recorded(tmp_path / "t.jsonl", (asked(text), text))).complete(asked(text)).text == text


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda line: line[: len(line) // 2], "Line 2"),
        (lambda line: "[]", "Line 2"),
        (lambda line: json.dumps({**json.loads(line), "answer": 7}), "Line 2.*answer"),
        (lambda line: json.dumps({**json.loads(line), "more": 7}), "Line 2.*more"),
        (lambda line: "\x00\xff", "Line 2"),
    ],
    ids=["cut", "list", "type", "unknown", "bytes"],
)
def test_a_damaged_line_is_named(tmp_path: Path, damage: "object", said: str) -> None:
    file = recorded(tmp_path / "t.jsonl", (asked(), "A"), (asked(attempt=2), "B"), (asked(attempt=3), "C"))
    lines = file.read_text().splitlines()
    lines[1] = damage(lines[1])  # type: ignore[operator]
    file.write_text("\n".join(lines), encoding="latin-1")
    with pytest.raises(LibraryError, match=said):
        Replayer(file)


def test_a_missing_transcript_is_named(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="nowhere"):
        Replayer(tmp_path / "nowhere.jsonl")


def test_replay_needs_no_network_library(tmp_path: Path) -> None:
    file = recorded(tmp_path / "t.jsonl", (asked(), "A"))
    code = f"""
import sys
from pathlib import Path
from flowrl.llm.transport.factory import LLMSettings, make_llm
from tests.support.scripted import asked
llm = make_llm(LLMSettings(replay=Path({str(file)!r})), Path({str(tmp_path)!r}))
assert llm.complete(asked()).text == "A"
loaded = {{name.split(".")[0] for name in sys.modules}}
assert not loaded & {{"openai", "httpx2", "httpx", "genai_prices", "jax"}}, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_recorded_repairs_were_asked_of_the_knowledge_base_that_ships() -> None:
    base = load_base(ENV)
    exchanges = read_transcript(TRANSCRIPT)
    assert {exchange.skill for exchange in exchanges} == {planted.skill for planted in ERRORS}
    for exchange in exchanges:
        question = exchange.prompt[-1].text
        for line in skill_lines(skill for skill in base.skills if skill.name != exchange.skill):
            assert f"- {line.name}: {line.text}\n" in question
