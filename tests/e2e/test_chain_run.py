"""Chain runs: a goal's whole plan is learned in one run, and what it trained enters the library."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flowrl.config import CHAIN
from flowrl.errors import LibraryError, PlanError
from flowrl.evaluation.compare import Comparison
from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths, Contest, MergeVerdict
from flowrl.evaluation.evaluate import evaluate_goal
from flowrl.evaluation.playback import playing_of, weights_for
from flowrl.files import read_json, write_json
from flowrl.growing.chains import ChainSetUp
from flowrl.growing.controller import GrowLimits
from flowrl.growing.grow import grow_chains, train_chain
from flowrl.knowledge.base import load_base
from flowrl.library.catalog import plan_with_library
from flowrl.library.home import SkillLibrary
from flowrl.parallel.run_folder import FinishedRun
from flowrl.parallel.run_reports import frames_played, report_on
from flowrl.parallel.scheduler import Proposal
from flowrl.parallel.training_processor import process_completed_training
from flowrl.schema.home import SkillRecord
from flowrl.schema.metrics import GateRow, UpdateRow
from flowrl.schema.run import RunSpec
from flowrl.schema.skill import InterruptSpec, Skill, SkillSpec
from flowrl.training.gates import gate_number
from flowrl.weights import expert_sha256
from tests.support.commands import flowrl
from tests.support.runs import TINY, Watcher, inline, tiny_config

pytestmark = pytest.mark.slow
GOAL, MEMBERS = "Make Pickaxe", ("Collect Wood", "Place Table")


def chained(home: Path, watcher: Watcher, **options: object) -> SkillRecord:
    config = tiny_config(**{**CHAIN, "ppo__frames": 600_000, "start__ring": 8, **options})
    return train_chain(home, config, GOAL.lower(), watcher, executor_fn=inline)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Watcher, SkillRecord]:
    home, watcher = tmp_path_factory.mktemp("chain") / "home", Watcher()
    return home, watcher, chained(home, watcher)


def test_a_goal_is_learned_from_nothing_in_one_run(chain: tuple[Path, Watcher, SkillRecord]) -> None:
    home, watcher, record = chain
    assert record.name == GOAL and record.status == "learned" and record.evaluation.success.low > 0.8
    (spec,) = watcher.specs
    assert spec.local_to_global == (0, 1, 2) == spec.trained and spec.companions == ()
    assert {member.name: member.expert for member in spec.members} == dict(zip(MEMBERS, (1, 2), strict=True))
    library = SkillLibrary.open(home)
    records = library.named()
    assert set(records) == {GOAL, *MEMBERS} and len({r.expert_idx for r in records.values()}) == 3
    run = FinishedRun.load(watcher.runs[0])
    for member in records.values():
        assert library.weights_hash(member) == expert_sha256(run.experts[member.expert_idx])
        assert member.status == "learned" and member.frames == run.result.frames and member.companions == ()
    assert library.taken_experts() == {GOAL: 0, "Collect Wood": 1, "Place Table": 2}


def test_every_frame_is_accounted_for(chain: tuple[Path, Watcher, SkillRecord]) -> None:
    """A gate plays its worlds in batches, each for whole rollouts: at least an episode a world."""
    home, watcher, record = chain
    frames, config = frames_played(SkillLibrary.open(home)), watcher.specs[0].config
    gates = sum(isinstance(row, GateRow) for row in watcher.rows)
    assert frames["train"] == record.frames and set(frames) == {"train", "gate"}
    batches = gates * config.gate.worlds // config.env.worlds
    assert frames["gate"] % (config.env.worlds * config.ppo.steps) == 0
    assert batches <= frames["gate"] // (config.env.worlds * config.ppo.steps) <= 4 * batches


def test_what_a_member_is_said_to_do_is_what_the_run_measured(chain: tuple[Path, Watcher, SkillRecord]) -> None:
    home, _, goal = chain
    table = SkillLibrary.open(home).named()["Place Table"]
    names = [step.skill for step in goal.plan.steps]
    place = names.index("Place Table")
    assert [step.skill for step in table.plan.steps] == names[: place + 1]
    whole = goal.evaluation
    assert table.evaluation.success.total == whole.success.total
    assert table.evaluation.success.successes == whole.finished[place] >= whole.success.successes
    assert table.evaluation.step_success.total == whole.reached[place]
    wood = SkillLibrary.open(home).named()["Collect Wood"].evaluation
    twice = [i for i, name in enumerate(names) if name == "Collect Wood"]
    assert wood.step_success.total == sum(whole.reached[i] for i in twice)


def test_the_goal_and_its_members_are_played_like_any_skill(chain: tuple[Path, Watcher, SkillRecord]) -> None:
    home = chain[0]
    done = flowrl("eval", GOAL, "--home", str(home), "--episodes", "200", "--json")
    assert done.returncode == 0, done.stderr
    measured = evaluate_goal(SkillLibrary.open(home), "Place Table", 200, 3, None, lambda row: None)
    assert measured.success.low > 0.8


def test_its_status_says_where_episodes_end_and_how(chain: tuple[Path, Watcher, SkillRecord]) -> None:
    """By the newest update's row: deaths by task and cause, and the share that finishes each task."""
    (paths, spec), *_ = SkillLibrary.open(chain[0]).runs()
    report = report_on(paths, spec)
    last = [row for row in chain[1].rows if isinstance(row, UpdateRow)][-1]
    assert report.chain and [task.skill for task in report.tasks] == [task.skill for task in spec.tasks]
    assert [task.finished for task in report.tasks] == list(last.finished) and report.seconds_left is None
    assert [task.deaths for task in report.tasks] == list(last.deaths) and sum(last.task_steps) == 64 * 32
    assert all(set(task.deaths) <= {"hunger"} for task in report.tasks)
    row = report.row()
    assert row["deaths_per_1000_steps"] == report.deaths_per_1000_steps is not None
    assert row["tasks"][0]["finished"] == last.finished[0].value


def test_what_passed_is_measured_again_on_fresh_worlds(chain: tuple[Path, Watcher, SkillRecord]) -> None:
    first, second = [row for row in chain[1].rows if isinstance(row, GateRow)][-2:]
    assert first.passed and not first.again and second.passed and second.again and first.gate == second.gate
    evaluation = chain[2].evaluation
    assert second.success == evaluation.success
    assert evaluation.worlds_seed == gate_number(0, second.gate, again=True) != gate_number(0, first.gate)


def test_an_expert_that_suits_no_other_plan_stays_beside_the_goal(
    chain: tuple[Path, Watcher, SkillRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The goal plays with its own, other plans with the library's, and the next run begins from the goal's own."""
    home, watcher = tmp_path / "home", Watcher()
    shutil.copytree(chain[0], home)
    decide_fn = Comparison._decide

    def no_good_elsewhere(self: Comparison, contest: Contest) -> MergeVerdict:
        verdict = decide_fn(self, contest)
        return verdict.model_copy(update={"wins": False}) if contest.skill == "Collect Wood" else verdict

    monkeypatch.setattr(Comparison, "_decide", no_good_elsewhere)
    before = SkillLibrary.open(home).named()
    record = chained(home, watcher, ppo__frames=8192, ppo__lr=1e-5, gate__merge_worlds=1000)
    run, library = FinishedRun.load(watcher.runs[0]), SkillLibrary.open(home)
    assert record.version == 2 and record.companions == (1,)
    assert library.named()["Collect Wood"] == before["Collect Wood"] and library.named()["Place Table"].version == 2
    own = weights_for(library, 1, GOAL)
    assert expert_sha256(own) == expert_sha256(run.experts[1]) != library.weights_hash(before["Collect Wood"])
    assert expert_sha256(weights_for(library, 1, "Place Table")) == library.weights_hash(before["Collect Wood"])
    spec = read_json(
        ChainSetUp(load_base(TINY), library, run.spec.config)(Proposal(GOAL, chain=True), 0).config, RunSpec
    )
    assert spec.seeds[1] == expert_sha256(own) and spec.random == ()
    chained(home, Watcher(), ppo__frames=0)
    assert SkillLibrary.open(home).named()[GOAL].companions == (1,), "it keeps what it plays with"


def test_two_chains_give_what_they_share_the_same_numbers_and_are_merged_one_after_the_other(tmp_path: Path) -> None:
    home, watcher = tmp_path / "home", Watcher()
    config = tiny_config(**{**CHAIN, "ppo__frames": 8192, "start__ring": 8, "gate__learned_at": 0.0})
    limits = GrowLimits(jobs=2)
    outcome = grow_chains(home, config, ["Place Table", GOAL], watcher, limits=limits, executor_fn=inline)
    assert outcome.complete and not outcome.failures, outcome
    specs = {spec.skill: spec for spec in watcher.specs}
    numbers = [{step.skill: step.expert for step in spec.plan.steps} for spec in specs.values()]
    assert all(len(set(of.values())) == len(of) for of in numbers), "no two skills share an expert"
    shared = numbers[0].keys() & numbers[1].keys()
    assert shared >= {"Collect Wood", "Place Table"}
    assert all(numbers[0][name] == numbers[1][name] for name in shared)
    records = SkillLibrary.open(home).named()
    assert {name: record.expert_idx for name, record in records.items()} == numbers[0] | numbers[1]
    again = Watcher()
    assert grow_chains(home, config, ["pickaxe", "Place Table"], again, executor_fn=inline).complete
    assert not again.specs, "what is learned is not trained again"


def test_a_goal_that_stays_weak_is_gone_on_with_by_the_same_command(tmp_path: Path) -> None:
    home, first, second = tmp_path / "home", Watcher(), Watcher()
    config = tiny_config(**{**CHAIN, "ppo__frames": 4096, "start__ring": 8, "gate__learned_at": 1.0})
    for watcher in (first, second):
        outcome = grow_chains(home, config, ["Place Table"], watcher, executor_fn=inline)
        assert not outcome.complete and "Place Table is weak. The same command goes on from here" in outcome.reason
    assert first.specs[0].seeds == {} and set(second.specs[0].seeds) == set(second.specs[0].trained)
    assert second.specs[0].frames_before == 4096


def test_a_chain_goes_on_though_another_run_has_learned_a_member_meanwhile(
    chain: tuple[Path, Watcher, SkillRecord], tmp_path: Path
) -> None:
    library = SkillLibrary.open_for(tmp_path / "home", config := tiny_config(**CHAIN))
    set_up = ChainSetUp(load_base(TINY), library, config)
    paths = set_up(Proposal(GOAL, chain=True), 0)
    spec = read_json(paths.config, RunSpec)
    write_json(paths.checkpoints / "update_1.json", {})
    assert paths.has_trained
    record = SkillLibrary.open(chain[0]).record("Collect Wood")
    shutil.copytree(chain[0] / record.path, tmp_path / "home" / record.path)
    assert "Collect Wood" in library.named()
    assert read_json(set_up(Proposal(GOAL, chain=True), 0).config, RunSpec) == spec


def test_a_second_call_goes_on_with_what_the_library_holds(
    chain: tuple[Path, Watcher, SkillRecord], tmp_path: Path
) -> None:
    home, watcher = tmp_path / "home", Watcher()
    shutil.copytree(chain[0], home)
    before = {name: SkillLibrary.open(home).weights_hash(r) for name, r in SkillLibrary.open(home).named().items()}
    record = chained(home, watcher, ppo__frames=0)
    (spec,) = watcher.specs
    assert spec.members == () and spec.trained == (0, 1, 2) and set(spec.seeds) == {0, 1, 2}, "from its weights"
    assert record.version == 1
    after = {name: SkillLibrary.open(home).weights_hash(r) for name, r in SkillLibrary.open(home).named().items()}
    assert after == before, "nothing was trained, nothing was replaced"


def test_processing_that_was_cut_off_is_finished_by_the_next(
    chain: tuple[Path, Watcher, SkillRecord], tmp_path: Path
) -> None:
    """As where the process was killed after one member was put into the library."""
    home = tmp_path / "home"
    shutil.copytree(chain[0], home)
    library = SkillLibrary.open(home)
    (paths, _), *_ = library.runs()
    for name in (GOAL, "Place Table"):
        shutil.rmtree(library.skill_paths(library.record(name)).folder)
    paths.processed.unlink()
    record = process_completed_training(paths, library)
    assert record.name == GOAL and set(library.named()) == {GOAL, *MEMBERS}
    for name, member in chain_records(chain).items():
        assert library.named()[name].model_copy(update={"weights": ""}) == member.model_copy(update={"weights": ""})


def chain_records(chain: tuple[Path, Watcher, SkillRecord]) -> dict[str, SkillRecord]:
    return SkillLibrary.open(chain[0]).named()


def test_an_unfinished_run_is_resumed_with_its_numbers(tmp_path: Path) -> None:
    library = SkillLibrary.open_for(tmp_path / "home", config := tiny_config(**CHAIN))
    set_up = ChainSetUp(load_base(TINY), library, config)
    first = read_json(set_up(Proposal(GOAL, chain=True), 4).config, RunSpec)
    assert first.expert == 4 and {member.expert for member in first.members} == {0, 1}
    assert library.taken_experts() == {GOAL: 4, "Collect Wood": 0, "Place Table": 1}
    assert read_json(set_up(Proposal(GOAL, chain=True), 4).config, RunSpec) == first
    # The run goes on with the plan that it began with, even where a new one would be another.
    steps, tasks = list(first.plan.steps), list(first.tasks)
    steps[0] = steps[0].model_copy(update={"n": steps[0].n + 1})
    tasks[0] = tasks[0].model_copy(update={"low": steps[0].n, "high": steps[0].n})
    plan = first.plan.model_copy(update={"steps": tuple(steps)})
    begun = first.model_copy(update={"plan": plan, "tasks": tuple(tasks)})
    write_json(library.paths.run(4, GOAL).config, begun)
    assert read_json(set_up(Proposal(GOAL, chain=True), 4).config, RunSpec) == begun


def test_a_member_that_is_gone_is_learned_again_beside_a_goal_that_is_held(
    chain: tuple[Path, Watcher, SkillRecord], tmp_path: Path
) -> None:
    """The goal's candidate is compared with the library's, which plays with the new member too: it has no other."""
    home, watcher = tmp_path / "home", Watcher()
    shutil.copytree(chain[0], home)
    library = SkillLibrary.open(home)
    shutil.rmtree(library.skill_paths(library.record("Place Table")).folder)
    chained(home, watcher, ppo__frames=8192, gate__merge_worlds=1000)
    assert [member.name for member in watcher.specs[0].members] == ["Place Table"] and not watcher.failures
    records = library.named()
    assert set(records) == {GOAL, *MEMBERS} and records["Place Table"].version == 1


def test_a_weak_member_is_no_ground_to_build_on_but_the_goal_is_played(
    chain: tuple[Path, Watcher, SkillRecord], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(chain[0], home)
    library = SkillLibrary.open(home)
    table = library.record("Place Table")
    write_json(library.skill_paths(table).record, table.model_copy(update={"status": "weak"}))
    found, _ = plan_with_library(library, GOAL)
    assert found == library.record(GOAL).plan
    with pytest.raises(PlanError):
        plan_with_library(library, "PLACE_TABLE")
    evaluation = evaluate_goal(library, GOAL, 64, 1, None, lambda row: None)
    np.testing.assert_array_less(0.5, evaluation.success.value or 0.0)


WATCH = """from jax import Array


def is_done(player_intrinsics: Array) -> Array:
    return player_intrinsics[0] < 0


def reward(player_intrinsics_diff: Array) -> Array:
    return 0.1 * player_intrinsics_diff[0]
"""


def test_what_pre_empts_a_goal_is_learned_in_its_run_and_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No skill of the library owns its expert; evaluations and the next run play with the goal's own."""
    home, first, second = tmp_path / "home", Watcher(), Watcher()
    rule = InterruptSpec(when={"light": 60}, until={"light": 100})
    watch = Skill(name="Watch", spec=SkillSpec(interrupt=rule), code=WATCH)
    base = replace(load_base(TINY), interrupts=(watch,))
    monkeypatch.setattr("flowrl.library.catalog.load_base", lambda env: base)
    options = {"ppo__frames": 32_768, "interrupts": True, "gate__learned_at": 0.0}
    chained(home, first, **options)
    (spec,), library = first.specs, SkillLibrary.open(home)
    assert len(spec.tasks) == len(spec.plan.steps) == 3 and spec.plan.interrupts[0].rule == rule
    assert {member.name for member in spec.members} == set(MEMBERS), "it is no skill of the library"
    beside = spec.plan.interrupts[0].expert
    assert spec.companions == (beside,) and spec.trained == (0, 1, 2, 3) and beside not in library.by_expert()
    run, record = FinishedRun.load(first.runs[0]), library.record(GOAL)
    assert record.companions == (beside,) and record.plan.interrupts == spec.plan.interrupts
    assert expert_sha256(weights_for(library, beside, GOAL)) == expert_sha256(run.experts[beside])

    found, _ = plan_with_library(library, GOAL)
    playing = playing_of(library, found, spec.config)
    assert playing.spec.local_to_global == (0, 1, 2, 3) and "def task_3_network_number" in playing.module
    assert evaluate_goal(library, GOAL, 64, 1, None, lambda row: None).success.total == 64
    shown = flowrl("plan", GOAL, "--home", str(home)).stdout
    assert f"Watch (expert {beside}) pre-empts them when light is 60 or less, until light is 100 again." in shown

    chained(home, second, **options, gate__merge_worlds=1000)
    again = second.specs[0]
    assert again.plan.interrupts == spec.plan.interrupts and again.seeds[beside] == expert_sha256(run.experts[beside])
    monkeypatch.setattr("flowrl.library.catalog.load_base", load_base)
    with pytest.raises(LibraryError, match="'Watch', which the knowledge base of Tiny-Grid-v1 lacks"):
        playing_of(library, found, spec.config)


def test_a_dependency_is_judged_with_what_pre_empts_its_own_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each goal has a Watch of its own beside it; a table's is played in its contest only."""
    home, watcher = tmp_path / "home", Watcher()
    watch = Skill(
        name="Watch", spec=SkillSpec(interrupt=InterruptSpec(when={"light": 60}, until={"light": 100})), code=WATCH
    )
    base = replace(load_base(TINY), interrupts=(watch,))
    monkeypatch.setattr("flowrl.library.catalog.load_base", lambda env: base)
    options = {"ppo__frames": 8192, "interrupts": True, "gate__learned_at": 0.0, "gate__merge_worlds": 1000}
    config = tiny_config(**{**CHAIN, "start__ring": 8, **options})
    table = train_chain(home, config, "Place Table", Watcher(), executor_fn=inline)
    goal = chained(home, watcher, **options)
    assert not watcher.failures and goal.plan.interrupts[0].expert != table.plan.interrupts[0].expert
    merge = ComparisonPaths.of(watcher.runs[0])
    assert "Place Table" in {verdict.skill for verdict in read_json(merge.result, ComparisonAnswer).verdicts}
    played = read_json(merge.contest(table.expert_idx).config, RunSpec)
    assert played.plan.interrupts == table.plan.interrupts


def test_a_goal_that_what_pre_empts_it_made_worse_stays_as_it_was(
    chain: tuple[Path, Watcher, SkillRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watch acts from the second step to the end, so the plan never goes on; the library plays without it."""
    home, watcher = tmp_path / "home", Watcher()
    shutil.copytree(chain[0], home)
    rule = InterruptSpec(when={"light": 100}, until={"light": 101})
    base = replace(load_base(TINY), interrupts=(Skill(name="Watch", spec=SkillSpec(interrupt=rule), code=WATCH),))
    monkeypatch.setattr("flowrl.library.catalog.load_base", lambda env: base)
    record = chained(home, watcher, ppo__frames=8192, interrupts=True, gate__merge_worlds=1000)
    assert watcher.specs[0].plan.interrupts and not watcher.failures
    assert record.version == 1 and record.plan.interrupts == () and record.evaluation.success.low > 0.8


def test_a_module_is_no_chain(tmp_path: Path) -> None:
    done = flowrl("train", "--module", str(tmp_path / "x.py"), "--chain", "--home", str(tmp_path / "home"))
    assert done.returncode == 2 and "--chain goes with a skill of the knowledge base" in done.stderr
    assert not (tmp_path / "home").exists()
