"""A model's answers: read however they come, and what is wrong with them told so that it can be mended."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrl.library.drafts import RewardDesign
from flowrl.llm.answers import (
    CodeAnswer,
    DesignAnswer,
    ProposeAnswer,
    RefineAnswer,
    RejectedError,
    SpecAnswer,
    own_functions,
    parse_answer,
)
from flowrl.schema.skill import Quantity, SkillSpec
from tests.support.played import BASES, CLASSIC, TINY

PLAIN = '{"action": "new", "name": "Collect Wood", "description": "Chop.", "gain": "wood"}'


@pytest.mark.parametrize(
    "text",
    [PLAIN, f"```json\n{PLAIN}\n```", f"Here you are:\n```\n{PLAIN}\n```\nGood luck!", f"Sure! {PLAIN} Anything else?"],
)
def test_an_answer_is_read_whatever_is_wrapped_around_it(text: str) -> None:
    assert parse_answer(text, ProposeAnswer).name == "Collect Wood"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("I would rather not.", "no JSON object"),
        ('{"name": "Collect Wo', "not valid JSON"),
        ("[1, 2]", "JSON list, not an object"),
        ('{"description": "Chop."}', "name: field required"),
        ('{"name": "A", "colour": "red"}', "colour: extra inputs"),
        ('{"name": "A", "action": "fly"}', "action: input should be 'new' or 'continue'; it is 'fly'"),
        ('{"name": 3}', "name: input should be a valid string; it is 3"),
        ('{"name": "' + "x" * 200_000 + '"}', "200,012 characters"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_wrong_is_told(text: str, why: str) -> None:
    with pytest.raises(RejectedError) as raised:
        parse_answer(text, ProposeAnswer)
    assert why in str(raised.value)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    for form in (ProposeAnswer, SpecAnswer, DesignAnswer, CodeAnswer, RefineAnswer):
        try:
            parse_answer(text, form)
        except RejectedError as error:
            assert str(error)


def test_bare_code_will_do_where_code_is_asked_for() -> None:
    code = "def is_done(n):\n    return n > 0\n"
    assert parse_answer(f"```python\n{code}```", CodeAnswer).code == code
    with pytest.raises(RejectedError):
        parse_answer(f"```python\n{code}```", ProposeAnswer)


def test_a_specification_is_read_with_amounts_that_grow() -> None:
    answer = SpecAnswer(requires={"near:table": 1}, consumes={"wood": "2*n"}, yields={"stone": "n + 1"}, n_range=(1, 4))
    spec = answer.spec("S")
    assert spec.consumes == {"wood": Quantity(per_n=2)} and spec.yields == {"stone": Quantity(per_n=1, base=1)}
    with pytest.raises(RejectedError) as raised:
        SpecAnswer(consumes={"wood": "n*n", "stone": "lots"}).spec("S")
    assert "wood" in str(raised.value) and "stone" in str(raised.value)


@pytest.mark.parametrize("env", [CLASSIC, TINY])
def test_every_specification_of_the_base_survives_the_way_to_a_model_and_back(env: str) -> None:
    for skill in BASES[env].skills:
        back = SpecAnswer.model_validate(json.loads(SpecAnswer.of(skill.spec).text())).spec(skill.name)
        assert back == skill.spec.model_copy(update={"max_n": None, "seeks": None})


@given(
    st.dictionaries(
        st.sampled_from(["wood", "near:table"]), st.builds(Quantity, per_n=st.integers(0, 9), base=st.integers(-3, 9))
    ),
    st.booleans(),
)
def test_amounts_survive_the_way_to_a_model_and_back(amounts: dict[str, Quantity], stays: bool) -> None:
    spec = SkillSpec(requires=amounts, yields=amounts, stays=stays)
    assert SpecAnswer.model_validate_json(SpecAnswer.of(spec).text()).spec("S") == spec


def test_a_design_is_compared_by_what_it_says() -> None:
    one, same = (RewardDesign(done_when="a", terms=("b",)) for _ in range(2))
    assert len({one, same, RewardDesign(done_when="a", terms=("c",))}) == 2


GOOD = '''import jax.numpy as jnp

def is_done(inventory, n):
    return inventory.wood >= n

def network_number():
    """The expert's number."""
    return 3

def reward(inventory_diff):
    return 1.0 * inventory_diff.wood
'''


def test_the_number_is_taken_out_and_the_rest_stays_as_it_was() -> None:
    code = own_functions(GOOD, 3)
    assert "network_number" not in code and "return 3" not in code
    assert code.replace("\n", "") == GOOD.replace(
        'def network_number():\n    """The expert\'s number."""\n    return 3\n', ""
    ).replace("\n", "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (GOOD.replace("return 3", "return 4"), "must return 3"),
        (GOOD.replace("return 3", "return 1 + 2"), "must return 3"),
        (GOOD.replace("return 3", "return True"), "must return 3"),
        (GOOD.replace("network_number()", "network_number(n)"), "must return 3"),
        (GOOD.replace("network_number", "number"), "has no function network_number"),
        (GOOD + "\ndef network_number():\n    return 3\n", "more than one"),
        (GOOD.replace("def network_number():\n", "x = 1; \\\ndef network_number():\n"), "does not parse"),
        (GOOD.replace("    return 3\n", "    return 3; x = 1\n"), "must return 3"),
        ("def is_done(:", "does not parse at line 1"),
        ("(" * 5000, "the code"),
        ("x = 1; y = 2\ndef network_number(): return 3\nis_done = 1", ""),
    ],
)
def test_a_wrong_number_is_told(text: str, why: str) -> None:
    if not why:
        assert own_functions(text, 3) == "x = 1; y = 2\nis_done = 1\n"
        return
    with pytest.raises(RejectedError) as raised:
        own_functions(text, 3)
    assert why in str(raised.value)
