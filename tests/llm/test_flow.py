"""The model in the loop: what it is asked, what is sent back and why, what reaches training, what is kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowrl.errors import BudgetSpent, LLMError, PlatformError
from flowrl.files import read_json, write_json
from flowrl.growing.run_setup import SkillSetUp
from flowrl.library.catalog import base_for
from flowrl.library.drafts import Drafts
from flowrl.library.versions import respecify
from flowrl.llm.answers import SpecAnswer
from flowrl.llm.context import FlowContext
from flowrl.llm.grow import FlowSetUp
from flowrl.parallel.scheduler import NothingToPropose, Proposal, Proposed, Respecified
from flowrl.schema.plan import Plan
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.schema.skill import Quantity, Skill, SkillSpec
from flowrl.stats import Share
from flowrl.verify.verdict import Verdict
from tests.support.authors import Author, rejections
from tests.support.flows import BASE, flow_of, learn
from tests.support.homes import SMALL, add_skill, empty_home
from tests.support.played import TINY

FIVE = ["Collect Wood", "Collect Drink", "Place Table", "Make Pickaxe", "Collect Stone"]


def test_a_skill_goes_from_its_name_to_a_proposal(tmp_path: Path) -> None:
    author = Author(BASE, FIVE)
    flow = flow_of(tmp_path, author)
    assert flow.propose((), {}) == Proposed(Proposal("Collect Wood"))
    assert [request.stage for request in author.requests] == ["propose", "specify", "design", "write"]
    assert [note[3] for note in author.notes] == ["accepted"] * 4
    (draft,) = flow.context.drafts
    assert draft.status == "accepted" and "network_number" not in draft.skill.code and not draft.skill.trusted
    assert draft.skill.spec.yields["wood"] == Quantity(per_n=1)


def test_it_builds_on_what_is_under_way_as_if_it_were_learned(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Place Table", "Make Pickaxe"])
    flow = flow_of(tmp_path, author)
    flow.propose((), {})
    assert flow.propose(["Collect Wood"], {}) == Proposed(Proposal("Place Table", frozenset(["Collect Wood"])))
    third = flow.propose(["Collect Wood", "Place Table"], {})
    assert third == Proposed(Proposal("Make Pickaxe", frozenset(["Collect Wood", "Place Table"])))
    asked = author.requests[-4].messages[1].text
    assert "Being learned at this moment; you may build on them:\n- Collect Wood" in asked and "9 wood" in asked


def test_a_skill_that_was_written_and_never_trained_is_proposed_again_without_asking(tmp_path: Path) -> None:
    first = Author(BASE, ["Collect Wood"])
    flow_of(tmp_path, first).propose((), {})
    silent = Author(BASE, [])
    assert flow_of(tmp_path, silent).propose((), {}) == Proposed(Proposal("Collect Wood"))
    assert not silent.requests


WRONG: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "no JSON": ("specify", lambda answer: "I can't.", "no JSON object"),
    "unknown fluent": ("specify", lambda answer: answer | {"yields": {"gold": 1}}, "no item 'gold'"),
    "unreadable amount": ("specify", lambda answer: answer | {"yields": {"wood": "n*n"}}, "is no amount"),
    "too much": ("specify", lambda answer: answer | {"yields": {"wood": 12}}, "at most 9"),
    "gain not yielded": ("specify", lambda answer: answer | {"yields": {"stone": 1}}, "does not yield it"),
    "infeasible": ("specify", lambda answer: answer | {"requires": {"pickaxe": 1}}, "out of reach"),
    "empty": ("specify", lambda answer: "", "empty"),
    "two designs": ("design", lambda answer: {"designs": answer["designs"] * 2}, "There are 2 designs"),
    "wrong number": (
        "write", lambda answer: {"code": answer["code"].replace("return 0\n", "return 7\n")}, "must return 0",
    ),
    "no number": ("write", lambda answer: {"code": "x = 1"}, "no function network_number"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_goes_back_with_the_reason_and_the_next_one_counts(tmp_path: Path, wrong: str) -> None:
    stage, twist, why = WRONG[wrong]
    author = Author(BASE, FIVE, {(stage, "Collect Wood", 1): twist})
    assert isinstance(flow_of(tmp_path, author).propose((), {}), Proposed)
    ((at, reason),) = rejections(author)
    assert at == stage and why in reason
    again = next(r for r in author.requests if r.stage == stage and r.attempt == 2)
    assert [message.role for message in again.messages] == ["system", "user", "assistant", "user"]
    assert reason in again.messages[3].text and reason not in again.messages[3].masked


NAMES: dict[str, tuple[dict[str, str], str]] = {
    "taken": ({"name": "collect wood"}, "is taken"),
    "no letter": ({"name": "123"}, "begin it with a letter"),
    "sign": ({"name": "Wood, lots"}, "leave ,"),
    "no description": ({"description": ""}, "description is empty"),
    "unknown gain": ({"gain": "happiness"}, "no item 'happiness'"),
    "not weak": ({"action": "continue", "name": "Collect Wood"}, "only weak skills can"),
}


@pytest.mark.parametrize("wrong", NAMES)
def test_a_name_that_cannot_be_is_sent_back(tmp_path: Path, wrong: str) -> None:
    changes, why = NAMES[wrong]
    author = Author(BASE, ["Collect Wood", "Collect Drink", "Place Table"], {("propose", "", 1): lambda answer: answer})
    flow = flow_of(tmp_path, author)
    flow.propose((), {})
    learn(flow, "Collect Wood")
    author.twists = {("propose", "", 1): lambda answer: answer | changes}
    assert isinstance(flow.propose(["Collect Wood"], {}), Proposed)
    assert [(stage, why in reason) for stage, reason in rejections(author)] == [("propose", True)]


def test_what_is_not_novel_is_sent_back(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood"])
    flow = flow_of(tmp_path, author)
    flow.propose((), {})
    learn(flow, "Collect Wood")
    author.names = ["Collect Drink"]
    as_wood = {"yields": {"wood": "n"}, "n_range": [1, 2]}
    author.twists = {
        ("propose", "", 1): lambda a: a | {"gain": "wood"},
        ("specify", "Collect Drink", 1): lambda _: as_wood,
    }
    author.twists["specify", "Collect Drink", 2] = lambda answer: answer | {"yields": {"wood": "n", **answer["yields"]}}
    assert isinstance(flow.propose(["Collect Wood"], {}), Proposed)
    ((_, reason),) = rejections(author)
    assert "not novel" in reason


def test_code_that_the_sandbox_refuses_goes_back_with_its_words(tmp_path: Path) -> None:
    verdicts = [Verdict(ok=False, error="line 3: no loops; write it with jnp.where."), Verdict(ok=True)]
    author = Author(BASE, FIVE)
    flow = flow_of(tmp_path, author, verify_fn=lambda skill, env: verdicts.pop(0))
    assert isinstance(flow.propose((), {}), Proposed)
    assert rejections(author) == [("write", "line 3: no loops; write it with jnp.where.")]


def test_after_so_many_attempts_a_proposal_has_failed_and_the_next_is_told_why(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Collect Drink"])
    author.twists = {("specify", "Collect Wood", k): lambda answer: "nonsense" for k in (1, 2, 3)}
    flow = flow_of(tmp_path, author, attempts=3)
    assert flow.propose((), {}) == Proposed(Proposal("Collect Drink"))
    (failure,) = Drafts(flow.context.library.paths).failures()
    assert (failure.name, failure.stage) == ("Collect Wood", "specify") and "none of 3 answers" in failure.reason
    asked = [r for r in author.requests if r.stage == "propose"][1].messages[1]
    assert "- Collect Wood: specify: none of 3 answers" in asked.text


def test_patience_ends(tmp_path: Path) -> None:
    author = Author(BASE, FIVE)
    author.propose = lambda request: "no"  # type: ignore[method-assign, assignment, return-value]
    answer = flow_of(tmp_path, author, attempts=2, patience=3).propose((), {})
    assert answer == NothingToPropose("3 proposals of the model in a row failed")
    assert len(author.requests) == 6


@pytest.mark.parametrize("error", [LLMError("No model 'x' at http://127.0.0.1."), BudgetSpent("4 calls were made.")])
def test_a_model_that_is_gone_ends_the_proposing_and_nothing_else(tmp_path: Path, error: LLMError) -> None:
    author = Author(BASE, FIVE, {("specify", "Collect Wood", 1): lambda answer: error})
    assert flow_of(tmp_path, author).propose((), {}) == NothingToPropose(str(error).rstrip("."))
    assert not list(Drafts(empty_home(tmp_path).paths))


def test_a_weak_skill_can_be_chosen_to_be_trained_further(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood"])
    flow = flow_of(tmp_path, author)
    flow.propose((), {})
    learn(flow, "Collect Wood", status="weak")
    author.twists = {("propose", "", 1): lambda answer: {"action": "continue", "name": "Collect Wood"}}
    assert flow.propose((), {"Collect Wood": "weak"}) == Proposed(Proposal("Collect Wood"), again=True)
    asked = author.requests[-1].messages[1].text
    assert "- Collect Wood: weak after" in asked and "Names that are taken: Collect Wood" in asked


def test_a_goal_that_is_reached_ends_it(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood"])
    flow = flow_of(tmp_path, author, goal="wood")
    flow.propose((), {})
    assert "The goal that the library must reach: wood" in author.requests[0].messages[1].text
    learn(flow, "Collect Wood")
    assert flow.propose(["Collect Wood"], {}) == NothingToPropose("wood is learned", complete=True)


def test_what_builds_on_a_skill_that_ended_weak_waits_and_the_model_is_told(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Place Table", "Collect Drink"])
    flow = flow_of(tmp_path, author)
    flow.propose((), {})
    flow.propose(["Collect Wood"], {})
    learn(flow, "Collect Wood", status="weak")
    assert flow.propose((), {"Collect Wood": "weak"}) == Proposed(Proposal("Collect Drink"))
    asked = author.requests[-4].messages[1].text
    assert (
        "- Place Table: written and not begun: it needs wood" in asked and "taken: Collect Wood, Place Table" in asked
    )
    calls = len(author.requests)
    learn(flow, "Collect Wood", expert=0)
    again = flow.propose(["Collect Wood", "Collect Drink"], {})
    assert again == Proposed(Proposal("Place Table", frozenset(["Collect Wood"]))) and len(author.requests) == calls


def test_what_others_have_made_stale_is_given_up(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Collect Drink"])
    flow = flow_of(tmp_path, author)
    flow.propose((), {})
    named = {"name": "Chop", "description": "Chop trees.", "gain": "wood"}
    spec = {"yields": {"wood": "n", "achievement:COLLECT_WOOD": 1}, "n_range": [1, 9]}
    skill = (
        flow.context.base()
        .skill("Collect Wood")
        .model_copy(update={"name": named["name"], "spec": SpecAnswer.model_validate(spec).spec("Chop")})
    )
    add_skill(flow.context.library, "Chop", 0, code=skill.code, status="learned", spec=skill.spec)
    assert flow.propose(["Chop"], {}) == Proposed(Proposal("Collect Drink"))
    assert flow.context.drafts.named()["Collect Wood"].status == "failed"
    assert "not novel" in flow.context.drafts.failures()[0].reason


def test_as_many_as_are_wanted_are_asked_for(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Collect Drink"])
    flow = flow_of(tmp_path, author, count=1, candidates=2)
    flow.propose((), {})
    names = ["Collect Wood candidate 1", "Collect Wood candidate 2"]
    assert flow.propose(names[:1], {}) == Proposed(Proposal(names[1], trial=True))
    calls = len(author.requests)
    answer = flow.propose(names, {})
    assert isinstance(answer, NothingToPropose) and "as many" in answer.reason and len(author.requests) == calls


def test_trials_are_no_failures_and_their_names_are_not_told(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Collect Drink"])
    flow = flow_of(tmp_path, author, candidates=2)
    flow.propose((), {})
    names = ["Collect Wood candidate 1", "Collect Wood candidate 2"]
    flow.propose(["Collect Wood"], dict.fromkeys(names, "weak"))
    assert "candidate" not in author.requests[5].messages[1].text and author.requests[5].stage == "propose"


def test_a_name_whose_run_failed_is_taken(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Collect Drink"])
    assert flow_of(tmp_path, author).propose((), {"Collect Wood": "failed"}) == Proposed(Proposal("Collect Drink"))
    assert [stage for stage, _ in rejections(author)] == ["propose"]


def test_a_sandbox_that_cannot_work_is_not_the_models_mistake(tmp_path: Path) -> None:
    def broken(skill: Skill, env: str) -> Verdict:
        raise PlatformError("The sandbox failed: install libseccomp 2.")

    author = Author(BASE, ["Collect Wood"])
    answer = flow_of(tmp_path, author, verify_fn=broken).propose((), {})
    assert answer == NothingToPropose("The sandbox failed: install libseccomp 2") and not rejections(author)


def test_half_a_character_is_sent_back(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood"])
    author.twists = {("design", "Collect Wood", 1): lambda answer: json.dumps(answer).replace("progress", "pro\\ud800")}
    assert isinstance(flow_of(tmp_path, author).propose((), {}), Proposed)
    assert [(stage, "surrogate" in reason) for stage, reason in rejections(author)] == [("design", True)]


@pytest.mark.parametrize(("n_range", "why"), [(None, "say for which"), ([1, 12], "at most 9")])
def test_a_range_of_n_is_asked_for_where_amounts_grow(tmp_path: Path, n_range: Any, why: str) -> None:
    author = Author(
        BASE, ["Collect Wood"], {("specify", "Collect Wood", 1): lambda answer: answer | {"n_range": n_range}}
    )
    assert isinstance(flow_of(tmp_path, author).propose((), {}), Proposed)
    assert [why in reason for _, reason in rejections(author)] == [True]


def test_a_range_without_anything_that_grows_is_sent_back(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Drink"], {("specify", "Collect Drink", 1): lambda a: a | {"n_range": [1, 10**9]}})
    assert isinstance(flow_of(tmp_path, author).propose((), {}), Proposed)
    assert ["so write [1, 1]" in reason for _, reason in rejections(author)] == [True]


def test_candidates_are_tried_first_and_the_best_is_kept(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood"])
    flow = flow_of(tmp_path, author, candidates=3)
    names = [f"Collect Wood candidate {k}" for k in (1, 2, 3)]
    assert flow.propose((), {}) == Proposed(Proposal(names[0], trial=True))
    assert flow.propose(names[:1], {}) == Proposed(Proposal(names[1], trial=True))
    assert flow.propose(names[:1], {names[1]: "failed"}) == Proposed(Proposal(names[2], trial=True))
    (draft,) = flow.context.drafts
    results = [Share(successes=60, total=100), None, Share(successes=70, total=100)]
    tried = tuple(
        c.model_copy(update={"success": s, "code": f"# {k}"})
        for k, (c, s) in enumerate(zip(draft.candidates, results, strict=True))
    )
    flow.context.drafts.save(draft.model_copy(update={"candidates": tried}))
    assert flow.propose((), {names[1]: "failed"}) == Proposed(Proposal("Collect Wood"))
    (draft,) = flow.context.drafts
    assert draft.chosen == 2 and draft.skill.code == "# 2" and len(draft.candidates) == 3
    assert len([r for r in author.requests if r.stage == "write"]) == 3


def test_while_candidates_train_other_skills_are_proposed(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Collect Drink"])
    flow = flow_of(tmp_path, author, candidates=2)
    flow.propose((), {})
    trying = ["Collect Wood candidate 1", "Collect Wood candidate 2"]
    assert flow.propose(trying, {}) == Proposed(Proposal("Collect Drink candidate 1", trial=True))


def test_a_corrected_specification_comes_before_the_next_proposal_and_once(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Collect Drink"])
    better = SkillSpec(yields={"wood": Quantity(per_n=1)}, item="wood", n_range=(1, 9))
    asked: list[str] = []

    def review(context: FlowContext, record: Any) -> SkillSpec | None:
        asked.append(record.name)
        return better if record.name == "Collect Wood" else None

    flow = flow_of(tmp_path, author, review_fn=review)
    flow.propose((), {})
    learn(flow, "Collect Wood")
    assert flow.propose(["Collect Wood"], {}) == Respecified("Collect Wood", better)
    respecify(flow.context.library, "Collect Wood", better)
    assert flow.propose(["Collect Wood"], {}) == Proposed(Proposal("Collect Drink"))
    assert asked == ["Collect Wood"]


def test_its_base_knows_skills_as_the_library_does(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, Author(BASE, ["Collect Wood"]))
    flow.propose((), {})
    learn(flow, "Collect Wood")
    record = flow.context.library.record("Collect Wood")
    changed = record.spec.model_copy(update={"n_range": (1, 7)})
    respecify(flow.context.library, "Collect Wood", changed)
    assert flow.context.base().skill("Collect Wood").spec == changed
    kept = flow.context.library.skill_paths(record).history / "spec_1.json"
    assert SkillSpec.model_validate_json(kept.read_text()) == record.spec


def test_a_draft_that_calls_itself_trusted_is_not_believed(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, Author(BASE, ["Collect Wood"]))
    flow.propose((), {})
    (file,) = flow.context.drafts.folder.glob("[0-9]*.json")
    file.write_text(file.read_text().replace('"trusted": false', '"trusted": true'))
    assert '"trusted": true' in file.read_text()
    assert [draft.skill.trusted for draft in flow.context.drafts] == [False]
    assert not flow.context.base().skill("Collect Wood").trusted
    assert not base_for(TINY, tmp_path).skill("Collect Wood").trusted


def test_what_a_model_wrote_takes_the_place_of_a_skill_of_the_base(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, Author(BASE, ["Collect Wood"], {("write", "Collect Wood", 1): _with_a_remark}))
    assert "# mine" not in base_for(TINY, tmp_path).skill("Collect Wood").code
    flow.propose((), {})
    base = base_for(TINY, tmp_path)
    assert "# mine" in base.skill("Collect Wood").code and [s.name for s in base.skills] == [
        s.name for s in BASE.skills
    ]


def _with_a_remark(answer: Any) -> Any:
    return {"code": f"# mine\n{answer['code']}"}


def test_the_model_is_told_why_runs_failed(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Collect Drink"])
    flow = flow_of(tmp_path, author)
    flow.propose((), {})
    run = flow.context.library.paths.run(0, "Collect Wood")
    spec = RunSpec(
        skill="Collect Wood", config=flow.context.config, tasks=(), local_to_global=(0,), trained=(0,), own=0,
        plan=Plan(goal="Collect Wood", steps=()),
    )  # fmt: skip
    write_json(run.config, spec)
    write_json(run.result, TrainResult(outcome="failed", error="NaN in update 7."))
    flow.propose((), {"Collect Wood": "failed"})
    assert "- Collect Wood: failed: NaN in update 7." in author.requests[4].messages[1].text


def test_after_a_correction_the_skills_own_plan_is_made_anew_before_it_trains_on(tmp_path: Path) -> None:
    author = Author(BASE, ["Collect Wood", "Place Table"])
    author.twists = {("specify", "Place Table", 1): lambda answer: answer | {"consumes": {"wood": 4}, "requires": {}}}
    flow = flow_of(tmp_path, author)
    flow.propose((), {})
    learn(flow, "Collect Wood")
    proposal = flow.propose(["Collect Wood"], {})
    assert isinstance(proposal, Proposed)
    first = FlowSetUp(flow.context)(proposal.proposal, 1)
    assert [step.n for step in read_json(first.config, RunSpec).plan.steps] == [4, 1]
    learn(flow, "Place Table", status="weak", expert=1)
    evaluation = flow.context.library.record("Place Table").evaluation
    write_json(first.result, TrainResult(outcome="done", evaluation=evaluation))
    respecify(flow.context.library, "Place Table", BASE.skill("Place Table").spec)
    author.propose = lambda request: {"action": "continue", "name": "Place Table"}  # type: ignore[method-assign]
    again = flow.propose(["Collect Wood"], {"Place Table": "weak"})
    assert isinstance(again, Proposed) and again.again
    second = FlowSetUp(flow.context)(again.proposal, 1)
    assert [step.n for step in read_json(second.config, RunSpec).plan.steps] == [1, 1]


def test_a_corrected_specification_is_not_overwritten_by_that_of_the_base(tmp_path: Path) -> None:
    library = empty_home(tmp_path)
    add_skill(library, "Collect Wood", 0, status="weak", spec=BASE.skill("Collect Wood").spec)
    plain = SkillSetUp(BASE, library, SMALL)(Proposal("Collect Wood"), 0)
    assert read_json(plain.config, RunSpec).spec == BASE.skill("Collect Wood").spec
    better = BASE.skill("Collect Wood").spec.model_copy(update={"stays": True})
    respecify(library, "Collect Wood", better)
    corrected = SkillSetUp(BASE, library, SMALL)(Proposal("Collect Wood"), 0)
    assert read_json(corrected.config, RunSpec).spec == better
