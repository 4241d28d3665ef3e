"""A worker cannot reach other machines; sockets of its own machine stay, as drivers of cards need them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = """
import json, socket, subprocess, sys, threading
from flowrl.jobs.worker import run_worker
from flowrl.schema.run import TrainResult

def tried(act):
    try:
        act()
    except OSError as error:
        return error.errno
    return 0

def work(folder):
    port = json.loads((folder / "needed.json").read_text())
    found = {
        "tcp": tried(lambda: socket.create_connection(("127.0.0.1", port))),
        "udp": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
        "tcp6": tried(lambda: socket.socket(socket.AF_INET6)),
        "local": tried(lambda: socket.socket(socket.AF_UNIX)),
        "child": subprocess.run([sys.executable, "-c", "import socket; socket.socket(socket.AF_INET)"]).returncode,
    }
    thread = threading.Thread(target=lambda: found.update(thread=tried(lambda: socket.socket(socket.AF_INET))))
    thread.start()
    thread.join()
    (folder / "found.json").write_text(json.dumps(found))
    return TrainResult(outcome="done")

sys.exit(run_worker(work, "needed.json"))
"""


FAMILIES = """
import socket
from flowrl.verify.isolation.seccomp import deny_network

deny_network()
refused = []
for family in (*range(64), 1 << 20, -1):
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
    except OSError as error:
        if error.errno == 1:
            refused.append(family)
for family in (socket.AF_INET, socket.AF_UNIX):
    try:
        [end.close() for end in socket.socketpair(family)]
    except OSError as error:
        refused.append((int(family), error.errno))
print(refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_every_family_but_local_ones_is_refused() -> None:
    """Those that this kernel lacks too: what comes of AF_XDP, AF_SMC and AF_VSOCK does not hang on the machine."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", FAMILIES], env=environment, capture_output=True, text=True, check=True)
    others = [family for family in (*range(64), 1 << 20) if family not in (socket.AF_UNIX, socket.AF_NETLINK)]
    assert done.stdout.strip() == str([*others, -1, (int(socket.AF_INET), 1)])


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_a_worker_cannot_connect(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "needed.json").write_text(json.dumps(server.getsockname()[1]))
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run([sys.executable, "-c", WORKER, str(tmp_path)], env=environment, check=False)
    assert done.returncode == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found.pop("local") == 0 and found.pop("child") == 1
    assert found == {"tcp": 1, "udp": 1, "tcp6": 1, "thread": 1}
    assert "no network: sockets of other machines are refused (seccomp)" in (tmp_path / "log.txt").read_text()
