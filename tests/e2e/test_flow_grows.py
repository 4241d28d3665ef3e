"""The whole loop on the tiny game: a model's words in, a verified, trained and measured library out."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowrl.files import read_json
from flowrl.growing.controller import GrowLimits
from flowrl.growing.grow import GrowOutcome
from flowrl.library.drafts import Drafts
from flowrl.library.home import SkillLibrary
from flowrl.llm.context import FlowSettings
from flowrl.llm.grow import grow_with, grow_with_model
from flowrl.llm.transport.client import JudgedLLM, ModelRequest, ModelResponse
from flowrl.llm.transport.factory import LLMSettings, make_llm
from flowrl.llm.transport.ledger import Budget, Ledger, read_ledger
from flowrl.llm.transport.transcript import TranscriptRecorder
from flowrl.paths import HomePaths
from flowrl.schema.run import RunSpec
from tests.support.authors import Author, rejections
from tests.support.played import BASES, TINY
from tests.support.runs import Watcher, inline, tiny_config

pytestmark = pytest.mark.slow
BASE = BASES[TINY]
POOR = """
def is_done(inventory, n):
    return inventory.wood >= n


def reward(inventory_diff):
    return 0.02 * inventory_diff.wood
"""
LOOP = "import jax.numpy as jnp\n\n\ndef is_done(inventory, n):\n    while inventory.wood < n:\n        pass\n"


def ledger(llm: Any, home: Path, **limits: Any) -> Ledger:
    return Ledger(llm, HomePaths(home).ledger, "author", budget=Budget(**limits))


def grow(llm: JudgedLLM, home: Path, count: int, watcher: Watcher | None = None, **options: Any) -> GrowOutcome:
    """Runs are trained in this process, two at once in processes of their own."""
    settings = {k: v for k, v in options.items() if k in FlowSettings.__dataclass_fields__}
    config = {k: v for k, v in options.items() if "__" in k}
    flow = FlowSettings(**{"review": False, **settings})
    limits = GrowLimits(jobs=options.get("jobs", 1))
    executor_fn = inline if limits.jobs == 1 else None
    return grow_with(llm, home, tiny_config(**config), count, flow, None, watcher or Watcher(), limits, executor_fn)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Author, Watcher]:
    """A home grown by a model with two bad answers, and the transcript of it."""
    folder = tmp_path_factory.mktemp("grown")
    twists: dict[tuple[str, str, int], Callable[[Any], Any]] = {
        ("specify", "Place Table", 1): lambda answer: answer | {"consumes": {"gold": 1}},
        ("write", "Collect Wood", 1): lambda answer: {"code": LOOP + answer["code"]},
    }
    author, watcher = Author(BASE, ["Collect Wood", "Place Table"], twists), Watcher()
    outcome = grow(ledger(TranscriptRecorder(author, folder / "t.jsonl"), folder / "home"), folder / "home", 2, watcher)
    assert outcome.complete, outcome
    return folder / "home", folder / "t.jsonl", author, watcher


def test_what_a_model_wrote_is_learned(grown: tuple[Path, Path, Author, Watcher]) -> None:
    home, _, author, watcher = grown
    records = SkillLibrary.open(home).named()
    assert {name: record.status for name, record in records.items()} == dict.fromkeys(
        ["Collect Wood", "Place Table"], "learned"
    )
    assert [record.expert_idx for record in records.values()] == [0, 1]
    assert {draft.status for draft in Drafts(HomePaths(home))} == {"accepted"}
    assert any("rejected" in note and "gold" in note for note in watcher.notes)
    assert any("verified in the sandbox" in note for note in watcher.notes)
    again = [request for request in author.requests if request.attempt == 2]
    assert [(request.stage, request.skill) for request in again] == [
        ("write", "Collect Wood"),
        ("specify", "Place Table"),
    ]


def test_its_text_is_nowhere_run_by_training(grown: tuple[Path, Path, Author, Watcher]) -> None:
    _, _, _, watcher = grown
    for paths in watcher.runs:
        spec = read_json(paths.config, RunSpec)
        assert set(spec.exported) == {step.skill for step in spec.plan.steps}


def test_every_call_and_every_judgement_is_in_the_ledger(grown: tuple[Path, Path, Author, Watcher]) -> None:
    home, _, author, _ = grown
    lines, _ = read_ledger(HomePaths(home).ledger)
    calls = [line for line in lines if line.kind == "call"]
    assert [(c.stage, c.skill, c.attempt) for c in calls] == [(r.stage, r.skill, r.attempt) for r in author.requests]
    assert sum(c.tokens_in for c in calls) == 100 * len(calls)
    rejected = [line for line in lines if line.kind == "judgement" and line.outcome == "rejected"]
    assert len(rejected) == 2


def test_a_transcript_grows_the_same_library_without_a_model(
    grown: tuple[Path, Path, Author, Watcher], tmp_path: Path, only_loopback: list[str]
) -> None:
    home, transcript, _, _ = grown
    outcome = grow_with_model(
        tmp_path / "home", tiny_config(), 2, FlowSettings(review=False), LLMSettings(replay=transcript), None,
        Watcher(), GrowLimits(), executor_fn=inline,
    )  # fmt: skip
    assert outcome.complete
    first, second = (
        {p.relative_to(f): p.read_bytes() for p in (f / "skills").rglob("params.safetensors")}
        for f in (home, tmp_path / "home")
    )
    assert first == second and len(first) == 2


def test_a_question_that_was_not_recorded_ends_it_loudly(
    grown: tuple[Path, Path, Author, Watcher], tmp_path: Path
) -> None:
    _, transcript, _, _ = grown
    SkillLibrary.open_for(tmp_path / "home", tiny_config())
    llm = make_llm(LLMSettings(replay=transcript), tmp_path / "home")
    outcome = grow(llm, tmp_path / "home", 1, goal="stone")
    assert not outcome.complete and "stage propose" in outcome.reason and "+The goal that" in outcome.reason


def test_candidates_train_for_equal_frames_and_the_best_is_trained_on(tmp_path: Path) -> None:
    number = "\n\ndef network_number():\n    return 0\n"
    author = Author(BASE, ["Collect Wood"])
    codes = [POOR + number, f"{BASE.skill('Collect Wood').code}{number}"]
    author.write = lambda request: {"code": codes.pop(0)}  # type: ignore[method-assign]
    watcher = Watcher()
    outcome = grow(ledger(author, tmp_path), tmp_path, 1, watcher, candidates=2, candidate_frames=40_000, jobs=2)
    assert outcome.complete, outcome
    (draft,) = Drafts(HomePaths(tmp_path))
    assert draft.chosen == 1 and "gathered" in draft.skill.code
    shares = [candidate.success for candidate in draft.candidates]
    assert all(share is not None and share.total > 0 for share in shares)
    assert len({candidate.frames for candidate in draft.candidates}) == 1
    (record,) = outcome.records
    assert record.name == "Collect Wood" and record.expert_idx == 0 and record.status == "learned"
    assert sorted(spec.skill for spec in watcher.specs) == [
        "Collect Wood",
        "Collect Wood candidate 1",
        "Collect Wood candidate 2",
    ]
    trials = [spec for spec in watcher.specs if spec.trial]
    assert len(trials) == 2 and {spec.config.ppo.frames for spec in trials} == {40_000}
    assert SkillLibrary.open(tmp_path).taken_experts() == {"Collect Wood": 0}


def test_when_the_calls_are_spent_what_trains_is_finished_and_more_calls_go_on(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Collect Drink"])
    outcome = grow(ledger(author, tmp_path, calls=6), tmp_path, 2)
    assert not outcome.complete and "--max-calls" in outcome.reason and len(author.requests) == 6
    assert [record.name for record in outcome.records] == ["Collect Wood"]
    outcome = grow(ledger(Author(BASE, ["Collect Drink"]), tmp_path, calls=20), tmp_path, 2)
    assert outcome.complete and [record.name for record in outcome.records] == ["Collect Wood", "Collect Drink"]


class Hanging(Author):
    """Answers the first question as it should, and then lets one wait until it is told to go on."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked, self.go_on = threading.Event(), threading.Event()

    def complete(self, request: ModelRequest) -> ModelResponse:
        if request.stage == "propose" and self.requests:
            self.asked.set()
            self.go_on.wait(120)
        return super().complete(request)


def test_a_model_that_hangs_holds_up_nothing_that_trains(tmp_path: Path) -> None:
    author, watcher = Hanging(BASE, ["Collect Wood", "Collect Drink"]), Watcher()

    def let_go() -> None:
        author.asked.wait(120)
        deadline = time.monotonic() + 120
        while not watcher.records and time.monotonic() < deadline:
            time.sleep(0.05)
        author.go_on.set()

    threading.Thread(target=let_go, daemon=True).start()
    began = time.monotonic()
    outcome = grow(ledger(author, tmp_path), tmp_path, 2, watcher, jobs=2)
    assert outcome.complete and watcher.records[0].name == "Collect Wood" and time.monotonic() - began < 110
    assert not rejections(author)


def test_a_wrong_cost_is_found_by_experiment_and_what_builds_on_it_is_planned_anew(tmp_path: Path) -> None:
    author, watcher = Author(BASE, ["Collect Wood", "Place Table", "Make Pickaxe"]), Watcher()
    author.twists = {("specify", "Place Table", 1): lambda answer: answer | {"consumes": {"wood": 4}, "requires": {}}}
    outcome = grow(ledger(author, tmp_path), tmp_path, 3, watcher, review=True)
    assert outcome.complete, (outcome, watcher.notes)
    steps = {spec.skill: [(step.skill, step.n) for step in spec.plan.steps] for spec in watcher.specs}
    assert steps["Place Table"] == [("Collect Wood", 4), ("Place Table", 1)]
    assert steps["Make Pickaxe"] == [("Collect Wood", 2), ("Place Table", 1), ("Make Pickaxe", 1)]
    record = SkillLibrary.open(tmp_path).record("Place Table")
    assert record.spec.needed(1) == {"wood": 1} and (tmp_path / record.path / "history" / "spec_1.json").exists()
    assert any(note.startswith("Place Table: its specification is corrected") for note in watcher.notes)
