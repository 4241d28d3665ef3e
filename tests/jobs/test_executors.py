"""Executors: what is started, watched, stopped and told when it is over. The jobs are small scripts of their own."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from flowrl.errors import PlatformError, UsageError
from flowrl.jobs.job import Job, JobEnd
from flowrl.jobs.local import LocalExecutor, is_locked, memory_warning, slots_for, worker_process
from flowrl.jobs.ray_executor import RayExecutor, share_of_card
from tests.support.inline import InlineExecutor
from tests.support.odd_jobs import MODULE, ends, until


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_job.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))


def job(tmp_path: Path, name: str = "one", **todo: object) -> Job:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "todo.json").write_text(json.dumps(todo))
    return Job(folder, name, "odd_job")


def test_a_job_is_run_and_its_end_is_told_at_once(tmp_path: Path) -> None:
    executor = LocalExecutor()
    done = job(tmp_path, seconds=0.5, word="hello")
    executor.submit(done)
    assert executor.is_under_way(done)
    end = ends(executor)[0]
    assert (end.job, end.code) == (done, 0) and done.is_answered
    assert "said hello" in done.log.read_text() and not executor.is_under_way(done)


def test_a_job_without_an_answer_tells_its_exit_code_and_its_last_words(tmp_path: Path) -> None:
    executor, bad = LocalExecutor(), job(tmp_path, code=7, word="of farewell")
    executor.submit(bad)
    end = ends(executor)[0]
    assert end.code == 7 and not bad.is_answered
    assert "exit code 7" in end.why() and "said of farewell" in end.why()


def test_a_job_that_is_asked_to_leave_may_save_something_first(tmp_path: Path) -> None:
    executor, long = LocalExecutor(), job(tmp_path, seconds=60)
    executor.submit(long)
    until(long.folder / "seen.json")
    executor.cancel(long)
    assert ends(executor)[0].code == 3


def test_a_job_that_does_not_listen_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrl.jobs.local.GRACE_SECONDS", 0.5)
    executor, deaf = LocalExecutor(), job(tmp_path, seconds=60, deaf=True)
    executor.submit(deaf)
    until(deaf.folder / "seen.json")
    executor.cancel(deaf)
    assert ends(executor)[0].code == -signal.SIGKILL


def test_a_job_that_hangs_is_killed_without_being_asked(tmp_path: Path) -> None:
    executor, deaf = LocalExecutor(), job(tmp_path, seconds=60, deaf=True)
    executor.submit(deaf)
    until(deaf.folder / "seen.json")
    executor.cancel(deaf, kill=True)
    assert ends(executor, seconds=5)[0].code == -signal.SIGKILL


@pytest.mark.parametrize("cores", [None, 1])
def test_a_job_that_another_process_started_is_found_watched_and_stopped(tmp_path: Path, cores: int | None) -> None:
    first, long = LocalExecutor(2), job(tmp_path, seconds=60)
    first.submit(long)
    until(long.heartbeat)
    second = LocalExecutor(1, cores)
    second.submit(long)
    assert worker_process(long) is not None and is_locked(long)
    assert second.wait(0.3) == []
    second.cancel(long)
    assert ends(second)[0].job == long and not is_locked(long)


def test_no_two_processes_work_on_a_folder(tmp_path: Path) -> None:
    executor, long = LocalExecutor(2), job(tmp_path, seconds=60)
    executor.submit(long)
    until(long.heartbeat)
    command = [*long.command(), "--patience", "0.2"]
    assert psutil.Popen(command).wait(30) == 1
    executor.cancel(long)
    ends(executor)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be shared out")
def test_jobs_at_the_same_time_get_cores_of_their_own_and_give_them_back(tmp_path: Path) -> None:
    executor = LocalExecutor(2)
    jobs = [job(tmp_path, name, seconds=0.5) for name in ("a", "b")]
    for each in jobs:
        executor.submit(each)
    ends(executor, 2)
    seen = [tuple(json.loads((each.folder / "seen.json").read_text())["cores"]) for each in jobs]
    assert seen[0] and seen[1] and not set(seen[0]) & set(seen[1])
    again = job(tmp_path, "c")
    executor.submit(again)
    ends(executor)
    assert tuple(json.loads((again.folder / "seen.json").read_text())["cores"]) in seen


def test_slots_share_cores_evenly_and_cards_in_turn() -> None:
    one = slots_for(1, (0, 1, 2, 3), ())
    assert one[0].cores == () and one[0].options() == [], "a single job has the whole machine"
    assert [slot.cores for slot in slots_for(2, (0, 1, 2, 3), ())] == [(0, 1), (2, 3)]
    assert [slot.cores for slot in slots_for(3, (4, 5), ())] == [(4,), (5,), (4,)]
    assert [slot.cores for slot in slots_for(1, (0, 1), (), per_job=1)] == [(0,)]
    assert [slot.cores for slot in slots_for(2, (), ())] == [(), ()]
    cards = slots_for(3, (0, 1, 2), ("0", "GPU-7"))
    assert [slot.card for slot in cards] == ["0", "GPU-7", "0"]
    assert [slot.memory for slot in cards] == [0.45, None, 0.45]
    environment = cards[0].environment()
    assert environment["CUDA_VISIBLE_DEVICES"] == "0" and environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.450"


def test_a_worker_sees_the_card_that_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    executor, jobs = LocalExecutor(2), [job(tmp_path, name, seconds=0.3) for name in ("a", "b")]
    for each in jobs:
        executor.submit(each)
    ends(executor, 2)
    assert [json.loads((each.folder / "seen.json").read_text())["card"] for each in jobs] == ["3", "5"]


def test_the_inline_executor_runs_a_job_in_this_process(tmp_path: Path) -> None:
    executor, done, bad = InlineExecutor(), job(tmp_path), job(tmp_path, "bad", code=5)
    for each in (done, bad):
        executor.submit(each)
    assert executor.wait(0) == [JobEnd(done, 0), JobEnd(bad, 5)] and executor.wait(0) == []
    assert int(done.heartbeat.read_text().split()[0]) == os.getpid()
    with socket.socket() as here:
        here.bind(("127.0.0.1", 0))  # what the job's process gives up must not be taken from this one


def test_memory_that_does_not_suffice_is_told_with_the_arithmetic() -> None:
    assert memory_warning("Tiny-Grid-v1", 2, free_gib=8) is None
    warning = memory_warning("Craftax-Classic-Symbolic-v1", 8, free_gib=4)
    assert warning is not None
    assert "8 jobs of about 1.2 GiB each need 9.6 GiB, but 4.0 GiB are free" in warning and "--jobs 3" in warning


def test_a_ray_address_that_does_not_answer_fails_within_seconds_and_is_named() -> None:
    start = time.monotonic()
    with pytest.raises(PlatformError, match=r"No Ray cluster answers at 127\.0\.0\.1:9"):
        RayExecutor("127.0.0.1:9")
    with pytest.raises(UsageError, match="takes auto or HOST:PORT, not 'nonsense'"):
        RayExecutor("nonsense")
    assert time.monotonic() - start < 15


def test_ray_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"flowrl\[ray\]"):
        RayExecutor()


def test_cards_of_a_cluster_are_shared_where_there_are_fewer_than_jobs() -> None:
    assert [share_of_card(cards, jobs) for cards, jobs in ((0, 4), (4, 2), (1, 2), (2, 4), (2, 3))] == [
        0.0,
        1.0,
        0.5,
        0.5,
        0.5,
    ]
