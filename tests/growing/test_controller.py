"""The controller with workers that do what a script says: failures, losses, hangs, requests, and being cut off."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.tables.library import ENV, expert_arrays, fill_library, small_config
from benchmarks.tables.parallel import pretend_result
from flowrl.errors import FlowRLError, PlanError
from flowrl.files import Arrays, read_json, write_json
from flowrl.growing.run_setup import SkillSetUp
from flowrl.jobs.job import Job, JobEnd
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from flowrl.parallel.controller_files import HomeRequest, Snapshot, leave_request
from flowrl.parallel.run_reports import cancel_run, report_on, reports, retry_run, run_of, status_of
from flowrl.parallel.scheduler import Finish, Proposal
from flowrl.paths import RunPaths
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.stats import Share
from tests.support.runs import Watcher
from tests.support.scripted_jobs import Deed, Scripted, controller_of

NAMES = [skill.name for skill in load_base(ENV).skills]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return expert_arrays(small_config())


def paths_of(job: Job) -> RunPaths:
    return RunPaths(job.folder, read_json(job.folder / "run.json", RunSpec).expert)


def save_something(job: Job, update: int) -> None:
    write_json(paths_of(job).checkpoints / f"update_{update:08d}.json", {})


@pytest.fixture
def library(tmp_path: Path) -> SkillLibrary:
    return SkillLibrary.open_for(tmp_path / "home", small_config())


def learn(arrays: Arrays) -> Deed:
    def deed(job: Job) -> int:
        share = Share(successes=480, total=500)
        evaluation = Evaluation(
            success=share, step_success=share, reached=(500,), finished=(480,), causes={}, length=9.0, amount=1,
            worlds_seed=0,
        )  # fmt: skip
        save_something(job, 1)
        pretend_result(paths_of(job), arrays, evaluation)
        return 0

    return deed


def fail(reason: str, trained: bool) -> Deed:
    def deed(job: Job) -> int:
        if trained:
            save_something(job, 1)
        write_json(paths_of(job).result, TrainResult(outcome="failed", error=reason))
        return 1

    return deed


def die(update: int | None = None) -> Deed:
    def deed(job: Job) -> int:
        if update is not None:
            save_something(job, update)
        job.log.write_text("the last words\n")
        return -9

    return deed


def test_a_skill_that_fails_blocks_nobody_and_its_number_is_free_again(library: SkillLibrary, arrays: Arrays) -> None:
    deeds = {name: [learn(arrays)] for name in NAMES}
    deeds["Collect Drink"] = [fail("its reward is not finite", trained=False)]
    watcher = Watcher()
    controller = controller_of(library, Scripted(deeds), watcher, jobs=2)
    finish = controller.run()
    assert not finish.complete and "Collect Drink is failed" in finish.reason and "runs retry" in finish.reason
    assert {r.name: r.status for r in library.records()} == {n: "learned" for n in NAMES if n != "Collect Drink"}
    assert sorted(r.expert_idx for r in library.records()) == [0, 1, 2, 3]
    assert "its reward is not finite" in watcher.failures["Collect Drink"]
    snapshot = read_json(library.paths.state, Snapshot)
    assert snapshot.finished and snapshot.ended == {"Collect Drink": "failed"}
    assert "not finite" in snapshot.reasons["Collect Drink"]


def test_a_skill_that_trained_and_failed_keeps_its_number(library: SkillLibrary, arrays: Arrays) -> None:
    deeds = {name: [learn(arrays)] for name in NAMES}
    deeds["Collect Wood"] = [fail("NaN", trained=True)]
    finish = controller_of(library, Scripted(deeds)).run()
    assert not finish.complete and [r.name for r in library.records()] == ["Collect Drink"]
    assert library.records()[0].expert_idx == 1 and library.taken_experts()["Collect Wood"] == 0


def test_what_failed_is_left_alone_until_somebody_wants_it_tried_again(library: SkillLibrary, arrays: Arrays) -> None:
    first = Scripted({"Collect Wood": [fail("NaN", trained=True)], "Collect Drink": [learn(arrays)]})
    controller_of(library, first, goal="COLLECT_WOOD, COLLECT_DRINK").run()
    again = Scripted({name: [learn(arrays)] for name in NAMES})
    controller_of(library, again, goal="COLLECT_WOOD, COLLECT_DRINK").run()
    assert again.submitted == []
    retry_run(library, "collect wood")
    assert report_on(*run_of(library, "Collect Wood")).state == "interrupted"
    assert controller_of(library, again, count=5).run().complete
    assert again.submitted[0] == "Collect Wood" and library.record("Collect Wood").expert_idx == 0


def test_a_worker_that_is_lost_is_started_again_and_given_up_with_its_last_words(
    library: SkillLibrary, arrays: Arrays
) -> None:
    deeds = {"Collect Wood": [die(), die(1), die(2), die(), learn(arrays)], "Collect Drink": [die()] * 9}
    executor, watcher = Scripted(deeds), Watcher()
    finish = controller_of(library, executor, watcher, "COLLECT_WOOD, COLLECT_DRINK", losses=3).run()
    assert library.record("Collect Wood").status == "learned" and not finish.complete
    assert executor.submitted.count("Collect Wood") == 5 and executor.submitted.count("Collect Drink") == 3
    assert "exit code -9" in watcher.failures["Collect Drink"] and "the last words" in watcher.failures["Collect Drink"]
    result = read_json(run_of(library, "Collect Drink")[0].result, TrainResult)
    assert result.outcome == "failed" and "the last words" in result.error
    assert [spec.skill for spec in watcher.specs].count("Collect Wood") == 1, "it is announced once"


def test_a_worker_that_hangs_is_killed_and_told_of(library: SkillLibrary, arrays: Arrays) -> None:
    def hang(job: Job) -> int | None:
        job.log.write_text("going to sleep\n")
        executor.deeds["Collect Wood"] = [learn(arrays)]
        raise StillUnderWay

    class StillUnderWay(Exception):
        pass

    class Patient(Scripted):
        def submit(self, job: Job) -> None:
            try:
                super().submit(job)
            except StillUnderWay:
                return

    executor, watcher = Patient({"Collect Wood": [hang]}), Watcher()
    assert controller_of(library, executor, watcher, count=1, hang_seconds=0.2).run().complete
    assert executor.killed == ["Collect Wood"]
    assert "no heartbeat" in watcher.notes[0] and "going to sleep" in watcher.notes[0]


class Asking(Scripted):
    """Leaves requests while nothing else happens, one a look."""

    def __init__(self, deeds: dict[str, list[Deed]], library: SkillLibrary, requests: list[HomeRequest]):
        super().__init__(deeds)
        self.library, self.requests = library, requests

    def wait(self, seconds: float) -> Sequence[JobEnd]:
        if self.requests and self.under_way:
            leave_request(self.library.paths, self.requests.pop(0))
        return super().wait(seconds)


def test_a_run_is_cancelled_on_request_and_tried_again_when_that_is_wanted(
    library: SkillLibrary, arrays: Arrays
) -> None:
    deeds = {name: [learn(arrays)] for name in NAMES if name != "Collect Wood"}
    executor = Asking(deeds, library, [HomeRequest(what="cancel", skill="Collect Wood")])
    finish = controller_of(library, executor).run()
    assert "Collect Wood is cancelled" in finish.reason
    assert report_on(*run_of(library, "Collect Wood")).state == "cancelled"
    assert [r.name for r in library.records()] == ["Collect Drink"] and library.records()[0].expert_idx == 0
    retry_run(library, "Collect Wood")
    assert controller_of(library, Scripted({"Collect Wood": [learn(arrays)]}), count=2).run().complete
    assert library.record("Collect Wood").expert_idx == 1


def test_a_skill_that_failed_is_tried_again_on_request_while_others_train(
    library: SkillLibrary, arrays: Arrays
) -> None:
    deeds = {"Collect Wood": [fail("the disk was full", trained=False), learn(arrays)]}
    executor = Asking(deeds, library, [HomeRequest(what="retry", skill="Collect Wood")])
    _end_soon(executor, "Collect Drink", learn(arrays))
    watcher = Watcher()
    assert controller_of(library, executor, watcher, count=2).run().complete
    assert executor.submitted == ["Collect Wood", "Collect Drink", "Collect Wood"]
    assert "the disk was full" in watcher.failures["Collect Wood"]
    assert {r.name for r in library.records()} == {"Collect Wood", "Collect Drink"}


def _end_soon(executor: Asking, name: str, deed: Deed) -> None:
    """Lets a job end once all requests were left."""
    wait = executor.wait

    def waiting(seconds: float) -> Sequence[JobEnd]:
        if not executor.requests and name in executor.under_way:
            job = executor.under_way[name]
            executor.end(job, deed(job))
        return wait(seconds)

    executor.wait = waiting  # type: ignore[method-assign]


def test_a_result_is_processed_once_although_the_controller_is_cut_off_on_the_way(
    library: SkillLibrary, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(path: Path, value: object) -> None:
        if path.name == "processed.json":
            raise Killed
        write_json(path, value)  # type: ignore[arg-type]

    monkeypatch.setattr("flowrl.parallel.training_processor.write_json", killed)
    with pytest.raises(Killed):
        controller_of(library, Scripted({"Collect Wood": [learn(arrays)]}), count=1).run()
    monkeypatch.undo()
    executor = Scripted({})
    assert controller_of(library, executor, count=1).run().complete
    record = library.record("Collect Wood")
    assert executor.submitted == [] and record.version == 1 and not library.skill_paths(record).history.exists()
    assert run_of(library, "Collect Wood")[0].processed.exists()


def test_workers_that_an_earlier_controller_started_are_watched_on(library: SkillLibrary, arrays: Arrays) -> None:
    class Interrupted(BaseException):
        pass

    class CutOff(Scripted):
        def wait(self, seconds: float) -> Sequence[JobEnd]:
            raise Interrupted

        def cancel(self, job: Job, kill: bool = False) -> None:
            """As if it had been killed: nobody is told to stop."""

        def is_under_way(self, job: Job) -> bool:
            return False

    first = CutOff({})
    with pytest.raises(Interrupted):
        controller_of(library, first, jobs=2).run()
    assert sorted(first.under_way) == ["Collect Drink", "Collect Wood"]
    second = Scripted({name: [learn(arrays)] for name in NAMES})
    second.under_way = dict(first.under_way)
    assert controller_of(library, second, jobs=2, count=5).run().complete
    assert second.submitted[:2] == ["Collect Wood", "Collect Drink"]
    assert sorted(second.submitted) == sorted(NAMES), "each once"


def test_a_goal_ends_the_growing_as_soon_as_it_is_learned(library: SkillLibrary, arrays: Arrays) -> None:
    executor = Scripted({name: [learn(arrays)] for name in NAMES})
    finish = controller_of(library, executor, goal="Place Table", jobs=3).run()
    assert finish == Finish("Place Table is learned", True)
    assert executor.submitted == ["Collect Wood", "Place Table"], "and nothing else is trained"


def test_a_goal_that_was_given_up_itself_ends_the_growing_with_the_next_move(
    library: SkillLibrary, arrays: Arrays
) -> None:
    for _ in range(2):
        executor = Scripted({"Collect Wood": [fail("NaN", trained=True)]})
        finish = controller_of(library, executor, goal="Collect Wood").run()
        assert not finish.complete and "Collect Wood is failed" in finish.reason and "runs retry" in finish.reason


def test_a_skill_of_the_library_keeps_its_number_although_its_next_run_comes_to_nothing(
    library: SkillLibrary, arrays: Arrays
) -> None:
    controller_of(library, Scripted({"Collect Wood": [learn(arrays)]}), count=1).run()
    record = library.record("Collect Wood")
    write_json(library.skill_paths(record).record, record.model_copy(update={"status": "weak"}))
    deeds: dict[str, list[Deed]] = {"Collect Wood": [fail("the disk was full", trained=False)]}
    executor = Asking(deeds, library, [HomeRequest(what="retry", skill="Collect Wood")])
    _end_soon(executor, "Collect Drink", learn(arrays))
    controller_of(library, executor, jobs=2).run()
    assert executor.submitted == ["Collect Drink", "Collect Wood"]
    numbers = {record.name: record.expert_idx for record in library.records()}
    assert numbers == {"Collect Wood": 0, "Collect Drink": 1}
    assert library.free_expert() == 2


def test_a_dependency_that_does_not_exist_is_named(library: SkillLibrary) -> None:
    set_up = SkillSetUp(load_base(ENV), library, small_config())
    with pytest.raises(PlanError, match="'Place Table' needs 'Collect Gold', which is not learned"):
        set_up(Proposal("Place Table", frozenset(["Collect Gold"])), 0)
    with pytest.raises(FlowRLError):
        set_up(Proposal("Place Table"), 0)


def test_a_home_without_a_controller_is_cancelled_and_shown_as_it_is(
    library: SkillLibrary, arrays: Arrays, tmp_path: Path
) -> None:
    deeds = {"Collect Wood": [learn(arrays)], "Collect Drink": [die(4)] + [die()] * 3}
    controller_of(library, Scripted(deeds), goal="COLLECT_WOOD, COLLECT_DRINK").run()
    states = {report.skill: report.state for report in reports(library)}
    assert states == {"Collect Wood": "learned", "Collect Drink": "failed"}
    run, _ = run_of(library, "Collect Drink")
    run.result.unlink()
    cancel_run(library, "Collect Drink")
    status = status_of(library)
    assert status.owner is None and status.row()["learned"] == ["Collect Wood"]
    assert [r["state"] for r in status.row()["runs"]] == ["learned", "cancelled"]
    json.dumps(status.row())


@pytest.fixture
def hundred(tmp_path: Path, arrays: Arrays) -> Iterator[SkillLibrary]:
    yield fill_library(tmp_path / "big", 30, small_config(), arrays, ("Collect Wood", "Place Table"))


def test_a_run_in_a_large_library_holds_only_the_experts_that_it_needs(hundred: SkillLibrary) -> None:
    set_up = SkillSetUp(load_base(ENV), hundred, small_config())
    paths = set_up(Proposal("Make Pickaxe", frozenset(["Collect Wood", "Place Table"])), 30)
    spec = read_json(paths.config, RunSpec)
    assert spec.local_to_global == (28, 29, 30) and set(spec.seeds) == {0, 1}
