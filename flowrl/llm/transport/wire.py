"""One question over HTTP, through pydantic-ai's model layer: the only module that knows that library.

No proxy and no organisation's name is taken from the environment, no redirection is followed, nothing is instrumented.
What comes back is a value: the library's exceptions hold the request, and with it the key.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from flowrl.errors import LLMError
from flowrl.llm.transport.client import Message, Request
from flowrl.llm.transport.failures import Refusal, looks_like_html, one_line, said_by, wait_asked

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import ModelRequestParameters

_NO_KEY = "none"
"""The library must have a key; this one is taken out of what is sent."""
_LIST_SECONDS = 10.0


@dataclass(frozen=True)
class Endpoint:
    """Whom to ask and how.

    Attributes:
        timeout: seconds for the whole of one answer, of which ``connect_timeout`` for the connection.
        max_tokens: the longest answer; the server's own limit if None.
    """

    model: str
    base_url: str
    key: SecretStr | None = None
    timeout: float = 300.0
    connect_timeout: float = 10.0
    max_tokens: int | None = None


@dataclass(frozen=True)
class Answer:
    """What a server said to a question; ``finish`` is why it stopped."""

    text: str
    model: str
    tokens_in: int
    tokens_out: int
    finish: str


@dataclass(frozen=True)
class Broken:
    """No answer came, and no refusal either.

    Attributes:
        again: another try may fare better.
    """

    why: str
    again: bool
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass
class _Seen:
    """The body of the last success, read before the library reads it, which drops what it does not expect."""

    body: dict[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> tuple[int, int]:
        usage = self.body.get("usage")
        counts = usage if isinstance(usage, dict) else {}
        found = [counts.get(name) for name in ("prompt_tokens", "completion_tokens")]
        tokens_in, tokens_out = (count if isinstance(count, int) and count > 0 else 0 for count in found)
        return tokens_in, tokens_out


class _Unreadable(Exception):
    """A success whose body is no answer."""

    def __init__(self, why: str, again: bool) -> None:
        super().__init__(why)
        self.why, self.again = why, again


def check_installed() -> None:
    """Does nothing if the client library is there.

    Raises:
        LLMError: it is not; names the extra.
    """
    try:
        import openai
        import pydantic_ai
    except ImportError as error:
        raise LLMError("Asking a language model needs the extra llm: pip install 'flowrl[llm]'") from error
    del openai, pydantic_ai


async def ask(endpoint: Endpoint, request: Request, with_schema: bool) -> Answer | Refusal | Broken:
    """Returns what the server answers, however it fails."""
    import openai
    from pydantic_ai.exceptions import AgentRunError, UserError

    seen = _Seen()
    try:
        async with asyncio.timeout(endpoint.timeout):
            return await _ask(endpoint, request, with_schema, seen)
    except TimeoutError:
        return Broken(f"no whole answer within {endpoint.timeout:g} seconds", True)
    except _Unreadable as error:
        return Broken(error.why, error.again, *seen.tokens)
    except (AgentRunError, UserError, openai.OpenAIError, OSError, ValueError) as error:
        return _outcome_of(error, seen)


async def _ask(endpoint: Endpoint, request: Request, with_schema: bool, seen: _Seen) -> Answer:
    from pydantic_ai.direct import model_request
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.profiles.openai import OpenAIModelProfile
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.settings import ModelSettings

    async with _client(endpoint, seen) as client:
        profile = OpenAIModelProfile(supports_json_schema_output=True)
        model = OpenAIChatModel(endpoint.model, provider=OpenAIProvider(openai_client=client), profile=profile)
        settings = ModelSettings() if endpoint.max_tokens is None else ModelSettings(max_tokens=endpoint.max_tokens)
        found = await model_request(
            model,
            _messages(request, with_schema),
            model_settings=settings,
            model_request_parameters=_parameters(request, with_schema),
            instrument=False,
        )
    tokens_in, tokens_out = seen.tokens
    name = _short(found.model_name or endpoint.model)
    return Answer(found.text or "", name, tokens_in, tokens_out, str(found.finish_reason))


def _short(model: str) -> str:
    """Returns a model's name; some servers tell where its file lies, which is nobody's business."""
    return model.replace("\\", "/").rpartition("/")[2] if model.startswith("/") or "\\" in model else model


def _client(endpoint: Endpoint, seen: _Seen) -> "AsyncOpenAI":
    """Returns a client that takes nothing from the environment and never asks twice."""
    import httpx2
    from openai import AsyncOpenAI

    http = httpx2.AsyncClient(
        timeout=httpx2.Timeout(endpoint.timeout, connect=endpoint.connect_timeout),
        trust_env=False,
        follow_redirects=False,
        event_hooks={"request": [_say_less], "response": [_reader(seen)]},
    )
    key = _NO_KEY if endpoint.key is None else endpoint.key.get_secret_value()
    client = AsyncOpenAI(base_url=endpoint.base_url, api_key=key, http_client=http, max_retries=0)
    client.organization = client.project = None
    return client


async def _say_less(request: "httpx2.Request") -> None:
    """Takes out what the library tells about this machine, and the key where there is none."""
    for name in [name for name in request.headers if name.lower().startswith("x-stainless")]:
        del request.headers[name]
    if request.headers.get("authorization") == f"Bearer {_NO_KEY}":
        del request.headers["authorization"]


def _reader(seen: _Seen) -> "Callable[[httpx2.Response], Any]":
    """Returns what reads each success whole, and says what is no answer to a question."""

    async def read(response: "httpx2.Response") -> None:
        if not response.is_success:
            return
        await response.aread()
        try:
            body = json.loads(response.content)
        except ValueError:
            raise _unreadable(response.text) from None
        if not isinstance(body, dict):
            raise _Unreadable("an answer that is no JSON object", again=True)
        if body.get("error"):
            raise _Unreadable(f"an error in place of an answer: {said_by(body)}", again=True)
        seen.body = body
        if "data" not in body and not _choice(body):
            raise _Unreadable("an answer without a choice", again=True)

    return read


def _unreadable(text: str) -> _Unreadable:
    if looks_like_html(text):
        return _Unreadable("a web page in place of an answer", again=False)
    if not text.strip():
        return _Unreadable("an empty body", again=True)
    return _Unreadable(f"JSON that breaks off, or none, in {len(text)} letters", again=True)


def _choice(body: dict[str, Any]) -> bool:
    """Returns whether an answer has a first choice with a message."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and isinstance(first.get("message"), dict)


def _outcome_of(error: BaseException, seen: _Seen) -> Refusal | Broken:
    """Returns what an exception of the library stands for."""
    import openai

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, openai.APIStatusError):
            return Refusal(cause.status_code, _words(cause), wait_asked(cause.response.headers))
        if isinstance(cause, openai.APITimeoutError):
            return Broken("no answer in time", True)
        if isinstance(cause, openai.APIConnectionError):
            return Broken(f"the connection failed: {_reason(cause)}", True)
        cause = cause.__cause__ or cause.__context__
    return Broken(f"an answer that makes no sense ({one_line(str(error))})", True, *seen.tokens)


def _words(error: Any) -> str:
    """Returns what the server said in a refusal: its JSON, else its text."""
    try:
        return said_by(json.loads(error.response.content))
    except ValueError:
        return said_by(error.response.text)


def _reason(error: BaseException) -> str:
    """Returns the innermost reason that has words."""
    words = str(error)
    cause = error.__cause__
    while cause is not None:
        words = str(cause) or type(cause).__name__
        cause = cause.__cause__
    return one_line(words)


async def model_names(endpoint: Endpoint) -> list[str] | None:
    """Returns the models that the server has; None where it does not tell."""
    import openai

    try:
        async with asyncio.timeout(min(_LIST_SECONDS, endpoint.timeout)), _client(endpoint, _Seen()) as client:
            return [one_line(str(model.id)) for model in (await client.models.list()).data]
    except (_Unreadable, openai.OpenAIError, OSError, ValueError, AttributeError, TypeError):
        return None


def _parameters(request: Request, with_schema: bool) -> "ModelRequestParameters":
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.output import OutputObjectDefinition

    if not with_schema:
        return ModelRequestParameters()
    form = OutputObjectDefinition(json_schema=dict(request.answer_schema), name=request.wanted)
    return ModelRequestParameters(output_mode="native", output_object=form)


def _messages(request: Request, with_schema: bool) -> "list[ModelMessage]":
    """Returns the conversation in the library's words; without a schema its end asks for JSON in text."""
    from pydantic_ai.messages import ModelRequest, ModelResponse, SystemPromptPart, TextPart, UserPromptPart

    found: list[ModelMessage] = []
    for message in request.messages if with_schema else (*request.messages, _ask_for_json(request)):
        if message.role == "assistant":
            found.append(ModelResponse(parts=[TextPart(message.text)]))
        elif message.role == "system":
            found.append(ModelRequest(parts=[SystemPromptPart(message.text)]))
        else:
            found.append(ModelRequest(parts=[UserPromptPart(message.text)]))
    return found


def _ask_for_json(request: Request) -> Message:
    schema = json.dumps(dict(request.answer_schema))
    text = f"Answer with one JSON object and nothing else. Its JSON schema is:\n{schema}"
    return Message(role="user", text=text, masked=text)
