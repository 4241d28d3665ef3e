"""Specifications after training: what the model says counts as far as it agrees with what was measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowrl.analysis.findings import Findings, Way
from flowrl.analysis.segments import Frame, Segment, Trajectory, statistics_of
from flowrl.errors import LLMError, NotRecorded, TrainingError
from flowrl.library.versions import respecify
from flowrl.llm import review as module
from flowrl.llm.context import FlowContext
from flowrl.llm.flow import Flow
from flowrl.llm.review import findings_text, review
from flowrl.parallel.scheduler import Respecified
from flowrl.schema.home import SkillRecord
from flowrl.schema.skill import Quantity, SkillSpec
from tests.support.authors import Author, rejections
from tests.support.flows import flow_of, learn
from tests.support.played import BASES, TINY

BASE = BASES[TINY]
RIGHT = BASE.skill("Place Table").spec
PLANTED = RIGHT.model_copy(update={"requires": {}, "consumes": {"wood": Quantity(base=4)}})
DONE = {"near:table": 1, "placed:table": 1, "achievement:PLACE_TABLE": 1}
SEGMENT = Segment(n=1, steps=3, action="PLACE_TABLE", start={"wood": 4}, before={"wood": 4}, end={"wood": 3, **DONE})
WAY = Way(
    source="segments", action="PLACE_TABLE", steps=1, worlds=8, successes=8, ns=(1,),
    least={"wood": {1: 1}, "stone": {1: 0}, "near:table": {1: 0}, "placed:table": {1: 0}}, is_bare=True,
    consumed={"wood": {1: 1}}, ended={fluent: {1: 1} for fluent in DONE},
)  # fmt: skip
SHOWN = Trajectory(
    title="the shortest", n=1, start={"wood": 4}, frames=(Frame(action="PLACE_TABLE", changed={"wood": -1}),)
)
FOUND = Findings(
    skill="Place Table",
    env=TINY,
    statistics=statistics_of("Place Table", [SEGMENT] * 12),
    ways=(WAY,),
    trajectories=(SHOWN,),
)


@pytest.fixture
def planted(tmp_path: Path) -> Callable[..., tuple[Flow, Author]]:
    """A library with Collect Wood and a table that is said to cost four wood, and who wrote them."""

    def make(**twists: Any) -> tuple[Flow, Author]:
        author = Author(BASE, ["Collect Wood", "Place Table"])
        flow = flow_of(tmp_path, author)
        flow.propose((), {})
        learn(flow, "Collect Wood")
        wrong = {"requires": {}, "consumes": {"wood": 4}}
        author.twists = {("specify", "Place Table", 1): lambda answer: answer | wrong}
        flow.propose(["Collect Wood"], {})
        learn(flow, "Place Table")
        author.twists = {("refine", "Place Table", int(key[1:])): twist for key, twist in twists.items()}
        author.requests.clear()
        author.notes.clear()
        return flow, author

    return make


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the analysis will say."""
    answer: dict[str, Any] = {"found": FOUND}

    def analyse(
        library: Any, name: str, folder: Path, on_row: Callable[[Any], None], stop_fn: Callable[[], bool]
    ) -> Findings:
        if stop_fn():
            raise TrainingError("it came to nothing")
        if isinstance(answer["found"], Exception):
            raise answer["found"]
        return answer["found"]

    monkeypatch.setattr(module, "analyse_skill", analyse)
    return answer


def reviewed(flow: Flow) -> SkillSpec | None:
    return review(flow.context, flow.context.library.record("Place Table"))


def test_the_model_sees_what_was_measured_and_its_correction_holds(planted: Any) -> None:
    flow, author = planted()
    assert reviewed(flow) == RIGHT.model_copy(update={"n_range": (1, 1)})
    (request,) = author.requests
    text, masked = request.messages[1].text, request.messages[1].masked
    for shown in (
        "12 successful segments",
        "PLACE_TABLE as the policy's last action",
        "1 PLACE_TABLE: wood -1",
        "wood: 4 -> 1",
    ):
        assert shown in text and shown not in masked
    assert '"consumes":{"wood":4}' in masked


def test_a_correction_that_contradicts_the_measurement_goes_back(planted: Any) -> None:
    def still_wrong(answer: Any) -> Any:
        return answer | {"spec": answer["spec"] | {"consumes": {"wood": 3}, "requires": {}}}

    def unknown(answer: Any) -> Any:
        return answer | {"spec": answer["spec"] | {"consumes": {"gold": 3}}}

    flow, author = planted(_1=still_wrong, _2=unknown)
    assert reviewed(flow) == RIGHT.model_copy(update={"n_range": (1, 1)})
    (_, first), (_, second) = rejections(author)
    assert "contradicts what was measured: " in first and "wood: 3 -> 1" in first and "no item 'gold'" in second


@pytest.mark.parametrize("gone", [LLMError("No model."), "never right"])
def test_without_the_model_the_statistics_decide(planted: Any, gone: Any) -> None:
    flow, author = planted(**{f"_{k}": (lambda answer: gone) for k in (1, 2, 3, 4)})
    spec = reviewed(flow)
    assert spec is not None and spec.consumes == {"wood": Quantity(base=1)} and spec.needed(1) == {"wood": 1}
    assert len(author.requests) == (1 if isinstance(gone, LLMError) else 4)


def test_a_transcript_that_lacks_the_question_is_told(planted: Any) -> None:
    flow, _ = planted(_1=lambda answer: NotRecorded("not there"))
    with pytest.raises(NotRecorded):
        reviewed(flow)


def test_with_too_few_successes_the_model_is_not_asked_and_experiments_decide(
    planted: Any, found: dict[str, Any]
) -> None:
    flow, author = planted()
    found["found"] = FOUND.model_copy(update={"statistics": None, "notes": ("3 successful segments are too few.",)})
    spec = reviewed(flow)
    assert spec is not None and spec.needed(1) == {"wood": 1} and not author.requests


def test_what_is_right_stays(planted: Any, found: dict[str, Any]) -> None:
    flow, _ = planted()
    respecify(flow.context.library, "Place Table", RIGHT.model_copy(update={"n_range": (1, 1)}))
    assert reviewed(flow) is None


def test_an_analysis_that_fails_changes_nothing(planted: Any, found: dict[str, Any]) -> None:
    flow, author = planted()
    found["found"] = TrainingError("it died")
    with pytest.raises(TrainingError):
        reviewed(flow)
    assert not author.requests


def tables_alone(context: FlowContext, record: SkillRecord) -> SkillSpec | None:
    return review(context, record) if record.name == "Place Table" else None


def test_one_whose_analysis_failed_is_not_taken_for_reviewed(planted: Any, found: dict[str, Any]) -> None:
    flow, _ = planted()
    flow.review_fn = tables_alone
    found["found"] = TrainingError("it died")
    assert flow.review() is None and flow.context.drafts.named()["Place Table"].reviewed == 0
    assert flow.review() is None, "it is not tried over and over by the same process"
    found["found"] = FOUND
    flow.unanalysed.clear()  # as in a new process
    assert flow.review() == Respecified("Place Table", RIGHT.model_copy(update={"n_range": (1, 1)}))


def test_a_correction_that_the_library_never_got_is_given_again(planted: Any, found: dict[str, Any]) -> None:
    flow, author = planted()
    flow.review_fn = tables_alone
    first = flow.review()
    asked = len(author.requests)
    assert isinstance(first, Respecified) and flow.review() == first and len(author.requests) == asked
    respecify(flow.context.library, first.name, first.spec)
    assert flow.review() is None and flow.context.drafts.named()["Place Table"].corrected is None


def test_only_what_was_measured_can_be_changed(planted: Any) -> None:
    def more(answer: Any) -> Any:
        return answer | {"spec": answer["spec"] | {"item": "stone", "n_range": [1, 1], "stays": True, "floors": [0]}}

    flow, _ = planted(_1=more)
    spec = reviewed(flow)
    assert spec is not None and (spec.item, spec.stays, spec.floors) == ("wood", RIGHT.stays, None)


def test_one_that_is_stopped_is_done_another_time(planted: Any) -> None:
    flow, _ = planted()
    flow.stop()
    with pytest.raises(LLMError, match="stopped"):
        reviewed(flow)


def test_findings_are_told_with_their_limits() -> None:
    text = findings_text(FOUND.model_copy(update={"notes": ("Cows were not tried.",)}))
    assert "not needed" in text and "Cows were not tried." in text
