"""Providers against a real server on loopback that misbehaves in each way; nothing goes to another machine."""

import email.utils
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from flowrl.errors import FlowRLError, LLMError, Unanswered, UsageError
from flowrl.llm.transport.client import LLM, Message
from flowrl.llm.transport.endpoint import Endpoint, find_key
from flowrl.llm.transport.factory import LLMSettings, make_llm
from flowrl.llm.transport.failures import Patience, Retries
from flowrl.llm.transport.provider import Provider
from tests.support.llm_server import GOOD, Say, Server, closed_port, completion, openai_error, refusal, serving
from tests.support.scripted import Scripted, answered, asked

pytestmark = pytest.mark.usefixtures("only_loopback")
KEY = "key-that-nobody-may-see-8231"
ONLY_ONE = Patience(tries=1)


def provider(server: Server | str, timeout: float = 20.0, key: str | None = KEY, model: str = "tiny") -> Provider:
    url = server if isinstance(server, str) else server.url
    return Provider(Endpoint(model, url, None if key is None else SecretStr(key), timeout=timeout))


class Waits:
    """Retries whose waits are written down in place of being waited."""

    def __init__(self, llm: LLM, **patience: float) -> None:
        self.waited: list[float] = []
        self.now = 0.0
        found = Patience(**patience)  # type: ignore[arg-type]
        self.llm = Retries(llm, found, sleep_fn=self._sleep, clock_fn=lambda: self.now)

    def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds


# What is sent and what comes back.


def test_a_good_answer_comes_with_its_tokens() -> None:
    with serving() as server:
        response = provider(server).complete(asked())
    assert (response.text, response.model, response.tokens_in, response.tokens_out) == (GOOD, "tiny", 11, 7)
    assert 0 < response.seconds < 20


def test_the_whole_conversation_is_sent_in_full_with_the_schema_wanted() -> None:
    said = [("system", "You write."), ("user", "Go on: 0.93"), ("assistant", '{"a": 1}'), ("user", "No: a is not 1.")]
    messages = tuple(Message.model_validate({"role": role, "text": text, "masked": "..."}) for role, text in said)
    with serving() as server:
        provider(server).complete(asked().model_copy(update={"messages": messages}))
    body = server.asked[0]
    assert [(message["role"], message["content"]) for message in body["messages"]] == said
    form = body["response_format"]
    assert form["type"] == "json_schema" and form["json_schema"]["name"] == "ProposalAnswer"
    assert form["json_schema"]["schema"]["properties"] == {"name": {"type": "string"}}
    assert server.paths == ["/v1/chat/completions"] and body["model"] == "tiny"


def test_a_key_is_sent_as_a_bearer_and_none_where_there_is_none() -> None:
    with serving() as server:
        provider(server).complete(asked())
        provider(server, key=None).complete(asked())
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in server.headers[1]


def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/from-the-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-More: from-the-environment\nAuthorization: from-the-environment")
    with serving() as server:
        provider(server, key=None).complete(asked())
        provider(server).complete(asked())
    assert "from-the-environment" not in json.dumps(server.headers)
    assert server.headers[1]["authorization"] == f"Bearer {KEY}"
    assert not [name for name in server.headers[0] if name.startswith(("x-stainless", "openai-"))]


def test_a_server_that_refuses_schemas_is_asked_in_words_from_then_on() -> None:
    def choosy(body: dict[str, object]) -> Say:
        return openai_error(400, "'response_format' is not supported") if "response_format" in body else completion()

    with serving(choosy) as server:
        model = provider(server)
        assert model.complete(asked()).text == GOOD
        assert model.complete(asked()).text == GOOD
    assert ["response_format" in body for body in server.asked] == [True, False, False]
    assert '"required": ["name"]' in server.asked[1]["messages"][-1]["content"]


def test_another_refusal_does_not_make_it_forget_schemas() -> None:
    with serving(openai_error(400, "no such thing"), openai_error(400, "still not"), completion()) as server:
        model = provider(server)
        with pytest.raises(LLMError, match="no such thing"):
            model.complete(asked())
        model.complete(asked())
    assert "response_format" in server.asked[2]


def test_usage_may_be_missing() -> None:
    with serving(completion(usage=None)) as server:
        response = provider(server).complete(asked())
    assert (response.text, response.tokens_in, response.tokens_out) == (GOOD, 0, 0)


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("/srv/models/tiny-q4.gguf", "tiny-q4.gguf"),
        ("C:\\models\\tiny.gguf", "tiny.gguf"),
        ("maker/tiny", "maker/tiny"),
    ],
)
def test_where_a_models_file_lies_is_not_told(told: str, shown: str) -> None:
    with serving(completion(model=told)) as server:
        assert provider(server).complete(asked()).model == shown


def test_thinking_is_no_part_of_the_answer() -> None:
    with serving(completion(f"<think>\nPerhaps {{}}?\n</think>\n{GOOD}")) as server:
        assert provider(server).complete(asked()).text.strip() == GOOD


def test_half_a_character_in_an_answer_is_replaced() -> None:
    with serving(completion('{"name": "\ud800"}')) as server:
        assert provider(server).complete(asked()).text == '{"name": "?"}'


def test_json_of_another_content_type_is_read_all_the_same() -> None:
    with serving(Say(body=completion().body, content_type="text/plain; charset=utf-8")) as server:
        assert provider(server).complete(asked()).text == GOOD


# What may be better another time.

PASSING: dict[str, tuple[Say, str]] = {
    "500": (openai_error(500, "out of order"), "HTTP 500. It says: out of order"),
    "502": (
        Say(502, b"<html><body>Bad Gateway</body></html>", content_type="text/html"),
        "HTTP 502. It says: a web page",
    ),
    "503": (openai_error(503, "loading model"), "HTTP 503. It says: loading model"),
    "529": (openai_error(529, "overloaded"), "HTTP 529"),
    "429": (openai_error(429, "slow down", "rate_limit_exceeded"), "HTTP 429. It says: slow down"),
    "reset": (Say(reset=True), "the connection failed"),
    "cut body": (Say(body=completion().body, cut=40), "the connection failed"),
    "cut JSON": (Say(body=completion().body[:-40]), "broken JSON"),
    "empty body": (Say(), "an empty body"),
    "too deep": (Say(body=b"[" * 200_000), "broken JSON"),
    "a list": (Say(body=b"[1, 2]"), "no JSON object"),
    "an error in a success": (Say(body=b'{"error": {"message": "upstream died"}}'), "upstream died"),
    "no choices": (completion(choices=[]), "without a choice"),
    "no message": (completion(choices=[{"index": 0}]), "without a choice"),
    "empty": (completion(""), "an empty answer .it stopped for: stop"),
    "blank": (completion(" \n "), "an empty answer"),
    "null": (completion(None), "an empty answer"),
    "odd choice": (
        completion(choices=[{"message": {"role": "assistant", "content": 7}}]),
        "makes no sense|no answer|empty",
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_tried_again(name: str) -> None:
    say, said = PASSING[name]
    with serving(say, say, completion()) as server:
        waits = Waits(provider(server))
        response = waits.llm.complete(asked())
    assert response.text == GOOD and len(server.asked) == 3
    assert 0.5 <= waits.waited[0] <= 1.0 <= waits.waited[1] <= 2.0
    with serving(say) as server, pytest.raises(Unanswered, match=said) as caught:
        Waits(provider(server), tries=2).llm.complete(asked())
    assert f"model 'tiny' at {server.url}" in str(caught.value) and "Asked 2 times" in str(caught.value)
    assert "\n" not in str(caught.value) and len(server.asked) == 2


def test_tokens_of_empty_answers_are_counted() -> None:
    with serving(completion(""), completion(choices=[]), completion()) as server:
        response = Waits(provider(server)).llm.complete(asked())
        assert (response.tokens_in, response.tokens_out) == (22 + 11, 14 + 7)
    with serving(completion("")) as server, pytest.raises(Unanswered) as caught:
        Waits(provider(server), tries=3).llm.complete(asked())
    assert (caught.value.tokens_in, caught.value.tokens_out) == (33, 21)


@pytest.mark.parametrize(
    "say", [Say(after=20.0, body=completion().body), Say(drip=0.05, body=completion().body)], ids=["silent", "drips"]
)
def test_an_answer_has_a_time_limit(say: Say) -> None:
    started = time.monotonic()
    with (
        serving(say) as server,
        pytest.raises(Unanswered, match=r"no whole answer within 0\.4 seconds|no answer in time"),
    ):
        provider(server, timeout=0.4).complete(asked())
    assert time.monotonic() - started < 3


def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{closed_port()}/v1"
    with pytest.raises(Unanswered, match="the connection failed") as caught:
        provider(url).complete(asked())
    assert url in str(caught.value)


def retry_after(seconds: float) -> str:
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry_After": "7"}, 7, 7),
        ({"Retry_After": "7.5"}, 7.5, 7.5),
        ({"Retry_After": "DATE"}, 5, 8),
        ({"retry_after_ms": "9000"}, 9, 9),
        ({"Retry_After": "86400"}, 60, 60),
        ({"Retry_After": "0"}, 0.5, 1),
        ({"Retry_After": "soon"}, 0.5, 1),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.5, 1),
    ],
)
def test_retry_after_is_kept_within_bounds(headers: dict[str, str], least: float, most: float) -> None:
    given = {key: retry_after(8) if value == "DATE" else value for key, value in headers.items()}
    with serving(openai_error(429, "slow down", None, **given), completion()) as server:
        waits = Waits(provider(server))
        waits.llm.complete(asked())
    assert len(waits.waited) == 1 and least <= waits.waited[0] <= most


def test_tries_and_seconds_are_bounded() -> None:
    waits = Waits(Scripted([Unanswered("busy")] * 50), tries=40, total=100.0)
    with pytest.raises(Unanswered, match=r"busy Asked \d+ times in \d+ seconds\. Check the server"):
        waits.llm.complete(asked())
    assert sum(waits.waited) <= 100 and max(waits.waited) <= 60
    assert waits.waited == sorted(waits.waited)


def test_what_is_no_use_is_not_asked_again() -> None:
    model = Scripted([LLMError("never"), answered()])
    with pytest.raises(LLMError, match="never"):
        Waits(model).llm.complete(asked())
    assert len(model.requests) == 1


# What is no use to ask again.

OVERFLOWS = {
    "openai": openai_error(400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
    "vllm": refusal(
        400,
        {"object": "error", "message": "This model's maximum context length is 4096 tokens. You requested 5000.",
         "type": "BadRequestError", "param": None, "code": 400},
    ),
    "vllm, longer": openai_error(400, "The decoder prompt (length 99) is longer than the maximum model length of 64."),
    "llama.cpp": refusal(
        400,
        {"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it",
                   "type": "exceed_context_size_error", "n_prompt_tokens": 5000, "n_ctx": 4096}},
    ),
    "by its type": refusal(400, {"error": {"message": "no", "type": "exceed_context_size_error"}}),
    "ollama": refusal(400, {"error": {"message": "input length exceeds maximum context length", "type": "api_error"}}),
    "anthropic": openai_error(400, "prompt is too long: 5000 tokens > 4096 maximum"),
    "gateway": Say(413, b"request entity too large", content_type="text/plain"),
}  # fmt: skip


@pytest.mark.parametrize("dialect", OVERFLOWS)
def test_a_prompt_that_is_too_long_is_told_at_once(dialect: str) -> None:
    with serving(OVERFLOWS[dialect]) as server, pytest.raises(LLMError, match="longer than model 'tiny'") as caught:
        Waits(provider(server)).llm.complete(asked())
    assert not isinstance(caught.value, Unanswered) and len(server.asked) == 1
    assert "larger context" in str(caught.value) and "\n" not in str(caught.value)


NO_MODEL = {
    "openai": openai_error(404, "The model `big` does not exist", "model_not_found"),
    "vllm": refusal(404, {"object": "error", "message": "The model `big` does not exist.", "type": "NotFoundError"}),
    "ollama": refusal(404, {"error": {"message": "model 'big' not found", "type": "not_found_error"}}),
    "as 400": openai_error(400, "model not found: big"),
}


@pytest.mark.parametrize("dialect", NO_MODEL)
def test_a_wrong_model_is_told_with_those_there_are(dialect: str) -> None:
    with serving(NO_MODEL[dialect]) as server, pytest.raises(LLMError, match="It has: 'tiny', 'small'") as caught:
        Waits(provider(server, model="big")).llm.complete(asked())
    assert "model 'big'" in str(caught.value) and "Correct --model" in str(caught.value) and len(server.asked) == 1


def test_a_wrong_address_is_told() -> None:
    with serving(Say(404, b"404 page not found", content_type="text/plain")) as server:
        server.models = None
        with pytest.raises(LLMError, match="--base-url, which usually ends with /v1"):
            provider(server).complete(asked())


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_at_once(status: int) -> None:
    with serving(openai_error(status, "bad key")) as server, pytest.raises(LLMError, match="FLOWRL_API_KEY") as caught:
        Waits(provider(server)).llm.complete(asked())
    assert f"HTTP {status}" in str(caught.value) and len(server.asked) == 1


def test_an_account_without_money_is_not_waited_for() -> None:
    say = openai_error(429, "You exceeded your current quota", "insufficient_quota")
    with serving(say) as server, pytest.raises(LLMError, match="no money left"):
        Waits(provider(server)).llm.complete(asked())
    assert len(server.asked) == 1


def test_a_web_page_is_told_at_once() -> None:
    page = Say(body=b"<!DOCTYPE html><html>Sign in</html>", content_type="text/html")
    with serving(page) as server, pytest.raises(LLMError, match=r"a web page.*Correct --base-url"):
        Waits(provider(server)).llm.complete(asked())
    assert len(server.asked) == 1


def test_a_redirection_is_not_followed() -> None:
    with serving() as other, serving(Say(307, headers={"location": other.url})) as server:
        with pytest.raises(LLMError, match="HTTP 307"):
            provider(server).complete(asked())
        assert other.asked == []


# Stopping.


@pytest.mark.parametrize("what", ["answer", "wait"])
def test_a_stop_ends_every_wait(what: str) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    say = Say(after=30.0) if what == "answer" else openai_error(429, "wait", None, Retry_After="30")
    started = time.monotonic()
    with serving(say) as server, pytest.raises(LLMError, match="Stopped while waiting"):
        Retries(Provider(Endpoint("tiny", server.url), stop.is_set), stop_fn=stop.is_set).complete(asked())
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "say", [Say(after=30.0), openai_error(429, "wait", None, Retry_After="30")], ids=["answer", "wait"]
)
def test_ctrl_c_ends_every_wait(say: Say) -> None:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with serving(say) as server, pytest.raises(KeyboardInterrupt):
        Retries(provider(server)).complete(asked())
    assert time.monotonic() - started < 3


# The key.


def everything_said(error: BaseException) -> str:
    """Returns all that a traceback could show of an error, hidden causes included."""
    told, seen = "".join(traceback.format_exception(error)), {id(error)}
    waiting = [error.__cause__, error.__context__]
    while waiting:
        cause = waiting.pop()
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            told += repr(cause) + "".join(traceback.format_exception(cause))
            waiting += [cause.__cause__, cause.__context__]
    return told + repr(error) + repr(vars(error))


ECHOES: dict[str, Say | Callable[[dict[str, object]], Say]] = {
    "401": openai_error(401, f"Incorrect API key provided: {KEY}."),
    "400": openai_error(400, f"what is {KEY}"),
    "404": openai_error(404, f"no {KEY} here"),
    "500": openai_error(500, f"died over {KEY}"),
    "text": Say(500, f"Authorization: Bearer {KEY}".encode(), content_type="text/plain"),
    "broken": Say(body=f'{{"key": "{KEY}'.encode()),
    "error in a success": Say(body=json.dumps({"error": KEY}).encode()),
    "answer": completion(f'{{"name": "{KEY}"}}', model=KEY),
}


@pytest.mark.parametrize("name", ECHOES)
def test_the_key_is_in_no_file_and_no_message(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    key_file = tmp_path / "secret" / "key"
    key_file.parent.mkdir()
    key_file.write_text(KEY + "\n")
    home = tmp_path / "home"
    told = ""
    with serving(ECHOES[name]) as server:
        settings = LLMSettings(model="tiny", base_url=server.url, key_file=key_file, record=home / "t.jsonl")
        llm = make_llm(settings, home, stop_fn=lambda: len(server.asked) > 1)
        try:
            told += repr(llm.complete(asked()))
        except FlowRLError as error:
            told += everything_said(error)
        told += repr(llm) + repr(vars(llm)) + repr(settings)
    assert server.asked
    written = "".join(file.read_text() for file in home.rglob("*") if file.is_file())
    assert written
    assert KEY not in told + written + "".join(capfd.readouterr()) + caplog.text


@pytest.mark.parametrize("status", [400, 404, 500])
def test_no_part_of_a_key_is_left_where_a_long_message_is_cut(status: int) -> None:
    for length in range(200, 245, 4):
        say = openai_error(status, "x" * length + KEY + "y" * 300)
        with serving(say) as server, pytest.raises(LLMError) as caught:
            provider(server).complete(asked())
        assert "xxx" in str(caught.value) and "key-that" not in str(caught.value)


def test_what_looks_like_a_key_is_not_shown_either() -> None:
    say = openai_error(401, "Incorrect API key provided: sk-ab***yz99.")
    with serving(say) as server, pytest.raises(LLMError) as caught:
        provider(server).complete(asked())
    assert "yz99" not in str(caught.value)


def test_the_key_is_that_of_the_file_then_ours_then_openais(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLOWRL_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert find_key(None) is None
    monkeypatch.setenv("OPENAI_API_KEY", " theirs ")
    assert find_key(None) == SecretStr("theirs")
    monkeypatch.setenv("FLOWRL_API_KEY", "ours")
    assert find_key(None) == SecretStr("ours")
    (tmp_path / "key").write_text("\nfrom-file\n")
    assert find_key(tmp_path / "key") == SecretStr("from-file")


@pytest.mark.parametrize("text", ["", "two words", "two\nlines", "schl\u00fcssel"])
def test_what_cannot_be_a_key_is_refused_unseen(text: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(UsageError, match="holds no key") as caught:
        find_key(tmp_path / "key")
    assert not text or text not in everything_said(caught.value)
    with pytest.raises(UsageError, match="cannot be read"):
        find_key(tmp_path / "nowhere")
    (tmp_path / "key").write_bytes(KEY.encode() + b"\xff\xfe")
    with pytest.raises(UsageError, match="holds no key") as caught:
        find_key(tmp_path / "key")
    assert KEY not in everything_said(caught.value)


# Put together.


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("")
    for settings, said in [
        (LLMSettings(), "--model NAME"),
        (LLMSettings(model="m", strict=True), "--replay-strict goes with"),
        (LLMSettings(replay=tmp_path / "t.jsonl", record=tmp_path / "t.jsonl"), "exclude each other"),
        (LLMSettings(model="m", base_url="localhost:8000"), "no http address"),
        (LLMSettings(model="m", base_url="http://h/v1?key=" + KEY), "a password or a query"),
        (LLMSettings(model="m", base_url=f"http://me:{KEY}@h/v1"), "a password or a query"),
        (LLMSettings(model="m", base_url="http://[broken/v1"), "no http address"),
    ]:
        with pytest.raises(UsageError, match=said) as caught:
            make_llm(settings, tmp_path)
        assert KEY not in everything_said(caught.value)


def test_a_home_records_what_it_asks_and_can_replay_it(tmp_path: Path) -> None:
    transcript = tmp_path / "t.jsonl"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "prices.toml").write_text("[tiny]\ninput = 1\noutput = 1\n")
    with serving() as server:
        llm = make_llm(
            LLMSettings(model="tiny", base_url=server.url, record=transcript, max_cost=1.0), tmp_path / "home"
        )
        assert llm.complete(asked()).text == GOOD
        assert llm.cost == pytest.approx(18e-6)
    replayed = make_llm(LLMSettings(replay=transcript, strict=True), tmp_path / "other")
    assert replayed.complete(asked()).text == GOOD
    assert (replayed.calls, replayed.cost) == (1, 0.0)


def test_several_threads_may_ask_at_once() -> None:
    slow = Say(body=completion().body, after=0.5)
    found: list[str] = []
    with serving(slow) as server:
        model = provider(server)
        threads = [threading.Thread(target=lambda: found.append(model.complete(asked()).text)) for _ in range(6)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [GOOD] * 6 and time.monotonic() - started < 2.5


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
sys.modules["openai"] = None
from flowrl.errors import LLMError
from flowrl.llm.transport.factory import LLMSettings, make_llm
try:
    make_llm(LLMSettings(model="m"), Path({str(tmp_path)!r}))
except LLMError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install '.[llm]'" in done.stdout


def test_the_guard_of_these_tests_sees_other_machines(only_loopback: list[str]) -> None:
    with pytest.raises(Unanswered):
        provider("http://192.0.2.1/v1").complete(asked())
    with pytest.raises(Unanswered):
        provider("http://models.example.test/v1").complete(asked())
    assert only_loopback == ["192.0.2.1", "models.example.test"]
    only_loopback.clear()
