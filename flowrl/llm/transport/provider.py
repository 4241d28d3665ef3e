"""A language model behind any OpenAI-compatible server, hosted or on this machine.

The key is sent to the server and goes nowhere else: whatever the server says is searched for it before it is shown or
kept, and no error carries the client library's own exception, which holds the request.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from flowrl.errors import LLMError, Unanswered, UsageError
from flowrl.llm.transport.client import Request, Response
from flowrl.llm.transport.failures import Place, Refusal, explain, shown, without_secrets
from flowrl.llm.transport.wire import Answer, Broken, Endpoint, ask, check_installed, model_names

T = TypeVar("T")
KEY_VARIABLES = ("FLOWRL_API_KEY", "OPENAI_API_KEY")
_SLICE = 0.1
"""Seconds after which a wait for an answer looks whether it is to end."""
_GRACE = 15.0
"""Seconds beyond the time for an answer after which what waits for it is given up."""


def find_key(key_file: Path | None) -> SecretStr | None:
    """Returns the key: of the file, else of FLOWRL_API_KEY, else of OPENAI_API_KEY; None if there is none.

    Raises:
        UsageError: the file cannot be read, or what it holds cannot be a key; it is not shown.
    """
    if key_file is not None:
        key, source = _read_key(key_file), f"--key-file {key_file}"
    else:
        found = [(os.environ[name].strip(), name) for name in KEY_VARIABLES if os.environ.get(name, "").strip()]
        if not found:
            return None
        key, source = found[0]
    if not (key and key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(f"{source} holds no key: it is empty, or has blanks, line ends or letters that no key has.")
    return SecretStr(key)


def _read_key(key_file: Path) -> str:
    try:
        # Letters that are none are replaced, not refused: that error would hold the key.
        return key_file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise UsageError(f"--key-file {key_file} cannot be read: {error.strerror}.") from error


class Provider:
    """Asks a model once; `Retries` asks again. Safe to use from several threads.

    A server that refuses JSON schemas is asked for JSON in plain words, from then on at once.
    """

    def __init__(self, endpoint: Endpoint, stop: Callable[[], bool] = lambda: False) -> None:
        """Asks nothing yet.

        Args:
            stop: asked several times a second while an answer is awaited; true ends the wait.

        Raises:
            LLMError: the extra is not installed.
        """
        check_installed()
        self._endpoint, self._stop = endpoint, stop
        self._place = Place(endpoint.model, endpoint.base_url)
        self._secrets = () if endpoint.key is None else (endpoint.key.get_secret_value(),)
        self._takes_schema = True

    def __repr__(self) -> str:
        """Returns model and address, no key."""
        return f"Provider({self._place})"

    def complete(self, request: Request) -> Response:
        """Returns the answer, as JSON of the schema wanted where the server can be held to one.

        Raises:
            Unanswered: there is none this time.
            LLMError: there is none, and asking again in the same way is no use; or a stop was asked for.
        """
        started = time.monotonic()
        outcome = self._put(request)
        if isinstance(outcome, Refusal):
            raise self._refused(outcome)
        if isinstance(outcome, Broken):
            raise self._broken(outcome)
        text = without_secrets(outcome.text, self._secrets)
        if not text.strip():
            why = f"an empty answer (it stopped for: {outcome.finish})"
            raise self._broken(Broken(why, True, outcome.tokens_in, outcome.tokens_out))
        return Response(
            text=text,
            model=without_secrets(outcome.model, self._secrets),
            tokens_in=outcome.tokens_in,
            tokens_out=outcome.tokens_out,
            seconds=time.monotonic() - started,
        )

    def _put(self, request: Request) -> Answer | Refusal | Broken:
        """Returns the outcome of a question, put again without a schema if that may be why it was refused."""
        takes_schema = self._takes_schema
        outcome = self._wait_for(ask(self._endpoint, request, takes_schema))
        if takes_schema and isinstance(outcome, Refusal) and outcome.may_be_the_schema:
            plain = self._wait_for(ask(self._endpoint, request, with_schema=False))
            if isinstance(plain, Answer):
                self._takes_schema = False
            return outcome if isinstance(plain, Refusal) else plain
        return outcome

    def _refused(self, refusal: Refusal) -> LLMError:
        models = self._wait_for(model_names(self._endpoint)) if refusal.lacks_the_model else None
        names = None if models is None else [shown(name, self._secrets) for name in models]
        return explain(refusal, self._place, shown(refusal.said, self._secrets), names)

    def _broken(self, broken: Broken) -> LLMError:
        why = f"No answer from {self._place}: {shown(broken.why, self._secrets)}."
        if broken.again:
            return Unanswered(why, None, broken.tokens_in, broken.tokens_out)
        return LLMError(f"{why} Correct --base-url, which mostly ends with /v1.")

    def _wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Returns what the coroutine does, run in a thread, so that a stop or Ctrl-C ends the wait whatever it does.

        Raises:
            LLMError: a stop was asked for.
            Unanswered: it is not over long after its own time limit.
        """
        pool = concurrent.futures.ThreadPoolExecutor(1, "llm")
        loop = asyncio.new_event_loop()
        task = loop.create_task(coroutine)
        future = pool.submit(_run, loop, task)
        end = time.monotonic() + self._endpoint.timeout + _GRACE
        try:
            while True:
                if self._stop():
                    raise LLMError(f"Stopped while waiting for an answer from {self._place}.")
                if time.monotonic() > end:
                    raise self._broken(Broken("no answer in time", True))
                try:
                    return future.result(_SLICE)
                except concurrent.futures.TimeoutError:
                    if future.done():
                        raise
        finally:
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                loop.call_soon_threadsafe(task.cancel)
            pool.shutdown(wait=False)


def _run(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[T]") -> T:
    """Returns the outcome of a task; its loop is closed then, without waiting for name look-ups that hang."""
    try:
        return loop.run_until_complete(task)
    finally:
        loop.close()
