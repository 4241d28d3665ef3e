"""What tests/test_ray.py runs in processes of their own: Ray reads its environment once, when it is imported."""

import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

from flowrl.growing.controller import GrowLimits
from flowrl.growing.grow import GrowOutcome, grow
from flowrl.jobs.job import Job
from flowrl.jobs.ray_executor import RayExecutor
from tests.support.odd_jobs import ends, until
from tests.support.runs import Watcher, tiny_config

SETTINGS = {"ppo__frames": 200_000, "gate__stop_at": 1.0, "checkpoint__every": 1}
"""No run ends early, so that there is a middle to take a node away in."""


def nodes_of(home: Path) -> dict[str, list[str]]:
    """Returns the Ray nodes that each run has been on, in order."""
    logs = sorted(home.glob("training_runs/skill_*/log.txt"))
    return {log.parent.name: re.findall(r"on Ray node (\w+)", log.read_text(errors="replace")) for log in logs}


def two_nodes(folder: Path) -> None:
    """Grows four skills over a head and a second node with one core each, and takes the second away."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    second = cluster.add_node(**node)
    home, outcomes = folder / "home", list[GrowOutcome]()
    thread = threading.Thread(target=lambda: outcomes.append(_grow(home, cluster)))
    thread.start()
    lost = _wait_for_a_checkpoint_on(home, second.node_id)
    cluster.remove_node(second, allow_graceful=False)
    thread.join(600)
    assert outcomes and outcomes[0].complete, outcomes
    assert [record.status for record in outcomes[0].records] == ["learned"] * 4
    seen = nodes_of(home)
    assert len({node for nodes in seen.values() for node in nodes}) == 2, "both nodes had work"
    assert len(seen[lost]) >= 2 and seen[lost][-1] != second.node_id, "the lost run went on elsewhere"
    text = (home / "training_runs" / lost / "log.txt").read_text()
    assert "goes on from update" in text, "and from its checkpoint, not from its beginning"
    cluster.shutdown()


def _grow(home: Path, cluster: Any) -> GrowOutcome:
    def make(limits: GrowLimits) -> RayExecutor:
        return RayExecutor(cluster.address, limits.jobs)

    return grow(home, tiny_config(**SETTINGS), 4, None, Watcher(), limits=GrowLimits(jobs=2), executor_fn=make)


def _wait_for_a_checkpoint_on(home: Path, node: str) -> str:
    """Returns the folder of a run that trains on a node and has saved something."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for name, nodes in nodes_of(home).items():
            folder = home / "training_runs" / name
            if nodes and nodes[-1] == node and list(folder.glob("checkpoints/*.json")):
                assert not (folder / "result.json").exists(), "too late: the run is over"
                return name
        time.sleep(0.05)
    raise AssertionError(f"nothing trains on {node}: {nodes_of(home)}")


def own_ray(folder: Path) -> None:
    """Runs, stops and kills jobs on a Ray that is started for them."""
    jobs = {}
    for name, todo in (("short", '{"word": "hello"}'), ("long", '{"seconds": 60}'), ("deaf", '{"seconds": 60}')):
        (folder / name).mkdir()
        (folder / name / "todo.json").write_text(todo)
        jobs[name] = Job(folder / name, name, "odd_job")
    executor = RayExecutor()
    executor.submit(jobs["short"])
    assert ends(executor)[0].code == 0 and jobs["short"].is_answered
    executor.submit(jobs["long"])
    until(jobs["long"].heartbeat)
    assert executor.is_under_way(jobs["long"])
    executor.cancel(jobs["long"])
    assert ends(executor)[0].code == 3
    executor.submit(jobs["deaf"])
    until(jobs["deaf"].heartbeat)
    executor.cancel(jobs["deaf"], kill=True)
    assert ends(executor)[0].code is None
    executor.close()


if __name__ == "__main__":
    {"two_nodes": two_nodes, "own_ray": own_ray}[sys.argv[1]](Path(sys.argv[2]))
    sys.stdout.write("all is well\n")
