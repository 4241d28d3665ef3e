"""The environment of a run, as its configuration says."""

from pathlib import Path

import pytest

from flowrl.env import classic
from flowrl.files import read_json
from flowrl.growing.run_setup import ModuleSetUp
from flowrl.rollout.run_env import build_env
from flowrl.schema.run import RunSpec
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
