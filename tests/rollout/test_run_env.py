"""The environment of a run, as its configuration says."""

from pathlib import Path

import pytest

from flowrl.env import classic, tiny
from flowrl.errors import ModuleError
from flowrl.files import read_json
from flowrl.growing.run_setup import ModuleSetUp
from flowrl.rollout.run_env import build_env, interrupt
from flowrl.schema.run import RunSpec
from flowrl.schema.skill import InterruptSpec
from tests.support.homes import SMALL, empty_home, two_wood
from tests.support.played import CLASSIC


@pytest.mark.parametrize("fast", [True, False])
def test_a_run_steps_the_game_as_upstream_wrote_it_where_that_is_asked_for(fast: bool, tmp_path: Path) -> None:
    module = ModuleSetUp(empty_home(tmp_path / "home"), SMALL, two_wood(0, 1), Path("mine/two.py"))
    paths = module(module.proposal("Two"), 1)
    spec = read_json(paths.config, RunSpec)
    env = spec.config.env.model_copy(update={"name": CLASSIC, "fast": fast})
    domain = build_env(spec.model_copy(update={"config": spec.config.model_copy(update={"env": env})}), paths).domain
    assert (domain.reset_fn is classic.reset) is not fast
    assert hasattr(domain.step_fn, "__wrapped__") is fast, "what is rewritten wraps upstream's step"


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        (InterruptSpec(when={"enrgy": 3}, until={"energy": 9}), "the level 'enrgy'.*Did you mean 'energy'"),
        (InterruptSpec(when={"light": 3}, until={"luck": 9}), "the level 'luck'"),
        (InterruptSpec(when={"food": 3}, until={"food": 9}, having={"bread": 1}), "the item 'bread'"),
        (InterruptSpec(when={"food": 3}, until={"food": 9}, sheltered=("SLEP",)), "the action 'SLEP'.*'SLEEP'"),
        (InterruptSpec(when={"food": 3}, until={"food": 9}, seeks="STON"), "seeks 'STON'.*'STONE'"),
    ],
)
def test_a_rule_that_names_what_the_game_lacks_is_refused(rule: InterruptSpec, wrong: str) -> None:
    with pytest.raises(ModuleError, match=f"(?s)'Rest'.*{wrong}"):
        interrupt("Rest", rule, classic.domain())


def test_a_game_without_shelters_refuses_what_wants_one() -> None:
    rule = InterruptSpec(when={"light": 50}, until={"light": 60}, sheltered=("DO",))
    with pytest.raises(ModuleError, match="'Rest' wants a shelter for DO, and Tiny-Grid-v1 knows of none"):
        interrupt("Rest", rule, tiny.domain())
    found = interrupt("Rest", rule.model_copy(update={"sheltered": ()}), tiny.domain())
    assert (found.when, found.until, found.seeks) == ((("light", 50),), (("light", 60),), -1)
