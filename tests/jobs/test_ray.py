"""The Ray executor: skills grown over two nodes, one of which is taken away in the middle; a Ray of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.odd_jobs import MODULE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
ROOT = Path(__file__).parents[2]


def in_a_process_of_its_own(what: str, folder: Path, **environment: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # Ray takes the loopback at its word; in the executor the same is set before Ray is imported.
    path = os.pathsep.join([str(ROOT), str(folder)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.ray_script", what, str(folder)],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": path, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **environment},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0 and "all is well" in done.stdout, done.stdout[-3000:] + done.stderr[-6000:]


def test_four_skills_grow_over_two_nodes_of_which_one_is_lost(tmp_path: Path) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-for-this-test-alone-0123456789"}
    in_a_process_of_its_own("two_nodes", tmp_path, **token)


def test_a_ray_of_its_own_runs_stops_and_kills_jobs(tmp_path: Path) -> None:
    (tmp_path / "odd_job.py").write_text(MODULE)
    in_a_process_of_its_own("own_ray", tmp_path)
