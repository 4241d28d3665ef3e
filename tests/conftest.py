"""Set-up of the suite: jax as workers have it, order and grouping over processes, a home that was grown once.

Compiled programs are kept for the next session, as workers keep theirs. What this user has vouched for is left alone.
"""

import gc
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import psutil
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from flowrl.jax_runtime import configure_jax

pytest.register_assert_rewrite("tests.support")

LONGEST = (
    "e2e/test_chaos.py",
    "env/test_exact.py",
    "e2e/test_run.py",
    "growing/test_merging.py",
    "e2e/test_flow_grows.py",
    "knowledge/test_base_full.py",
    "knowledge/test_armour.py",
    "verify/test_farming_full.py",
    "verify/test_hostile.py",
    "training/test_ppo.py",
    "models/test_sparse_layer.py",
    "jobs/test_ray.py",
    "e2e/test_real_game.py",
    "env/test_snapshots.py",
    "verify/test_behaviour.py",
    "analysis/test_ablation.py",
    "skillcode/test_artefact.py",
    "e2e/test_exported_run.py",
    "e2e/test_chain_run.py",
    "knowledge/test_base.py",
    "env/test_shaping.py",
)
"""Files that take longest, which start first: so that no process is left with a long one at the end."""
PLAYED = {
    "full Craftax": (
        "knowledge/test_base_full.py",
        "knowledge/test_armour.py",
        "verify/test_farming_full.py",
        "models/test_sparse_layer.py",
        "env/test_snapshots.py",
        "env/test_symbolic_state.py",
        "env/test_staging.py",
    ),
    "Classic": ("knowledge/test_base.py", "env/test_shaping.py", "env/test_postconditions.py"),
}
"""Files that play one compiled game (`tests.support.played.game_of`), and so run in one process."""
GAMES = {file: game for game, files in PLAYED.items() for file in files}

CLEAR_ABOVE = 2 * 2**30
"""Bytes of memory."""


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job that a shell started in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A slow machine is no defect of a test that draws its examples.
    settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("suite")
    configure_jax(0.5, groups=2)
    jax.config.update("jax_num_cpu_devices", 2)  # on a single core too, so that what is spread is tested as such


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        rank = {file: i for i, file in enumerate(LONGEST)}
        items.sort(key=lambda item: rank.get(file_of(item.nodeid), len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out whole files in the order above, those of one game together."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return GAMES.get(file_of(nodeid), file_of(nodeid))

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiled programs of all files take gigabytes; those that are needed again come from the cache on disk."""
    yield
    if file_of(request.node.nodeid) not in GAMES and psutil.Process().memory_info().rss > CLEAR_ABOVE:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with Collect Wood, Collect Drink and Place Table, grown once a session; tests change copies."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # all processes of the session share it
    from tests.support.runs import grow_to  # not before the shape checks are set up

    home, done = folder / "grown" / "home", folder / "grown" / "done"
    with FileLock(folder / "grown.lock"):
        if not done.exists():
            outcome = grow_to(home, 3)
            assert outcome.complete, outcome.reason
            done.touch()
    return home


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
