"""The ledger: what a line holds, what limits refuse, what prices are known."""

import json
import threading
import time
from pathlib import Path

import pytest

from flowrl.errors import BudgetSpent, LLMError, Unanswered, UsageError
from flowrl.llm.transport.client import JudgedLLM, ModelRequest, ModelResponse
from flowrl.llm.transport.ledger import (
    Budget,
    CallLine,
    JudgementLine,
    Ledger,
    Price,
    Prices,
    cost_rows,
    cost_total,
    read_ledger,
    read_prices,
)
from tests.support.scripted import Scripted, answered, asked

OWN = Prices({"m": Price(input=2.0, output=10.0)}, "http://127.0.0.1:1/v1")
ONE_CALL = 0.004
"""US dollars of `answered` at those prices: 1,000 tokens in, 200 out."""


def ledger_of(file: Path, calls: int = 10, budget: Budget | None = None, prices: Prices = OWN) -> Ledger:
    """Returns a ledger over a model that answers so often."""
    return Ledger(Scripted([answered()] * calls), file, "m", prices, budget)


def calls_in(file: Path) -> list[CallLine]:
    lines, damaged = read_ledger(file)
    assert not damaged
    return [line for line in lines if isinstance(line, CallLine)]


def test_a_call_is_a_line_with_all_its_figures(tmp_path: Path) -> None:
    judged: JudgedLLM = ledger_of(tmp_path / "ledger.jsonl")
    request = asked(stage="write", skill="Wood", attempt=3)
    assert judged.complete(request) == answered()
    row = json.loads((tmp_path / "ledger.jsonl").read_text())
    assert 1.6e9 < row.pop("time") < 1e10
    assert row == {
        "kind": "call", "model": "m", "stage": "write", "skill": "Wood", "attempt": 3, "tokens_in": 1000,
        "tokens_out": 200, "cost": ONE_CALL, "seconds": 2.0, "outcome": "answered", "error": "", "replayed": False,
    }  # fmt: skip


def test_a_judgement_is_a_line_with_its_reason(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path / "ledger.jsonl")
    ledger.complete(asked(skill="Wood"))
    ledger.note(asked(skill="Wood"), "rejected", "no such fluent: 'wod'")
    line = read_ledger(tmp_path / "ledger.jsonl")[0][1]
    assert isinstance(line, JudgementLine)
    assert (line.skill, line.outcome, line.reason) == ("Wood", "rejected", "no such fluent: 'wod'")


def test_a_call_without_an_answer_is_a_line_too(tmp_path: Path) -> None:
    model = Scripted([LLMError("the key is refused"), Unanswered("empty", None, 500, 100)])
    ledger = Ledger(model, tmp_path / "ledger.jsonl", "m", OWN)
    for _ in range(2):
        with pytest.raises(LLMError):
            ledger.complete(asked())
    refused, empty = calls_in(tmp_path / "ledger.jsonl")
    assert (refused.outcome, refused.error, refused.cost) == ("LLMError", "the key is refused", 0.0)
    assert (empty.outcome, empty.tokens_in, empty.cost) == ("Unanswered", 500, pytest.approx(0.002))


def test_a_call_that_ctrl_c_ends_is_a_line_of_unknown_cost(tmp_path: Path) -> None:
    class Interrupted:
        def complete(self, request: object) -> object:
            raise KeyboardInterrupt

    ledger = Ledger(Interrupted(), tmp_path / "ledger.jsonl", "m", OWN)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        ledger.complete(asked())
    assert [(line.outcome, line.cost) for line in calls_in(tmp_path / "ledger.jsonl")] == [("KeyboardInterrupt", None)]


def test_max_calls_refuses_before_the_call_that_is_too_many(tmp_path: Path) -> None:
    model = Scripted([answered()] * 5)
    ledger = Ledger(model, tmp_path / "ledger.jsonl", "m", OWN, Budget(calls=2))
    ledger.complete(asked())
    ledger.complete(asked())
    with pytest.raises(BudgetSpent, match=r"2 calls .* of 2 allowed by --max-calls"):
        ledger.complete(asked())
    assert len(model.requests) == 2 and len(calls_in(tmp_path / "ledger.jsonl")) == 2


def test_limits_count_earlier_commands_of_the_home(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    ledger_of(file).complete(asked())
    ledger_of(file).complete(asked())
    with pytest.raises(BudgetSpent):
        ledger_of(file, budget=Budget(calls=2)).complete(asked())
    with pytest.raises(BudgetSpent):
        ledger_of(file, budget=Budget(cost=2 * ONE_CALL)).complete(asked())
    ledger_of(file, budget=Budget(calls=3, cost=2.1 * ONE_CALL)).complete(asked())


def test_no_calls_at_all_may_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(BudgetSpent):
        ledger_of(tmp_path / "ledger.jsonl", budget=Budget(calls=0)).complete(asked())


def test_max_cost_ends_after_the_call_that_passes_it(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path / "ledger.jsonl", budget=Budget(cost=0.006))
    ledger.complete(asked())
    ledger.complete(asked())
    with pytest.raises(BudgetSpent, match=r"0\.0080 US dollars .* of 0\.006 allowed by --max-cost"):
        ledger.complete(asked())
    assert ledger.cost == pytest.approx(2 * ONE_CALL) and ledger.calls == 2


def test_max_calls_holds_for_several_threads(tmp_path: Path) -> None:
    class Slow(Scripted):
        def complete(self, request: ModelRequest) -> ModelResponse:
            time.sleep(0.05)
            return super().complete(request)

    ledger = Ledger(Slow([answered()] * 50), tmp_path / "ledger.jsonl", "m", OWN, Budget(calls=7))
    refused: list[int] = []

    def work(number: int) -> None:
        try:
            ledger.complete(asked())
        except BudgetSpent:
            refused.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 13 and len(calls_in(tmp_path / "ledger.jsonl")) == 7


def test_a_limit_of_money_needs_a_price(tmp_path: Path) -> None:
    with pytest.raises(LLMError, match=r"price of 'm' is unknown.*--prices FILE\.toml(.|\n)*input ="):
        ledger_of(tmp_path / "ledger.jsonl", budget=Budget(cost=1.0), prices=Prices(base_url="http://127.0.0.1/v1"))
    assert not (tmp_path / "ledger.jsonl").exists()


def test_an_unknown_price_is_counted_as_unknown(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    ledger_of(file, prices=Prices(base_url="http://127.0.0.1:1/v1")).complete(asked())
    ledger_of(file).complete(asked())
    assert [line.cost for line in calls_in(file)] == [None, ONE_CALL]
    total = cost_total(read_ledger(file)[0])
    assert (total.cost, total.unpriced, total.calls) == (ONE_CALL, 1, 2)
    with pytest.raises(BudgetSpent, match="and 1 calls whose price is unknown"):
        ledger_of(file, budget=Budget(cost=ONE_CALL)).complete(asked())


def test_replayed_answers_cost_nothing_and_need_no_price(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    ledger = Ledger(Scripted([answered()] * 3), file, "m", budget=Budget(calls=2, cost=0.0), replayed=True)
    ledger.complete(asked())
    ledger.complete(asked())
    with pytest.raises(BudgetSpent):
        ledger.complete(asked())
    assert [(line.cost, line.replayed, line.tokens_in) for line in calls_in(file)] == [(0.0, True, 1000)] * 2


def test_rows_by_skill_and_stage_add_up(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path / "ledger.jsonl")
    for request, outcome in [
        (asked(), "accepted"),
        (asked(stage="write", skill="Wood"), "rejected"),
        (asked(stage="write", skill="Wood", attempt=2), "accepted"),
        (asked(stage="write", skill="Stone"), "rejected"),
        (asked(stage="refine", skill="Wood"), "accepted"),
    ]:
        ledger.complete(request)
        ledger.note(request, outcome)  # type: ignore[arg-type]
    lines, _ = read_ledger(tmp_path / "ledger.jsonl")
    rows = {(row.skill, row.stage): (row.calls, row.accepted, row.rejected) for row in cost_rows(lines)}
    assert list(rows) == [("", "propose"), ("Wood", "write"), ("Wood", "refine"), ("Stone", "write")]
    assert rows["Wood", "write"] == (2, 1, 1)
    total = cost_total(lines)
    assert (total.calls, total.tokens_in, total.tokens_out, total.seconds) == (5, 5000, 1000, 10.0)
    assert total.cost == pytest.approx(5 * ONE_CALL) and (total.accepted, total.rejected) == (3, 2)


def test_a_line_that_a_killed_process_left_unfinished_costs_no_other(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    ledger_of(file).complete(asked())
    with file.open("a") as handle:
        handle.write('{"time": 1.0, "stage": "wri')
    ledger_of(file).complete(asked())
    lines, damaged = read_ledger(file)
    assert len(lines) == 2 and damaged == [2]


def test_the_users_table_counts_before_the_known_prices() -> None:
    known = Prices()
    assert known.cost("gpt-4o-mini", 1_000_000, 0) == pytest.approx(0.15)
    own = Prices({"gpt-4o-mini": Price(input=7.0, output=9.0)})
    assert own.cost("gpt-4o-mini", 1_000_000, 2_000_000) == pytest.approx(25.0)
    assert Prices().cost("no-such-model", 1, 1) is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:1/v1"])
def test_a_server_on_this_machine_has_no_known_price(url: str) -> None:
    assert Prices(base_url=url).cost("gpt-4o-mini", 1000, 1000) is None
    assert Prices({"gpt-4o-mini": Price(input=0, output=0)}, url).cost("gpt-4o-mini", 1000, 1000) == 0.0


def test_an_unknown_server_has_no_known_price() -> None:
    assert Prices(base_url="http://models.example.test/v1").cost("gpt-4o-mini", 1000, 1000) is None


def test_a_price_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('["my/model-7b"]\ninput = 0.5\noutput = 1\n\n[other]\ninput = 0\noutput = 0\n')
    assert read_prices(tmp_path / "p.toml") == {
        "my/model-7b": Price(input=0.5, output=1.0),
        "other": Price(input=0, output=0),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[m\n", "p.toml is no table of prices"),
        ("[m]\ninput = -1\noutput = 1", "m.input"),
        ("[m]\ninput = 1", "m.output"),
        ("[m]\ninput = nan\noutput = 1", "m.input"),
        ("[m]\ninput = 1\noutput = 1\ncached = 1", "m.cached"),
        ("m = 3", "m"),
    ],
)
def test_a_price_table_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_prices(tmp_path / "p.toml")


def test_a_missing_price_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        read_prices(tmp_path / "nowhere.toml")
