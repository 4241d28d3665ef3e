"""A job run as a child to its end: its rows, its result, and what ends it early."""

import json
import os
import time
from pathlib import Path

import psutil
import pytest

from flowrl.errors import TrainingError
from flowrl.files import append_line
from flowrl.jobs.job import Job
from flowrl.jobs.local import is_locked, run_job, worker_process
from flowrl.schema.metrics import MetricsRow, PhaseRow
from flowrl.schema.run import TrainResult
from tests.support.odd_jobs import MODULE


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    (tmp_path / "odd_job.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))
    (tmp_path / "one").mkdir()
    return Job(tmp_path / "one", "odd job", "odd_job")


def ask(job: Job, **todo: object) -> None:
    (job.folder / "todo.json").write_text(json.dumps(todo))


def test_its_result_comes_back_and_its_rows_before(job: Job) -> None:
    ask(job, word="hello")
    append_line(job.metrics, PhaseRow(kind="probing"))
    rows: list[MetricsRow] = []
    assert run_job(job, TrainResult, rows.append) == TrainResult(outcome="done")
    assert rows == [PhaseRow(kind="probing")] and "said hello" in job.log.read_text()


def test_without_a_result_it_fails_with_the_end_of_its_log(job: Job) -> None:
    ask(job, word="of farewell", code=7)
    with pytest.raises(TrainingError, match=r"(?s)The odd job failed\. .*exit code 7.*said of farewell"):
        run_job(job, TrainResult, lambda row: None)


@pytest.mark.parametrize("how", ["asked", "late", "raises"])
def test_it_is_ended_before_its_time(job: Job, how: str) -> None:
    ask(job, seconds=120)
    begin = time.monotonic()

    def stop() -> bool:
        if not job.heartbeat.exists():
            return False
        assert is_locked(job) and worker_process(job) is not None
        if how == "raises":
            raise KeyboardInterrupt
        return how == "asked"

    seconds = 3.0 if how == "late" else 120.0
    with pytest.raises(KeyboardInterrupt if how == "raises" else TrainingError):
        run_job(job, TrainResult, lambda row: None, stop, seconds)
    assert time.monotonic() - begin < 60 and not psutil.pid_exists(int(job.heartbeat.read_text().split()[0]))
