"""Prompts: their variables, what is masked, and the very words that are sent."""

from importlib import resources
from pathlib import Path

import pytest

from flowrl.errors import UsageError
from flowrl.llm.briefing import SkillLine, briefing, inputs_text, shaping_text
from flowrl.llm.prompts import load_prompt, parse_prompt
from flowrl.planning.symbolic import ANYTHING
from flowrl.skillcode.inputs import GameSignature
from tests.support.played import CLASSIC, FULL, TINY

GOLDEN = Path(__file__).parent / "golden"
WOOD = SkillLine("Collect Wood", '{"yields":{"wood":"n"},"item":"wood"} Chop trees until n wood are in hand.')
TABLE = SkillLine("Place Table", '{"consumes":{"wood":2}} Place a table.')
VARIABLES = {
    "propose": {
        "goal": "iron_pickaxe", "learned": [WOOD], "reached": "9 wood", "unreached": "stone, coal", "running": [TABLE],
        "names_taken": "Collect Wood", "success": {"Collect Wood": "learned, step success 91 %"},
        "failures": "- Fly: no",
    },
    "specify": {
        "name": "Place Table", "description": "Place a table.", "gain": "near:crafting_table", "learned": [WOOD],
    },
    "design": {
        "name": "Place Table", "description": "Place a table.", "spec": '{"consumes":{"wood":2}}', "candidates": 1,
    },
    "write": {
        "name": "Place Table", "spec": '{"consumes":{"wood":2}}', "done_when": "a table was placed", "expert": 1,
        "terms": ["1 for placing a table"], "farming": "a table stays", "shaping": "- approach(...): ...",
    },
    "refine": {
        "name": "Place Table", "description": "Place a table.", "spec": '{"consumes":{"wood":5}}', "learned": [WOOD],
        "statistics": "wood: consumed 2", "trajectory": "1 PLACE_TABLE: wood -2", "suggestion": "consumes wood 2",
    },
    "rejected": {"reason": "there is no fluent 'tree'", "remaining": "2 more attempts are left."},
}  # fmt: skip


@pytest.mark.parametrize("name", VARIABLES)
def test_the_words_of_each_prompt_are_those_that_were_looked_at(name: str) -> None:
    sent = load_prompt(name).render(**VARIABLES[name])
    assert sent.role == "user"
    _hold_against(GOLDEN / f"{name}.txt", f"{sent.text}\n\n======== masked ========\n\n{sent.masked}\n")


@pytest.mark.parametrize(("env", "name"), [(TINY, "system_tiny"), (CLASSIC, "system_classic"), (FULL, "system_full")])
def test_what_a_model_is_told_of_each_game_is_what_was_looked_at(env: str, name: str) -> None:
    from flowrl.knowledge.base import load_base

    told = briefing(env, load_base(env).vocabulary)
    assert told.role == "system" and told.masked == told.text
    _hold_against(GOLDEN / f"{name}.txt", f"{told.text}\n")


def _hold_against(file: Path, text: str) -> None:
    """A prompt that changes on purpose: look at the difference, then put the new words into the file."""
    assert file.read_text() == text, f"{file.name} is not what is sent now"


def test_every_prompt_that_ships_has_a_golden_text() -> None:
    shipped = (resources.files("flowrl.llm") / "prompts").iterdir()
    assert {file.name for file in shipped} == {f"{name}.md" for name in (*VARIABLES, "system")}


def test_measured_values_are_masked_and_fixed_ones_are_not() -> None:
    sent = load_prompt("propose").render(**VARIABLES["propose"])
    other = load_prompt("propose").render(
        **VARIABLES["propose"] | {"success": {"Collect Wood": "91 %"}, "failures": "-"}
    )
    changed = load_prompt("propose").render(**VARIABLES["propose"] | {"unreached": "coal"})
    assert sent.text != other.text and sent.masked == other.masked != changed.masked
    assert "91 %" not in sent.masked and "<success>" in sent.masked and "iron_pickaxe" in sent.masked


def test_a_measured_list_is_masked_as_a_whole() -> None:
    prompt = parse_prompt("p", "---\nmeasured: rows\n---\n{% for row in rows %}{{ row.name }};{% endfor %}")
    assert prompt.render(rows=[WOOD, TABLE]).masked == prompt.render(rows=[]).masked == "<rows>;"


@pytest.mark.parametrize("name", VARIABLES)
def test_a_missing_or_an_unused_variable_is_an_error(name: str) -> None:
    for lacking in VARIABLES[name]:
        fewer = {key: value for key, value in VARIABLES[name].items() if key != lacking}
        with pytest.raises(UsageError, match=f"lacks its variable {lacking}"):
            load_prompt(name).render(**fewer)
    with pytest.raises(UsageError, match="does not use colour"):
        load_prompt(name).render(**VARIABLES[name], colour="red")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no head at all", "must begin"),
        ("---\nfixed: a\n---\n{{ a }} {{ b }}", "uses 'b'"),
        ("---\nfixed: a, b\n---\n{{ a }}", "never uses 'b'"),
        ("---\nfixed: a\nmeasured: a\n---\n{{ a }}", "as fixed and as measured"),
        ("---\nmasked: a\n---\n{{ a }}", "has 'masked'"),
    ],
)
def test_a_prompt_whose_head_is_wrong_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_prompt("p", text)


def test_a_user_may_give_another_manual(tmp_path: Path) -> None:
    manual = tmp_path / "manual.md"
    manual.write_text("Trees are blue here.")
    from flowrl.knowledge.base import load_base

    told = briefing(TINY, load_base(TINY).vocabulary, manual)
    assert "Trees are blue here." in told.text and "9 x 9 cells" not in told.text
    with pytest.raises(UsageError, match="no file"):
        briefing(TINY, ANYTHING, tmp_path / "nowhere.md")


def test_the_inputs_are_those_that_the_game_has() -> None:
    text = inputs_text(
        GameSignature(
            leaves={"n": ((), "int32"), "inventory.wood": ((), "int32")}, blocks=(), achievements=(), actions=()
        )
    )
    assert [line.split("`")[1] for line in text.splitlines()] == ["inventory", "n"] and "wood int32" in text


def test_helpers_are_named_as_they_are_called() -> None:
    from flowrl.env import shaping

    for line in shaping_text().splitlines():
        assert hasattr(shaping, line.removeprefix("- ").partition("(")[0])
    assert "- gathered(amount, change, n): Returns" in shaping_text()
