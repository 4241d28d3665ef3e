"""Compiled programs are kept for the whole session and the next one, as workers keep theirs; what this user has vouched
for is left alone."""

import socket
from collections.abc import Iterator
from typing import Any

import jax
import pytest

from flowrl.jax_runtime import configure_jax

pytest.register_assert_rewrite("tests.support")


def pytest_configure() -> None:
    configure_jax(0.5, groups=2)
    jax.config.update("jax_num_cpu_devices", 2)  # on a single core too, so that what is spread is tested as such


@pytest.fixture
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fails the test if anything connects to, or asks for the address of, another machine; yields what was tried."""
    tried: list[str] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def check(host: object) -> None:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name not in ("localhost", "::1") and not name.startswith("127."):
            tried.append(name)
            raise OSError(f"a test may not reach {name}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check(address[0])
        connect(self, address)

    def guarded_look_up(host: Any, *arguments: Any, **named: Any) -> Any:
        check(host)
        return look_up(host, *arguments, **named)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield tried
    assert not tried, f"a test tried to reach {tried}"


@pytest.fixture(scope="session", autouse=True)
def _nothing_vouched_for(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
