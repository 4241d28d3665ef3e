"""Task modules tried in new worlds before training: what is refused, and what messages call it."""

from pathlib import Path

import jax
import pytest

from flowrl.env.dry_run import try_tasks
from flowrl.errors import ModuleError
from flowrl.files import read_json
from flowrl.growing.run_setup import ModuleSetUp
from flowrl.paths import RunPaths
from flowrl.rollout.run_env import build_env, task_names
from flowrl.schema.run import RunSpec
from tests.support.homes import SMALL, empty_home, two_wood

TEXT = two_wood(0, 1)


def set_up(folder: Path, text: str) -> RunPaths:
    module = ModuleSetUp(empty_home(folder / "home"), SMALL, text, Path("mine/two.py"))
    return module(module.proposal("Two"), 1)


def try_out(folder: Path, text: str) -> None:
    paths = set_up(folder, text)
    spec = read_json(paths.config, RunSpec)
    try_tasks(build_env(spec, paths), task_names(spec, paths), jax.random.PRNGKey(0))


def test_a_later_task_may_be_done_in_a_new_world(tmp_path: Path) -> None:
    try_out(tmp_path, TEXT.replace("inventory.wood >= n", "inventory.wood <= 0"))


def test_a_first_task_that_is_done_in_every_new_world_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModuleError, match=r"^mine/two\.py: task_0_is_done is true in every new world"):
        try_out(tmp_path, TEXT.replace("inventory.wood >= 1", "inventory.wood <= 0"))


BROKEN = {
    ("inventory.wood >= n", "inventory.gold"): r"task_1_is_done fails when it is tried: AttributeError",
    ("n=2", "n=None"): r"task_1_is_done has the default n=None, which is no amount",
    ("(inventory, n=2)", "(inventory, monsters_killed)"): r"task_1_is_done asks for 'monsters_killed', which only full",
    ("\n\ndef task_1_is_done", "\n\n1 / 0\n\n\ndef task_1_is_done"): r" ?fails when it is loaded: ZeroDivisionError",
}


@pytest.mark.parametrize("change", BROKEN, ids=[new.strip().split("\n")[0] for _, new in BROKEN])
def test_messages_name_the_file_that_was_given(change: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ModuleError, match=rf"^mine/two\.py:? {BROKEN[change].lstrip(' ?')}"):
        try_out(tmp_path, TEXT.replace(*change))


def test_functions_of_a_composed_run_are_named_with_their_skill(tmp_path: Path) -> None:
    paths = set_up(tmp_path, TEXT)
    spec = read_json(paths.config, RunSpec).model_copy(update={"source_file": ""})
    assert task_names(spec, paths)[1].reward == f"{paths.module}: task_1_reward (of 'Two')"
