"""Setting up a run from the seed's arguments, as `SkillSetUp` does from a request."""

from pathlib import Path

from flowrl.files import read_json, read_text
from flowrl.parallel.training_setup import prepare_training_run, set_up_run
from flowrl.schema.plan import Plan
from flowrl.schema.run import RunRequest, RunSpec, TaskSpec
from flowrl.weights import expert_sha256, load_experts
from tests.support.homes import SMALL, add_skill, empty_home, two_wood, weights
from tests.support.runs import assert_same_arrays, tree_bytes


def test_the_seeds_arguments_set_up_a_run_of_contiguous_experts(tmp_path: Path) -> None:
    library = empty_home(tmp_path / "home")
    record = add_skill(library, "Wood", 2)
    folder = library.skill_paths(record).folder
    entries = {"Wood": {"expert_idx": 2, "path": str(folder)}}
    run = prepare_training_run("Two", {"code": two_wood(2, 50)}, ["Wood"], 50, entries, home=tmp_path / "new")
    run_folder, module_path = run
    assert run_folder.name == "skill_50_Two" and module_path == run_folder / "50.py"
    assert "GLOBAL_TO_LOCAL = {2: 0, 50: 1}" in read_text(module_path)
    spec, initial = read_json(run.config, RunSpec), load_experts(run.initial)
    assert (spec.local_to_global, spec.trained, spec.own, spec.random) == ((2, 50), (1,), 1, ())
    assert [task.skill for task in spec.tasks] == ["task 0", "Two"] and spec.plan == Plan(goal="Two", steps=())
    assert list(initial) == [0], "the worker initialises the new one"
    assert_same_arrays(initial[0], weights(2))
    assert spec.seeds == {0: library.weights_hash(record)} == {0: expert_sha256(initial[0])}
    assert read_text(run_folder / "source.py") == two_wood(2, 50)


def test_a_request_and_the_seeds_arguments_make_the_same_run(tmp_path: Path) -> None:
    folders = []
    for way in ("request", "arguments"):
        library = empty_home(tmp_path / way)
        add_skill(library, "Wood", 2)
        code, home = two_wood(2, 50), library.paths.root
        tasks = (TaskSpec(skill="Wood", low=1, high=1), TaskSpec(skill="Two", low=1, high=4))
        told = {"code": code, "source": "mine", "tasks": tasks, "description": "chop", "trial": True}
        if way == "arguments":
            run = prepare_training_run("Two", told, ["Wood"], 50, library.named(), home=home, config=SMALL)
        else:
            given = {"skill": "Two", "expert": 50, "dependencies": ("Wood",), "plan": Plan(goal="Two", steps=())}
            request = RunRequest.model_validate(told | given | {"config": SMALL})
            run = set_up_run(request, library.named(), home)
        folders.append(tree_bytes(run.folder))
    assert folders[0] == folders[1] and len(folders[0]) >= 4
