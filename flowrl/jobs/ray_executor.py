"""Jobs as Ray tasks. On a running cluster or on a Ray started on this machine.

A task starts the job's command on the node that Ray picks and waits for it. Only the command travels: the folder lies
on a disk that all nodes share. Ray starts a task again if its node is lost; the command then goes on from the last
checkpoint.
"""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowrl.errors import PlatformError, UsageError
from flowrl.files import open_to_append, write_text
from flowrl.jobs.job import Job, JobEnd
from flowrl.jobs.local import GRACE_SECONDS, is_locked
from flowrl.paths import PACKAGE_ROOT, JobPaths

CONNECT_SECONDS = 10.0
JOIN_SECONDS = 30.0
ORPHAN_SECONDS = 60.0
"""How long a job that Ray starts again waits for the process of the lost node to let go of its folder."""


def run_command(command: Sequence[str], folder: str, environment: dict[str, str]) -> int:
    """Run a job's command on a cluster node.

    The command stops by itself, saving a checkpoint, when this process dies or a file `stop` appears in the folder.
    """
    import ray

    paths = JobPaths(Path(folder))
    with open_to_append(paths.log) as log:
        log.write(f"on Ray node {ray.get_runtime_context().get_node_id()}, {socket.gethostname()}\n".encode())
        log.flush()
        command = [*command, "--patience", str(ORPHAN_SECONDS), "--parent", str(os.getpid())]
        variables = os.environ | environment
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables)
    asked = False
    while child.poll() is None:
        if not asked and paths.stop.exists():
            child.terminate()
            asked = True
        time.sleep(0.2)
    return child.returncode


class RayExecutor:
    """Runs jobs as tasks of a Ray cluster.

    Args:
        address: "auto" or HOST:PORT of a cluster that runs; None: starts Ray on this machine, on its loopback alone.
        jobs: most jobs at once; a cluster with fewer GPUs has them shared.

    Raises:
        UsageError: Ray is not installed; names the extra.
        PlatformError: nothing answers at the address.
    """

    def __init__(self, address: str | None = None, jobs: int = 1, cores: int = 1):
        _prepare_environment(address)
        if address is not None:
            _require_answer(address)
            _require_cluster(address)
        self._ray = _import_ray()
        self._cores = cores
        self._connect(address)
        self._cards = share_of_card(self._ray.cluster_resources().get("GPU", 0), jobs)
        self._tasks: dict[Any, Job] = {}

    def submit(self, job: Job) -> None:
        """Starts a task for the job. Where another process works on its folder already, the task waits for it."""
        job.stop.unlink(missing_ok=True)
        options: dict[str, Any] = {"num_cpus": self._cores, "max_retries": 5, "name": job.name}
        environment = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": import_path()}
        if self._cards:
            options["num_gpus"] = self._cards
            environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * self._cards:.3f}"
        task = self._ray.remote(run_command).options(**options)
        self._tasks[task.remote(job.command(), str(job.folder.resolve()), environment)] = job

    def wait(self, seconds: float) -> list[JobEnd]:
        """Jobs that have ended. As soon as there is one, else after ``seconds``."""
        if not self._tasks:
            time.sleep(seconds)
            return []
        done, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
        return [JobEnd(self._tasks.pop(task), self._code(task)) for task in done]

    def _code(self, task: Any) -> int | None:
        """A task's exit code or None if Ray gave it up."""
        try:
            return int(self._ray.get(task))
        except (self._ray.exceptions.RayError, self._ray.exceptions.TaskCancelledError):
            return None

    def cancel(self, job: Job, kill: bool = False) -> None:
        """Ask a job to save and leave. By a file in its folder; it is ended after 20 seconds."""
        task = next((task for task, other in self._tasks.items() if other.name == job.name), None)
        if task is None:
            return
        if kill:
            self._ray.cancel(task, force=True)
            return
        write_text(job.stop, "stop\n")
        end = threading.Timer(GRACE_SECONDS, lambda: self._end(task))
        end.daemon = True
        end.start()

    def _end(self, task: Any) -> None:
        if task in self._tasks:
            self._ray.cancel(task, force=True)

    def _require_room(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Check that a node has enough cores for a job. It would else wait for ever."""
        most = max((node["Resources"].get("CPU", 0) for node in nodes if node["Alive"]), default=0)
        if most < self._cores:
            raise UsageError(
                f"No node of the Ray cluster has {self._cores} cores; the largest has {most:.0f}. Try --cores."
            )

    def is_waiting(self, job: Job) -> bool:
        """Whether the job's task waits for a free place. No process works on the folder yet."""
        return not is_locked(job)

    def is_under_way(self, job: Job) -> bool:
        """Whether any process works on the job. A task of this executor, or a process that shares the disk."""
        return any(other.name == job.name for other in self._tasks.values()) or is_locked(job)

    def close(self) -> None:
        """Leave the cluster. A Ray that was started for this executor ends."""
        self._ray.shutdown()

    def _connect(self, address: str | None) -> None:
        options: dict[str, Any] = {"address": address or "local"}
        if address is None:
            options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            # Ray has tasks import from the folder that it is started in: let that be this package's.
            with contextlib.chdir(PACKAGE_ROOT):
                self._ray.init(log_to_driver=False, logging_level="ERROR", **options)
        except (ConnectionError, RuntimeError, ValueError, self._ray.exceptions.RayError) as error:
            raise PlatformError(f"Ray does not start or let this process join: {error}") from error
        self._require_room(self._ray.nodes())


def _prepare_environment(address: str | None) -> None:
    """Set Ray's environment: whoever connects to a Ray started here needs its token.

    To be called before Ray is imported, which reads these variables once.
    """
    host = "" if address is None else address.rpartition(":")[0]
    if host in ("", "127.0.0.1", "localhost"):
        # On Linux, too, the loopback is to be taken at its word; Ray would look for this machine's other address.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if address is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def import_path() -> str:
    """A job's import path without the current folder.

    `python -m` puts that in front, and its files may be anyone's. It stays if PYTHONPATH names it or this package lies
    in it.
    """
    here = Path.cwd()
    named = {Path(path).resolve() for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path}
    wanted = here in named | {PACKAGE_ROOT}
    return os.pathsep.join(path for path in sys.path if path and (wanted or Path(path).resolve() != here.resolve()))


def share_of_card(cards: float, jobs: int) -> float:
    """Share of a GPU for each job. A whole one if there are enough, else an even part."""
    if cards < 1:
        return 0.0
    return 1.0 / -(-jobs // int(cards))


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UsageError("--executor ray needs Ray, which is not installed: pip install 'flowrl[ray]'") from error
    return ray


def _require_answer(address: str) -> None:
    """Check that something answers at HOST:PORT. "auto" is left to Ray."""
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        raise UsageError(f"--address takes auto or HOST:PORT, not {address!r}; for example --address 10.0.0.1:6379")
    try:
        with contextlib.closing(socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS)):
            return
    except OSError as error:
        raise PlatformError(
            f"No Ray cluster answers at {address}: {error}. Start one there: ray start --head --port {port}"
        ) from error


def _require_cluster(address: str) -> None:
    """Check in a child process that a cluster lets one join. Ray itself may wait for minutes."""
    code = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"
    try:
        command = [sys.executable, "-P", "-c", code, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=JOIN_SECONDS, check=False)
        reason = (done.stderr.strip().splitlines() or ["it does not say why"])[-1] if done.returncode else ""
    except subprocess.TimeoutExpired:
        reason = f"it did not within {JOIN_SECONDS:.0f} s"
    if reason:
        raise PlatformError(
            f"The Ray cluster at {address} does not let this process join: {reason}\n"
            "One that asks for a token needs it here too: RAY_AUTH_TOKEN=... (docs/cluster.md)."
        )
