"""Compiled programs are kept for the whole session and the next one, as workers keep theirs; what this user has vouched
for is left alone."""

from collections.abc import Iterator

import pytest

from flowrl.platform import configure_jax


def pytest_configure() -> None:
    configure_jax(0.5)


@pytest.fixture(scope="session", autouse=True)
def _nothing_vouched_for(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
