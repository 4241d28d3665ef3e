"""Task modules: loaded, refused, remapped, composed."""

import types
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrl.env.code_parser import bind_tasks, load_module, task_and_reward_funcs, task_to_skill
from flowrl.errors import ModuleError, UsageError
from flowrl.parallel.training_setup import build_remapping, inject_remapping_header
from flowrl.skillcode.source import SkillSource, compose_module, network_numbers, remap_network_numbers


def module_text(numbers: list[int], order: list[int] | None = None) -> str:
    parts = []
    for i in order or range(len(numbers)):
        parts.append(f"def task_{i}_is_done(inventory, n):\n    return inventory.wood >= n\n")
        parts.append(f"def task_{i}_reward(inventory_diff):\n    return inventory_diff.wood * {i + 1}.0\n")
        parts.append(f"def task_{i}_network_number():\n    return {numbers[i]}  # the global expert\n")
    return "\n\n".join(parts)


def run_text(text: str) -> dict[str, Any]:
    module = types.ModuleType("tasks")
    exec(compile(text, "tasks.py", "exec"), vars(module))
    return vars(module)


def test_seed_functions_handle_sparse_numbers() -> None:
    names = run_text(module_text([0, 2, 3, 0, 4, 9, 6]))
    assert task_to_skill(names) == [0, 2, 3, 0, 4, 9, 6]
    *_, heads, count, index = task_and_reward_funcs(names)
    assert count == 10 and index == [0, 2, 3, 0, 4, 9, 6]
    assert (heads == jnp.arange(10)).all()


def test_functions_are_bound_by_name_whatever_the_order() -> None:
    names = run_text(module_text([0, 1, 2], order=[2, 0, 1]))
    tasks = bind_tasks(names)
    rewards = [tasks.skills[k].reward(inventory_diff=types.SimpleNamespace(wood=1)) for k in tasks.skill_of_task]
    assert rewards == [1.0, 2.0, 3.0]


def test_a_default_of_n_is_the_target_of_its_task() -> None:
    text = module_text([0]).replace("(inventory, n)", "(inventory, n=4)")
    assert bind_tasks(run_text(text)).default_amounts == (4,)


BROKEN = {
    "def task_0_is_done(:": r"bad\.py does not parse at line 1",
    "x = 1": r"bad\.py has no task",
    module_text([0, 1, 2]).replace("task_1_", "other_1_"): "no task 1: the numbers must run from 0 without a gap",
    module_text([0, 1]).replace("task_1_reward", "other"): "lacks task_1_reward",
    module_text([0]) + "\n" + module_text([0]): "task_0_is_done is defined twice",
    module_text([0]).replace("(inventory, n)", "(inventroy, n)"): "task_0_is_done asks for 'inventroy'.*'inventory'",
    module_text([0]).replace("(inventory, n)", "(*inventory)"): "task_0_is_done may take named arguments only",
    module_text([0]).replace("return 0 ", "return len([]) "): "task_0_network_number must be a function",
    module_text([0]) + "\nraise ValueError('no')": "bad.py fails when it is loaded: ValueError: no",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_module_is_refused_by_file_and_function(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(ModuleError, match=BROKEN[text]):
        load_module(path)


def test_the_header_gives_local_experts_to_a_module_that_is_run(tmp_path: Path) -> None:
    code = '"""A module."""\nfrom __future__ import annotations\n\n' + module_text([0, 2, 7])
    text = inject_remapping_header(code, {0: 0, 2: 1, 7: 2}, {0: 0, 1: 2, 2: 7})
    path = tmp_path / "7.py"
    path.write_text(text)
    names = load_module(path)
    assert task_to_skill(names) == [0, 1, 2]
    assert names["GLOBAL_TO_LOCAL"] == {0: 0, 2: 1, 7: 2} and names["LOCAL_TO_GLOBAL"] == {0: 0, 1: 2, 2: 7}
    assert [names[f"_original_task_{i}_network_number"]() for i in range(3)] == [0, 2, 7]
    assert task_and_reward_funcs(names).num_common_heads == 3
    assert "# the global expert" in text, "the author's comments stay"


def test_code_that_follows_cannot_override_the_header() -> None:
    code = module_text([5]) + "\n\ndef helper():\n    return task_0_network_number()\n"
    names = run_text(inject_remapping_header(code, {5: 0}, {0: 5}))
    assert names["task_0_network_number"]() == 0
    assert names["helper"]() == 5, "the author's own calls still see the author's number"


def test_remapping_twice_or_without_an_expert_is_refused() -> None:
    once = inject_remapping_header(module_text([3]), {3: 0}, {0: 3})
    with pytest.raises(ModuleError, match="remapped already"):
        inject_remapping_header(once, {3: 0}, {0: 3})
    with pytest.raises(ModuleError, match="task_0_network_number returns expert 3; this run has 1, 2"):
        inject_remapping_header(module_text([3]), {1: 0, 2: 1}, {0: 1, 1: 2})


experts = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=5), st.integers(0, 60), max_size=14)


@given(experts, st.integers(0, 60), st.data())
def test_remapping_is_contiguous_ascending_and_invertible(known: dict[str, int], own: int, data: st.DataObject) -> None:
    dependencies = data.draw(st.lists(st.sampled_from(sorted(known)), unique=True)) if known else []
    completed = {name: {"expert_idx": index} for name, index in known.items()}
    to_local, to_global = build_remapping(dependencies, own, completed)
    used = sorted({known[name] for name in dependencies} | {own})
    assert list(to_local) == used and list(to_local.values()) == list(range(len(used)))
    assert {local: g for g, local in to_local.items()} == to_global


@given(st.lists(st.integers(0, 80), min_size=1, max_size=14))
def test_a_remapped_module_returns_the_local_number_of_each_task(numbers: list[int]) -> None:
    used = sorted(set(numbers))
    to_local = {g: i for i, g in enumerate(used)}
    names = run_text(remap_network_numbers(module_text(numbers), to_local, dict(enumerate(used)), "m"))
    assert task_to_skill(names) == [to_local[g] for g in numbers]
    assert task_and_reward_funcs(names).num_common_heads == len(used)


def test_an_unknown_dependency_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"No completed skill 'Colect Wood'.*'Collect Wood'"):
        build_remapping(["Colect Wood"], 3, {"Collect Wood": {"expert_idx": 0}})


SKILL = '''
"""A skill."""
LIMIT = 3
def _half(x, LIMIT=2):
    return x / LIMIT
def is_done(inventory, n):
    return inventory.wood >= n
def reward(inventory_diff):
    names = [LIMIT for LIMIT in (7,)]
    return _half(inventory_diff.wood) * REST
REST = LIMIT
'''


def test_composing_holds_each_skill_once_and_keeps_names_apart() -> None:
    sources = [SkillSource("a", SKILL), SkillSource("b", SKILL.replace("LIMIT = 3", "LIMIT = 5"))]
    text = compose_module(sources, [0, 1, 0], [4, 9, 4])
    assert text.count("def a_is_done") == 1
    assert network_numbers(text, "m") == (4, 9, 4)
    tasks = bind_tasks(run_text(text))
    assert tasks.skill_of_task == (0, 1, 0) and len(tasks.skills) == 2
    wood = types.SimpleNamespace(wood=2)
    assert [skill.reward(inventory_diff=wood) for skill in tasks.skills] == [3.0, 5.0]


def test_the_last_task_of_a_module_can_be_composed_into_another_plan() -> None:
    source = SkillSource("own", module_text([0, 2]), "task_1_is_done", "task_1_reward")
    tasks = bind_tasks(run_text(compose_module([source], [0], [2])))
    assert tasks.skills[0].reward(inventory_diff=types.SimpleNamespace(wood=1)) == 2.0
