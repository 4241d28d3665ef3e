"""`flowrl cost` through the real entry point."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flowrl.errors import LLMError
from flowrl.llm.transport.ledger import Ledger, Price, Prices
from tests.support.homes import empty_home
from tests.support.scripted import Scripted, answered, asked

OWN = Prices({"m": Price(input=2.0, output=10.0)}, "http://127.0.0.1:1/v1")


def flowrl(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "flowrl", *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for which three things were asked; one got no answer."""
    home = tmp_path_factory.mktemp("cost") / "home"
    file = empty_home(home).paths.ledger
    ledger = Ledger(Scripted([answered(), answered(tokens_in=2_000_000), LLMError("no such model")]), file, "m", OWN)
    ledger.complete(asked())
    ledger.note(asked(), "accepted")
    ledger.complete(asked(stage="write", skill="Wood"))
    ledger.note(asked(stage="write", skill="Wood"), "rejected", "it has a loop")
    with pytest.raises(LLMError):
        ledger.complete(asked(stage="write", skill="Wood", attempt=2))
    return home


def test_the_table_has_a_row_for_each_skill_and_stage_and_their_sum(home: Path) -> None:
    done = flowrl("cost", "--home", str(home))
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert rows == [
        ["-", "propose", "1", "0", "1,000", "200", "0.0040", "2.0", "1", "0"],
        ["Wood", "write", "2", "1", "2,000,000", "200", "4.0020", "2.0", "0", "1"],
        ["total", "3", "1", "2,001,000", "400", "4.0060", "4.0", "1", "1"],
    ]
    assert done.returncode == 0 and not done.stderr


def test_json_has_the_same_figures(home: Path) -> None:
    told = json.loads(flowrl("cost", "--home", str(home), "--json").stdout)
    assert [(row["skill"], row["stage"], row["calls"]) for row in told["rows"]] == [
        ("", "propose", 1),
        ("Wood", "write", 2),
    ]
    assert told["total"]["cost"] == pytest.approx(4.006) and told["total"]["failed"] == 1
    assert told["total"]["unpriced"] == 0


def test_unknown_prices_are_said_to_be_unknown(tmp_path: Path) -> None:
    file = empty_home(tmp_path).paths.ledger
    Ledger(Scripted([answered()]), file, "local").complete(asked(skill="Stone"))
    Ledger(Scripted([answered()]), file, "m", OWN).complete(asked(skill="Wood"))
    lines = flowrl("cost", "--home", str(tmp_path)).stdout.splitlines()
    assert lines[2].split()[6] == "?" and lines[3].split()[6] == "0.0040" and "0.0040 + ?" in lines[4]
    assert "price of 1 of 2 calls is unknown" in lines[-1]


def test_a_damaged_line_is_named_and_left_out(tmp_path: Path) -> None:
    file = empty_home(tmp_path).paths.ledger
    ledger = Ledger(Scripted([answered()] * 2), file, "m", OWN)
    ledger.complete(asked())
    with file.open("a") as handle:
        handle.write('{"kind": "call", "cost": "free"}\n')
    ledger.complete(asked())
    done = flowrl("cost", "--home", str(tmp_path), "--json")
    assert json.loads(done.stdout)["total"]["calls"] == 2 and done.returncode == 0
    assert "skipped damaged lines 2" in done.stderr


def test_a_home_that_asked_nothing_says_so(tmp_path: Path) -> None:
    empty_home(tmp_path)
    assert "No calls of a language model" in flowrl("cost", "--home", str(tmp_path)).stdout
    assert json.loads(flowrl("cost", "--home", str(tmp_path), "--json").stdout)["rows"] == []


def test_what_is_no_home_is_refused(tmp_path: Path) -> None:
    done = flowrl("cost", "--home", str(tmp_path))
    assert done.returncode != 0 and "not a flowrl home" in done.stderr


def test_help_has_an_example() -> None:
    assert "Example: flowrl cost --home demo" in flowrl("cost", "--help").stdout
