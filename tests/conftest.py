"""Compiled programs are kept for the whole session and the next one, as workers keep theirs."""

from flowrl.platform import configure_jax


def pytest_configure() -> None:
    configure_jax(0.5)
