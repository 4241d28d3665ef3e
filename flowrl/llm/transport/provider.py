"""A model behind any OpenAI-compatible server. The `openai` client is imported when needed.

The key is sent to the server and goes nowhere else: the server's words are redacted, and the client's exceptions, which
hold the request, become values. No proxy, key or header is taken from the environment and no redirection is followed.
"""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from flowrl.errors import LLMError
from flowrl.llm.transport import failures
from flowrl.llm.transport.client import ModelRequest, ModelResponse
from flowrl.llm.transport.endpoint import Endpoint
from flowrl.llm.transport.failures import Refusal, one_line, said_by, unanswered

T = TypeVar("T")
_POLL_SECONDS = 0.1
"""Seconds between two looks whether to stop."""
_LIST_SECONDS = 10.0
_HEADERS = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
"""Sent beside the key; the client would add facts about this machine."""


class Provider:
    """Asks a model once; `Retries` asks again. Safe to use from several threads.

    A server that rejects JSON schemas is asked for JSON in words from then on.
    """

    def __init__(self, endpoint: Endpoint, stop_fn: Callable[[], bool] = lambda: False) -> None:
        """Asks nothing yet.

        Args:
            stop_fn: polled while an answer is awaited; true ends the wait.

        Raises:
            LLMError: the extra is not installed.
        """
        try:
            import httpx2  # noqa: F401
            import openai  # noqa: F401
        except ImportError as error:
            raise LLMError("Asking a language model needs the extra llm: pip install '.[llm]'") from error
        self._endpoint, self._stop_fn = endpoint, stop_fn
        self._takes_schema = True

    def complete(self, request: ModelRequest) -> ModelResponse:
        """Ask once. For JSON of the requested schema where the server supports that.

        Raises:
            Unanswered: none came this time.
            LLMError: asking again is no use, or a stop was requested.
        """
        started = time.monotonic()
        outcome = self._outcome(request)
        if isinstance(outcome, Refusal):
            models = self._run(self._models()) if outcome.lacks_the_model else None
            raise failures.explain(outcome, self._endpoint, models)
        if isinstance(outcome, LLMError):
            raise outcome
        return outcome.model_copy(update={"seconds": time.monotonic() - started})

    def _outcome(self, request: ModelRequest) -> ModelResponse | Refusal | LLMError:
        """Ask and retry without a schema if that may help."""
        takes_schema = self._takes_schema
        outcome = self._run(self._ask(request, takes_schema))
        if takes_schema and isinstance(outcome, Refusal) and outcome.may_be_the_schema:
            plain = self._run(self._ask(request, with_schema=False))
            if isinstance(plain, ModelResponse):
                self._takes_schema = False
            return outcome if isinstance(plain, Refusal) else plain
        return outcome

    async def _ask(self, request: ModelRequest, with_schema: bool) -> ModelResponse | Refusal | LLMError:
        import httpx2
        import openai

        limit = self._endpoint.timeout
        try:
            async with asyncio.timeout(limit), self._client() as client:
                body = _body(request, with_schema, self._endpoint)
                reply = await client.post("/chat/completions", body=body, cast_to=httpx2.Response)
            return read_answer(reply.text, self._endpoint)
        except TimeoutError:
            return unanswered(f"no whole answer within {limit:g} seconds", self._endpoint)
        except openai.APIStatusError as error:
            wait = failures.requested_wait(error.response.headers)
            return Refusal(error.status_code, said_by(error.response.text), wait)
        except openai.APITimeoutError:
            return unanswered("no answer in time", self._endpoint)
        except (openai.OpenAIError, OSError, ValueError) as error:
            return unanswered(f"the connection failed: {_innermost(error)}", self._endpoint)

    async def _models(self) -> list[str] | None:
        """The models that the server has, None if it does not tell."""
        import openai

        try:
            async with asyncio.timeout(min(_LIST_SECONDS, self._endpoint.timeout)), self._client() as client:
                return [failures.quote(one_line(str(m.id)), self._endpoint) for m in (await client.models.list()).data]
        except (openai.OpenAIError, OSError, ValueError, AttributeError, TypeError):
            return None

    def _client(self) -> Any:
        """A client that takes nothing from the environment and never asks twice."""
        import httpx2
        import openai

        key = self._endpoint.key.get_secret_value() if self._endpoint.key else None

        async def send_less(request: Any) -> None:
            for name in set(request.headers) - _HEADERS:
                del request.headers[name]
            if key is not None:
                request.headers["authorization"] = f"Bearer {key}"

        http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(self._endpoint.timeout, connect=self._endpoint.connect_timeout),
            trust_env=False,
            follow_redirects=False,
            event_hooks={"request": [send_less]},
        )
        base_url = self._endpoint.base_url
        return openai.AsyncOpenAI(base_url=base_url, api_key=key or "none", http_client=http, max_retries=0)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine; a stop or Ctrl-C cancels it."""
        loop = asyncio.new_event_loop()
        task = loop.create_task(self._watched(work))
        try:
            return loop.run_until_complete(task)
        except KeyboardInterrupt:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            raise
        finally:
            loop.close()  # asyncio.run would wait for name look-ups that hang

    async def _watched(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([task], timeout=_POLL_SECONDS))[0]:
                if self._stop_fn():
                    raise LLMError(f"Stopped while waiting for an answer from {self._endpoint}.")
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait([task])


def _body(request: ModelRequest, with_schema: bool, endpoint: Endpoint) -> dict[str, Any]:
    """The question as the API wants it. Without a schema its end asks for JSON in words."""
    messages = [{"role": message.role, "content": message.text} for message in request.messages]
    body: dict[str, Any] = {"model": endpoint.model, "messages": messages}
    if endpoint.max_tokens is not None:
        body["max_completion_tokens"] = endpoint.max_tokens
    schema = dict(request.answer_schema)
    if with_schema:
        form = {"name": request.wanted, "schema": schema}
        return body | {"response_format": {"type": "json_schema", "json_schema": form}}
    words = f"Answer with one JSON object and nothing else. Its JSON schema is:\n{json.dumps(schema)}"
    return body | {"messages": [*messages, {"role": "user", "content": words}]}


def read_answer(text: str, endpoint: Endpoint) -> ModelResponse | LLMError:
    """The answer in a success's body or why none."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return failures.unreadable(text, endpoint)
    if not isinstance(body, dict):
        return unanswered("an answer that is no JSON object", endpoint)
    if body.get("error"):
        return unanswered(f"an error instead of an answer: {said_by(text)}", endpoint)
    usage = body.get("usage")
    counts = [(usage if isinstance(usage, dict) else {}).get(f"{kind}_tokens") for kind in ("prompt", "completion")]
    tokens_in, tokens_out = (count if isinstance(count, int) and count > 0 else 0 for count in counts)
    match body.get("choices"):
        case [{"message": {**message}, **choice}, *_]:
            content = message.get("content")
        case _:
            return unanswered("an answer without a choice", endpoint, (tokens_in, tokens_out))
    content = re.sub(r"<think>.*?</think>", "", content, flags=re.DOTALL) if isinstance(content, str) else ""
    if not content.strip():
        why = f"an empty answer (it stopped for: {choice.get('finish_reason')})"
        return unanswered(why, endpoint, (tokens_in, tokens_out))
    model = str(body.get("model") or endpoint.model)
    if model.startswith("/") or "\\" in model:  # some servers give the path of the model's file, which is private
        model = model.replace("\\", "/").rpartition("/")[2]
    return ModelResponse(
        text=endpoint.redact(content), model=endpoint.redact(model), tokens_in=tokens_in, tokens_out=tokens_out
    )


def _innermost(error: BaseException) -> str:
    """The words of the innermost cause."""
    words, cause = str(error), error.__cause__
    while cause is not None:
        words, cause = str(cause) or type(cause).__name__, cause.__cause__
    return one_line(words)
