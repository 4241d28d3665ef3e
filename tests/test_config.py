"""The configuration: every option is saved and read, and unknown keys are errors."""

import json
from pathlib import Path

import pytest

from flowrl.config import RunConfig, build_config, option_names
from flowrl.errors import LibraryError, UsageError
from flowrl.files import read_json, write_json


def test_every_option_reaches_the_saved_configuration_and_comes_back(tmp_path: Path) -> None:
    changed = build_config("gpu", ["ppo.lr=3e-4", "ppo.anneal=false", "env.worlds=7"], seed=5)
    write_json(tmp_path / "run.json", changed)
    back = read_json(tmp_path / "run.json", RunConfig)
    assert back == changed and back.ppo.lr == 3e-4 and not back.ppo.anneal and back.seed == 5 and back.env.worlds == 7
    assert back.model.width == 512
    assert {"ppo.lr", "env.name", "gate.learned_at", "seed"} <= set(option_names())


def test_an_unknown_key_in_a_saved_configuration_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"ppo": {"learning_rate": 1}}))
    with pytest.raises(LibraryError, match="learning_rate"):
        read_json(tmp_path / "run.json", RunConfig)
    with pytest.raises(UsageError, match="cannot be"):
        build_config(settings=["gate.learned_at=1.5"])
