"""A real HTTP server on loopback that stands for a language model's, and misbehaves as it is told to."""

import http.server
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
GOOD = '{"name": "Collect Wood"}'


@dataclass(frozen=True)
class Say:
    """An HTTP answer.

    Attributes:
        cut: bytes of the body that are announced and not sent; the connection is closed then.
        after: seconds before anything is sent; ``drip``: seconds between the bytes of the body.
        reset: the connection is reset in place of an answer.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON
    cut: int = 0
    after: float = 0.0
    drip: float = 0.0
    reset: bool = False


def completion(text: str | None = GOOD, **changes: Any) -> Say:
    """Returns a chat completion; ``changes`` replace its fields, None takes one out."""
    message = {"role": "assistant", "content": text}
    body = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    } | changes
    return Say(body=json.dumps({key: value for key, value in body.items() if value is not None}).encode())


def refusal(status: int, body: Any, **headers: str) -> Say:
    """Returns an error as JSON."""
    return Say(status, json.dumps(body).encode(), {key.replace("_", "-"): value for key, value in headers.items()})


def openai_error(status: int, message: str, code: str | None = None, **headers: str) -> Say:
    """Returns an error in OpenAI's dialect."""
    return refusal(status, {"error": {"message": message, "type": "some_error", "code": code}}, **headers)


Script = Callable[[dict[str, Any]], Say]


class Server:
    """What a test sees of the server.

    Attributes:
        asked: the bodies that were posted, with the time and headers of each.
        models: what GET /v1/models tells; None makes that a 404.
    """

    def __init__(self) -> None:
        self.says: list[Say | Script] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.models: list[str] | None = ["tiny", "small"]
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def next(self, body: dict[str, Any]) -> Say:
        """Returns what is next in the queue; the last one stays."""
        say = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        return say(body) if callable(say) else say


def _handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.asked.append(body)
            server.headers.append({key.lower(): value for key, value in self.headers.items()})
            server.paths.append(self.path)
            try:
                self._say(server.next(body))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def do_GET(self) -> None:
            server.paths.append(self.path)
            if server.models is None or self.path != "/v1/models":
                self._say(Say(404, b"not here", content_type="text/plain"))
                return
            rows = [{"id": name, "object": "model", "created": 1, "owned_by": "me"} for name in server.models]
            self._say(Say(body=json.dumps({"object": "list", "data": rows}).encode()))

        def _say(self, say: Say) -> None:
            time.sleep(say.after)
            if say.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            self.send_response(say.status)
            self.send_header("content-type", say.content_type)
            self.send_header("content-length", str(len(say.body)))
            for name, value in say.headers.items():
                self.send_header(name, value)
            self.end_headers()
            body = say.body[: len(say.body) - say.cut]
            for i in range(0, len(body), 1 if say.drip else max(1, len(body))):
                self.wfile.write(body[i : i + (1 if say.drip else len(body))])
                self.wfile.flush()
                time.sleep(say.drip)
            self.close_connection = self.close_connection or say.cut > 0

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return Handler


@contextmanager
def serving(*says: Say | Script) -> Iterator[Server]:
    """Yields a server that says these in turn."""
    server = Server()
    server.says = list(says) or [completion()]
    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http_server.daemon_threads = True
    server.port = http_server.server_port
    thread = threading.Thread(target=http_server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http_server.shutdown()
        http_server.socket.close()
        thread.join()


def closed_port() -> int:
    """Returns a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
