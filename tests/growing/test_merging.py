"""Merging on evidence, on the tiny game: what replaces an expert of the library, and what does not."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowrl.errors import LibraryError, UsageError
from flowrl.evaluation import compare
from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths, ComparisonRequest, Contest
from flowrl.files import read_arrays, read_json, write_arrays, write_json
from flowrl.library.home import SkillLibrary
from flowrl.library.versions import history, restore
from flowrl.parallel.training_processor import process_completed_training
from flowrl.paths import JobPaths, PlayPaths, RunPaths
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.plan import Plan
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.stats import PairedDifference, Share
from flowrl.weights import Expert, load_experts, sha256
from tests.support.runs import Watcher, assert_same_arrays, grow_tiny, grow_to, tiny_config, tree_bytes

pytestmark = pytest.mark.slow


@pytest.fixture
def home(grown: Path, tmp_path: Path) -> Path:
    shutil.copytree(grown, tmp_path / "home")
    return tmp_path / "home"


def policy(home: Path, name: str) -> Path:
    library = SkillLibrary.open(home)
    return library.skill_paths(library.record(name)).params


def scramble(home: Path, name: str) -> None:
    """Puts random weights in the place of a library's expert, as if it had never learned anything."""
    library = SkillLibrary.open(home)
    record = library.record(name)
    random = np.random.default_rng(0)
    arrays = {key: random.normal(0, 0.1, a.shape).astype(a.dtype) for key, a in library.expert(record).items()}
    library.store_expert(library.skill_paths(record), arrays, record.frames)


def spoil(run: RunPaths, local: int) -> None:
    """Puts random weights in the place of one of a run's experts, in a result that is otherwise as it should be."""
    spec, result = read_json(run.config, RunSpec), read_json(run.result, TrainResult)
    file = run.folder / result.params
    random = np.random.default_rng(1)
    arrays = {
        key: random.normal(0, 1, a.shape).astype(a.dtype) if f"_networks_{local}." in key else a
        for key, a in read_arrays(file).items()
    }
    assert spec.local_to_global[local] >= 0
    write_arrays(file, arrays)
    write_json(run.result, result.model_copy(update={"params_sha256": sha256(file.read_bytes())}))


def run_of(home: Path, expert: int, name: str) -> RunPaths:
    return SkillLibrary.open(home).paths.run(expert, name)


def answer_of(run: RunPaths) -> ComparisonAnswer:
    return read_json(ComparisonPaths.of(run).result, ComparisonAnswer)


def uncollected(home: Path, tmp_path: Path, name: str, **options: Any) -> RunPaths:
    """Trains a skill in a copy of the home and brings back its run alone, so that it waits to be collected."""
    copy = tmp_path / f"copy of {name}"
    shutil.copytree(home, copy)
    expert = grow_tiny(copy, name, **options).records[0].expert_idx
    run, target = run_of(copy, expert, name), run_of(home, expert, name)
    shutil.copytree(run.folder, target.folder, ignore=shutil.ignore_patterns("merge", "processed.json"))
    return target


class Played:
    """Stands in for worlds that are played: which of 1,000 each mixture of experts succeeds in, for each plan."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, successes: Mapping[str, Callable[[set[str]], int]]):
        self.successes = successes
        monkeypatch.setattr(compare, "PlanPlayer", self.player)
        monkeypatch.setattr(compare.Comparison, "_play", lambda _, player, experts: player(experts))

    def player(self, run: PlayPaths, worlds: int, number: int, job: JobPaths) -> Any:
        name = read_json(run.config, RunSpec).skill

        def play(experts: Mapping[int, Expert]) -> np.ndarray:
            return np.arange(1000) < self.successes[name]({str(expert["who"]) for expert in experts.values()})

        def difference(one: np.ndarray, other: np.ndarray) -> PairedDifference:
            return PairedDifference(gained=int((one & ~other).sum()), lost=int((other & ~one).sum()), total=len(one))

        play.difference, play.evaluation = difference, lambda played: an_evaluation(int(played.sum()))  # type: ignore[attr-defined]
        return play


def an_evaluation(successes: int) -> Evaluation:
    share = Share(successes=successes, total=1000)
    return Evaluation(
        success=share, step_success=share, reached=(), finished=(), causes={}, length=1.0, amount=1, worlds_seed=0
    )


def decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, successes: Mapping[str, Callable[[set[str]], int]]
) -> ComparisonAnswer:
    """Compares candidates for the experts of "Dig" (0) and "Carry" (1) and of the goal "Trade" (2), which is new."""
    run = RunPaths(tmp_path / "run", 2)
    paths = ComparisonPaths.of(run)
    config, plan = tiny_config(), Plan(goal="", steps=())
    for skill, folder in (("Trade", run), ("Dig", paths.contest(0)), ("Carry", paths.contest(1))):
        spec = RunSpec(
            skill=skill, config=config, tasks=(), plan=plan, local_to_global=(0, 1, 2), trained=(0, 1, 2), own=2
        )
        write_json(folder.config, spec)
    held = {"held": {g: {"who": f"held {g}"} for g in (0, 1)}, "companions": {}}
    files = held | {"candidates": {g: {"who": f"new {g}"} for g in (0, 1, 2)}, "initial": {}}
    monkeypatch.setattr(compare, "load_experts", lambda file: files[file.stem])
    contests = (Contest(skill="Dig", expert=0), Contest(skill="Carry", expert=1))
    request = ComparisonRequest(
        contests=contests, skill="Trade", expert=2, worlds=1000, number=0, held={0: "a", 1: "b"}
    )
    Played(monkeypatch, successes)
    return compare.Comparison(paths, request).decide()


def test_a_bundle_is_judged_on_the_runs_own_plan_and_dependencies_only_must_not_suffer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the ceiling of its own plan nothing can be gained, and what is worth ten points elsewhere was thrown away."""
    answer = decided(
        tmp_path,
        monkeypatch,
        {
            "Trade": lambda who: 950 if {"new 0", "new 1", "new 2"} <= who else 850,
            "Dig": lambda who: 990,
            "Carry": lambda who: 900 if "new 1" in who else 990,
        },
    )
    assert answer.bundle is not None and answer.bundle.difference.gained == 100 and answer.bundle_wins
    dig, carry = answer.verdicts
    assert (dig.skill, dig.wins, dig.difference.value) == ("Dig", True, 0.0)
    assert (carry.skill, carry.wins, carry.difference.value) == ("Carry", False, -0.09)
    assert carry.evaluation == an_evaluation(990) and answer.evaluation == an_evaluation(950)


def test_contests_are_decided_with_the_winners_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def carry(who: set[str]) -> int:
        return (500 if "new 0" in who else 900) + (100 if "new 1" in who else 0)

    answer = decided(tmp_path, monkeypatch, {"Trade": lambda who: 900, "Dig": lambda who: 900, "Carry": carry})
    assert answer.bundle is not None and answer.bundle_wins, "no worse is enough"
    assert answer.verdicts[1].evaluation == an_evaluation(600), "with the candidate for Dig, which won"
    carry_lost = {"Trade": lambda who: 800 if "new 0" in who else 900, "Dig": lambda who: 1000, "Carry": carry}
    answer = decided(tmp_path, monkeypatch, carry_lost)
    assert not answer.bundle_wins and answer.verdicts == () and answer.evaluation == an_evaluation(900)


def test_an_interval_of_paired_differences_is_honest() -> None:
    assert PairedDifference(gained=0, lost=0, total=0).interval == (-1, 1)
    same = PairedDifference(gained=0, lost=0, total=1000)
    assert not same.is_gain and same.interval[0] < 0 < same.interval[1]
    assert PairedDifference(gained=40, lost=5, total=1000).is_gain
    assert not PairedDifference(gained=20, lost=15, total=1000).is_gain
    # Nominal 95 %: over many draws with a true difference of 2 points, about so many intervals hold it.
    random = np.random.default_rng(0)
    counts = random.multinomial(1000, [0.06, 0.04, 0.90], size=4000)
    hits = [
        low <= 0.02 <= high
        for gained, lost, _ in counts
        for low, high in [PairedDifference(gained=int(gained), lost=int(lost), total=1000).interval]
    ]
    assert 0.94 < np.mean(hits) < 0.965


def test_a_dependency_that_learned_replaces_one_that_knew_nothing(home: Path) -> None:
    scramble(home, "Collect Wood")
    before = read_arrays(policy(home, "Collect Wood"))
    watcher = grow_tiny(home, "Make Pickaxe", dependencies="train")
    run = watcher.runs[0]
    spec = read_json(run.config, RunSpec)
    assert spec.trained == (0, 1, 2) and spec.local_to_global == (0, 2, 3)
    answer = answer_of(run)
    wood = answer.verdict_on(0)
    assert wood is not None and wood.wins and wood.difference.is_gain and wood.difference.total == 1000
    trained = load_experts(run.folder / "params.safetensors")
    assert_same_arrays(read_arrays(policy(home, "Collect Wood")), trained[0])
    library = SkillLibrary.open(home)
    record = library.record("Collect Wood")
    assert record.version == 2 and record.evaluation == wood.evaluation
    old = [version for version in history(library, "Collect Wood") if not version.current]
    assert [version.record.version for version in old] == [1]
    shelf = library.skill_paths(record).history / "version_1" / "expert_0_policy" / "params.safetensors"
    assert_same_arrays(read_arrays(shelf), before)
    assert watcher.records[0].evaluation == answer.evaluation, "the numbers are those of what the library holds now"


def test_a_bundle_that_got_worse_loses_and_the_skill_is_measured_without_it(home: Path, tmp_path: Path) -> None:
    run = uncollected(home, tmp_path, "Make Pickaxe", dependencies="train")
    spoil(run, 0)
    before = tree_bytes(policy(home, "Collect Wood").parent)
    claimed = read_json(run.result, TrainResult).evaluation
    assert grow_to(home, 4, dependencies="train").complete
    answer = answer_of(run)
    assert answer.bundle is not None and not answer.bundle_wins and answer.bundle.difference.interval[1] < 0
    assert answer.verdicts == (), "what lost together is not tried one by one"
    assert tree_bytes(policy(home, "Collect Wood").parent) == before
    library = SkillLibrary.open(home)
    record = library.record("Make Pickaxe")
    assert record.status == "learned" and record.evaluation != claimed
    assert record.evaluation.success.value is not None and record.evaluation.success.value > 0.5, "played with ours"
    assert record.companions == () and len(history(library, "Collect Wood")) == 1


def test_two_runs_that_trained_the_same_expert_are_merged_one_after_the_other(home: Path, tmp_path: Path) -> None:
    scramble(home, "Collect Wood")
    one = uncollected(home, tmp_path, "Make Pickaxe", dependencies="train")
    other = home / "training_runs" / "skill_4_Make_Other"
    shutil.copytree(one.folder, other)
    spec = read_json(other / "run.json", RunSpec)
    experts = (*spec.local_to_global[:-1], 4)
    again = spec.model_copy(update={"skill": "Make Other", "local_to_global": experts})
    write_json(other / "run.json", again)
    (other / "3.py").rename(other / "4.py")
    grow_to(home, 5, dependencies="train")
    first, second = answer_of(one), answer_of(RunPaths(other, 4))
    won, drew = first.verdict_on(0), second.verdict_on(0)
    assert won is not None and won.wins
    assert drew is not None and drew.difference.value == 0, "compared with what the first one left"
    assert second.held[0] == sha256(policy(home, "Collect Wood").read_bytes()) != first.held[0]
    assert SkillLibrary.open(home).record("Collect Wood").version == 2


def test_a_frozen_run_is_measured_again_where_the_library_has_moved_on(home: Path, tmp_path: Path) -> None:
    run = uncollected(home, tmp_path, "Make Pickaxe")
    scramble(home, "Collect Wood")
    grow_to(home, 4)
    record = SkillLibrary.open(home).record("Make Pickaxe")
    claimed = read_json(run.result, TrainResult).evaluation
    assert claimed is not None and claimed.success.value is not None and claimed.success.value > 0.8
    assert record.evaluation == answer_of(run).evaluation and record.evaluation.success.value < 0.5  # type: ignore[operator]
    assert record.status == "weak", "nobody reaches its task any more"


def test_a_candidate_is_not_taken_in_without_evidence(home: Path, tmp_path: Path) -> None:
    run = uncollected(home, tmp_path, "Make Pickaxe", dependencies="train", ppo__frames=4096)
    before = tree_bytes(home / "skills")
    with pytest.raises(LibraryError, match="were not compared with those of the library"):
        process_completed_training(run, SkillLibrary.open(home))
    assert tree_bytes(home / "skills") == before


def test_an_answer_about_another_library_is_not_used(home: Path, tmp_path: Path) -> None:
    run = uncollected(home, tmp_path, "Make Pickaxe", dependencies="train", ppo__frames=4096)
    grow_to(home, 4, dependencies="train")
    first = answer_of(run)
    run.processed.unlink()
    scramble(home, "Collect Wood")
    grow_to(home, 4, dependencies="train")
    assert answer_of(run).held[0] == sha256(policy(home, "Collect Wood").read_bytes()) or answer_of(run) != first


def test_a_version_that_was_half_put_into_the_library_is_taken_back_and_put_there_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller is killed between the winner's weights and its record."""
    grow_tiny(home, "Make Pickaxe", ppo__frames=0)
    weak = read_arrays(policy(home, "Make Pickaxe"))
    shutil.rmtree(home / "training_runs" / "skill_3_Make_Pickaxe")
    run = uncollected(home, tmp_path, "Make Pickaxe")

    class Killed(BaseException):
        pass

    def killed(path: Path, value: Any) -> None:
        if path.name == "skill.json" and "history" not in path.parts:
            raise Killed
        write_json(path, value)

    monkeypatch.setattr("flowrl.library.versions.write_json", killed)
    with pytest.raises(Killed):
        grow_to(home, 4)
    monkeypatch.undo()
    assert sha256(policy(home, "Make Pickaxe").read_bytes()) != SkillLibrary.open(home).record("Make Pickaxe").weights
    watcher = Watcher()
    assert grow_to(home, 4, watcher).complete
    assert "incomplete update of the library was undone" in watcher.notes[0]
    library = SkillLibrary.open(home)
    record = library.record("Make Pickaxe")
    assert (record.status, record.version) == ("learned", 2) and record.evaluation == answer_of(run).evaluation
    assert record.weights == library.weights_hash(record)
    shelf = library.skill_paths(record).history / "version_1" / "expert_3_policy" / "params.safetensors"
    assert_same_arrays(read_arrays(shelf), weak)


def test_versions_are_listed_and_restored_under_a_new_number(home: Path) -> None:
    grow_tiny(home, "Make Pickaxe", ppo__frames=0)
    weak = read_arrays(policy(home, "Make Pickaxe"))
    grow_tiny(home, "Make Pickaxe")
    library = SkillLibrary.open(home)
    assert [(v.record.version, v.record.status, v.current) for v in history(library, "Make Pickaxe")] == [
        (1, "weak", False),
        (2, "learned", True),
    ]
    learned = read_arrays(policy(home, "Make Pickaxe"))
    record = restore(library, "make pickaxe", 1)
    assert (record.version, record.status) == (3, "weak")
    assert_same_arrays(library.expert(record), weak)
    assert restore(library, "Make Pickaxe", 2).version == 4
    assert_same_arrays(read_arrays(policy(home, "Make Pickaxe")), learned)
    assert [v.record.version for v in history(library, "Make Pickaxe")] == [1, 2, 3, 4]
    with pytest.raises(UsageError, match=r"no version 9 in its history; there are: 1, 2, 3"):
        restore(library, "Make Pickaxe", 9)
