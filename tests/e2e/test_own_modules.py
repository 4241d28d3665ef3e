"""Task modules of a user's own among the skills of a home: whose expert is whose, and how a weak one goes on."""

from pathlib import Path

import numpy as np
import pytest

from flowrl.errors import LibraryError, ModuleError, UsageError
from flowrl.evaluation.playback import weights_for
from flowrl.files import read_arrays, read_json, write_json
from flowrl.growing.grow import train
from flowrl.growing.run_setup import ModuleSetUp, SkillSetUp
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from flowrl.parallel.scheduler import Proposal
from flowrl.parallel.training_setup import build_moe_checkpoint
from flowrl.paths import RunPaths
from flowrl.schema.run import RunSpec, TrainResult
from tests.support.homes import SMALL, add_skill, empty_home, two_wood, weights
from tests.support.runs import TINY, Watcher, grow_tiny, inline, tiny_config


@pytest.fixture
def library(tmp_path: Path) -> SkillLibrary:
    return empty_home(tmp_path / "home")


def set_up(library: SkillLibrary, first: int, own: int) -> ModuleSetUp:
    return ModuleSetUp(library, SMALL, two_wood(first, own), Path("two.py"))


def module_run(library: SkillLibrary, name: str, first: int, own: int) -> RunPaths:
    """Sets up the run of a module."""
    module = set_up(library, first, own)
    return module(module.proposal(name), own)


def interrupt_wood(library: SkillLibrary) -> RunPaths:
    """Leaves the run of a skill of the base behind that was cut off after its first checkpoint."""
    run = SkillSetUp(load_base(TINY), library, SMALL)(Proposal("Collect Wood"), 0)
    run.checkpoints.mkdir()
    (run.checkpoints / "update_00000003.json").write_text("{}")
    return run


def test_a_module_cannot_take_the_expert_of_an_unfinished_run(library: SkillLibrary) -> None:
    interrupt_wood(library)
    with pytest.raises(ModuleError, match=r"two\.py: the last task's expert 0 is 'Collect Wood' in .*Return 1, the"):
        set_up(library, 5, 0).proposal("Two")
    assert set_up(library, 5, 1).proposal("Two").expert == 1


def test_the_number_of_a_run_that_came_to_nothing_is_free(library: SkillLibrary) -> None:
    run = SkillSetUp(load_base(TINY), library, SMALL)(Proposal("Collect Wood"), 0)
    write_json(run.result, TrainResult(outcome="failed", error="no memory"))
    assert set_up(library, 5, 0).proposal("Two").expert == 0


@pytest.mark.parametrize("finished", [True, False], ids=["in the library", "in a run"])
def test_a_module_cannot_take_the_number_of_a_companion(library: SkillLibrary, finished: bool) -> None:
    if finished:
        add_skill(library, "Two", 50, companions=[7], module=two_wood(7, 50))
    else:
        module_run(library, "Two", 7, 50)
    with pytest.raises(ModuleError, match="expert 7 is 'Two, companion 7'"):
        set_up(library, 0, 7).proposal("Seven")


def test_a_module_keeps_the_number_that_it_has(library: SkillLibrary) -> None:
    add_skill(library, "Two", 50, module=two_wood(7, 50))
    with pytest.raises(ModuleError, match="'Two' is expert 50 in the library, not 51"):
        set_up(library, 0, 51).proposal("Two")
    module_run(library, "Other", 7, 60)
    with pytest.raises(ModuleError, match="'Other' is expert 60 in its unfinished run, not 61"):
        set_up(library, 0, 61).proposal("Other")


def test_a_skill_plays_with_the_companions_that_it_brought_along(library: SkillLibrary) -> None:
    add_skill(library, "Two", 50, companions=[7], module=two_wood(7, 50))
    add_skill(library, "Seven", 7, module=two_wood(0, 7))
    assert weights_for(library, 7, "Two")["actor.layer_0.bias"][0] == 7.5
    assert weights_for(library, 7, "Seven")["actor.layer_0.bias"][0] == 7


def test_an_expert_that_is_nowhere_is_named(library: SkillLibrary) -> None:
    add_skill(library, "Two", 50)
    with pytest.raises(LibraryError, match="Expert 7, which Two plays with, is neither among the 1 of"):
        weights_for(library, 7, "Two")


def test_companions_of_a_weak_module_go_on_from_their_weights(library: SkillLibrary) -> None:
    add_skill(library, "Two", 50, companions=[7], module=two_wood(7, 50))
    add_skill(library, "Seven", 7, module=two_wood(0, 7))
    module = set_up(library, 7, 50)
    assert module.lacking("Two") == [] and module.lacking("Another") == []
    run = module_run(library, "Two", 7, 50)
    arrays, spec = read_arrays(run.initial), read_json(run.config, RunSpec)
    for local, value in ((0, 7.5), (1, 50.0)):
        np.testing.assert_array_equal(
            arrays[f"params.actor_networks_{local}.layer_0.bias"], weights(value)["actor.layer_0.bias"]
        )
    assert spec.random == (0,) and spec.trained == (0, 1), "the companion learns on, and stays with the skill"
    assert spec.seeds.keys() == {0, 1}


def test_damaged_companions_are_refused(library: SkillLibrary) -> None:
    record = add_skill(library, "Two", 50, companions=[7], module=two_wood(7, 50))
    library.skill_paths(record).companion(7).params.write_bytes(b"no arrays")
    with pytest.raises(LibraryError, match=r"companions/expert_7_policy/params\.safetensors is damaged"):
        module_run(library, "Two", 7, 50)
    with pytest.raises(LibraryError, match=r"companions/expert_7_policy/params\.safetensors is damaged"):
        weights_for(library, 7, "Two")


def test_altered_weights_of_a_dependency_are_not_trained_on(library: SkillLibrary) -> None:
    record = add_skill(library, "Wood", 0)
    params = library.skill_paths(record).params
    params.write_bytes(params.read_bytes()[:-1] + b"\x01")
    entry = {"Wood": {"expert_idx": 0, "path": str(params.parent.parent)}}
    for completed, home in ((library.named(), library.paths.root), (entry, None)):
        with pytest.raises(LibraryError, match=r"0_Wood/expert_0_policy/params\.safetensors is not the file that"):
            build_moe_checkpoint(["Wood"], {0: 0, 1: 1}, completed, home=home)
    with pytest.raises(LibraryError, match=r"params\.safetensors is not the file that"):
        module_run(library, "Two", 0, 50)
    assert not any(library.paths.runs.glob("*/run.json"))


def test_weights_of_another_home_are_not_trained_on(library: SkillLibrary, tmp_path: Path) -> None:
    record = add_skill(library, "Wood", 0)
    other = empty_home(tmp_path / "other", tiny_config(model__width=16))
    other.store_expert(library.skill_paths(record), weights(0), 1)
    with pytest.raises(LibraryError, match=r"expert_0_policy holds weights for .*width=16.*, this home is .*width=8"):
        module_run(library, "Two", 0, 50)


def test_a_home_does_not_take_weights_of_which_nothing_is_known(library: SkillLibrary) -> None:
    record = add_skill(library, "Wood", 0)
    paths = library.skill_paths(record)
    paths.meta.unlink()
    with pytest.raises(LibraryError, match=r"expert_0_policy/meta\.json is missing"):
        build_moe_checkpoint(["Wood"], {0: 0}, library.named(), home=library.paths.root)
    plain = {"Wood": {"expert_idx": 0, "path": str(paths.folder)}}
    assert build_moe_checkpoint(["Wood"], {0: 0}, plain)["params"].keys() == {"actor_networks_0", "critic_networks_0"}


def test_unknown_names_are_looked_for_in_the_library_too(library: SkillLibrary) -> None:
    add_skill(library, "Two", 50, module=two_wood(0, 50))
    with pytest.raises(UsageError, match="Did you mean 'Two'"):
        train(library.paths.root, SMALL, "Twoo", Watcher())


def test_a_learned_module_is_not_trained_again_by_name(library: SkillLibrary) -> None:
    add_skill(library, "Two", 50, module=two_wood(0, 50), status="learned")
    watcher = Watcher()
    assert train(library.paths.root, SMALL, "two", watcher).name == "Two"
    assert "Two is already learned" in watcher.notes[0]


@pytest.mark.slow
def test_a_weak_module_goes_on_by_its_name(tmp_path: Path) -> None:
    from flowrl.growing.grow import train_module

    home, file = tmp_path / "home", tmp_path / "two.py"
    file.write_text(two_wood(7, 50))
    first = train_module(home, tiny_config(ppo__frames=0), file, "Two", Watcher(), executor_fn=inline)
    assert first.status == "weak" and first.companions == (7,)
    file.unlink()
    watcher = grow_tiny(home, "two", ppo__frames=2048)
    spec = watcher.specs[0]
    assert spec.is_module and spec.skill == "Two" and spec.frames_before == 0 and spec.seeds.keys() == {0, 1}
    assert not watcher.notes or "lacks" not in watcher.notes[0]
