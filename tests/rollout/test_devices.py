"""Groups of worlds on devices: results don't depend on the devices' number."""

import functools
import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.tables.setup import plan_env, plan_trainer
from flowrl.config import build_config
from flowrl.errors import PlatformError
from flowrl.evaluation.play import play_worlds
from flowrl.rollout.devices import SAME, WORLDS, Groups, check_devices, groups_of, join, split
from flowrl.training.programs import Programs
from flowrl.training.trainer import Trainer
from tests.support.runs import TINY, tiny_config


def trainer(only_last: bool = False, **options: Any) -> Trainer:
    env = plan_env(TINY, "Make Pickaxe", episode_steps=40)
    small = {"env__worlds": 32, "env__fresh_worlds": 16, "ppo__steps": 8, "ppo__minibatch_size": 64, "ppo__lr": 1e-2}
    last = max(env.tasks.expert_of_task)
    return plan_trainer(env, tiny_config(**{**small, **options}), (last,) if only_last else tuple(range(last + 1)))


def after_updates(programs: Programs, updates: int) -> Any:
    state, stats = programs.init(jax.random.PRNGKey(0), {}), None
    for _ in range(updates):
        state, stats = programs.update(state)
    return jax.tree.map(np.asarray, (state, stats))


@pytest.mark.parametrize(("groups", "only_last"), [(2, False), (2, True), (4, False)])
def test_training_is_the_same_on_one_device_and_on_two(groups: int, only_last: bool) -> None:
    """Bit for bit: groups play apart, and sums of two parts commute."""
    made = trainer(only_last, env__groups=groups)
    on_one, on_two = (Programs(made, jax.local_devices()[:n]) for n in (1, 2))
    assert [len(p.groups.devices) for p in (on_one, on_two)] == [1, 2]
    one, two = after_updates(on_one, 6), after_updates(on_two, 6)
    if groups == 2:
        jax.tree.map(np.testing.assert_array_equal, one, two)
    else:  # four gradients are summed in another order, which rounding shows
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), one[0].params, two[0].params)
    assert one[0].flow.started.max() > 0, "episodes ended and began anew"


def unordered(program: str) -> tuple[int, list[tuple[str, str]]]:
    """Count a compiled program's exchanges, and its unordered pairs of them."""
    # The order that XLA adds by itself is what a cached program does not know.
    program, computations = re.sub(r"control-predecessors=\{[^}]*\}", "", program), {}
    for name, body in re.findall(r"^(?:ENTRY )?%([\w.-]+) \(.*?\{\n(.*?)^\}", program, re.MULTILINE | re.DOTALL):
        made = re.findall(r"^ +(?:ROOT )?%([\w.-]+) = .*? ([\w-]+)\((.*)$", body, re.MULTILINE)
        computations[name] = {one: (opcode, set(re.findall(r"%([\w.-]+)", rest))) for one, opcode, rest in made}

    @functools.cache
    def exchanges(computation: str) -> tuple[str, ...]:
        return tuple(
            name
            for name, (opcode, uses) in computations[computation].items()
            if opcode in ("all-reduce", "all-gather", "collective-permute")
            or any(exchanges(used) for used in uses if used in computations)
        )

    found = []
    for name, instructions in computations.items():
        before: dict[str, set[str]] = {}
        for one, (_, uses) in instructions.items():  # in an order in which what is used comes first
            direct = uses & before.keys()
            before[one] = direct.union(*(before[used] for used in direct))
        pairs = itertools.combinations(exchanges(name), 2)
        found += [(a, b) for a, b in pairs if a not in before[b] and b not in before[a]]
    return sum(len(exchanges(name)) for name in computations), found


def compiled_update(skill: str) -> tuple[Programs, str]:
    env = plan_env(TINY, skill, episode_steps=40)
    config = tiny_config(env__worlds=32, env__fresh_worlds=16, ppo__steps=8, ppo__minibatch_size=64)
    programs = Programs(plan_trainer(env, config, tuple(range(max(env.tasks.expert_of_task) + 1))))
    learn, texts = programs._learn, []

    def keep(*arguments: Any) -> Any:
        texts.append(learn.lower(*arguments).compile().as_text())
        return learn(*arguments)

    programs._learn = keep
    after_updates(programs, 1)
    return programs, texts[0]


@pytest.mark.parametrize("skill", ["Collect Wood", "Make Pickaxe"])
def test_exchanges_between_devices_are_one_chain(skill: str) -> None:
    """A program from the compile cache begins two exchanges that do not depend on each other in any order."""
    _, program = compiled_update(skill)
    assert ("collective-permute(" in program) is (skill == "Make Pickaxe"), "experts go round where there are several"
    exchanges, pairs = unordered(program)
    assert exchanges >= 5 and pairs == []


def test_an_update_copies_no_first_kernel() -> None:
    """Most of an expert's parameters: a copy of them, or of their moments, for each step would cost more than it."""
    programs, program = compiled_update("Make Pickaxe")
    experts, rows, width = programs.init(jax.random.PRNGKey(0), {}).params["actor"]["layer_0"]["kernel"].shape
    shapes = rf"f32\[(?:(?:1|{experts}),)?{rows},{width}\]"
    assert re.search(rf"= {shapes}\S* dynamic-update-slice\(", program), "the shapes are those of the program"
    assert re.findall(rf"= {shapes}\S* copy\(.*", program) == []


def test_what_is_gathered_keeps_its_type_and_its_place() -> None:
    groups = groups_of(4, jax.local_devices()[:2])
    draw = np.random.default_rng(0)
    tree = {
        "truth": jnp.asarray(draw.integers(0, 2, (4, 3)) > 0),
        "short": jnp.asarray(draw.integers(-9, 9, (4, 2, 2)), jnp.int16),
        "byte": jnp.asarray(draw.integers(0, 255, (4, 5)), jnp.uint8),
        "number": jnp.asarray(draw.normal(size=4), jnp.float32).at[0].set(jnp.nan),
    }
    spread = groups.spread(lambda part, own: groups.gather((part, own[:1]), after=own), (WORLDS, WORLDS), SAME)
    found, firsts = jax.jit(spread)(groups.place(tree, WORLDS), groups.place(jnp.arange(4), WORLDS))
    jax.tree.map(np.testing.assert_array_equal, found, tree)
    assert jax.tree.map(lambda leaf: leaf.dtype, found) == jax.tree.map(lambda leaf: leaf.dtype, tree)
    assert firsts.tolist() == [0, 2], "one number of each device"


def test_evaluation_is_the_same_on_one_device_and_on_two() -> None:
    made = trainer()
    outcomes = []
    for n in (1, 2):
        programs = Programs(made, jax.local_devices()[:n])
        params = programs.init(jax.random.PRNGKey(0), {}).params
        amounts = np.ones((40, len(made.env.amounts.low)), np.int32)
        outcomes.append(play_worlds(programs, params, jax.random.PRNGKey(5), amounts))
    jax.tree.map(np.testing.assert_array_equal, *outcomes)


def test_another_number_of_groups_is_another_run() -> None:
    two, one = (after_updates(Programs(trainer(env__groups=n)), 2)[0] for n in (2, 1))
    assert not np.array_equal(two.flow.player.memory, one.flow.player.memory)


def test_groups_are_as_many_as_divide_everything() -> None:
    assert build_config(settings=["env.groups=8", "env.worlds=12", "env.fresh_worlds=6"]).groups == 2
    assert build_config(settings=["env.worlds=1"]).groups == 1
    assert len(groups_of(3).devices) == 1 and len(groups_of(4).devices) == 2


def test_devices_that_disagree_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = jax.local_devices()
    check_devices(devices)
    monkeypatch.setattr(Groups, "total", lambda self, parts: parts.sum(axis=0) + len(self.devices))
    with pytest.raises(PlatformError, match="cpu:0, cpu:1 is not what cpu:0 does alone"):
        check_devices(devices)


def test_split_and_join_are_inverse() -> None:
    tree = {"a": jnp.arange(24).reshape(2, 12), "b": jnp.arange(48).reshape(2, 12, 2)}
    parts = split(tree, 3, axis=1)
    assert parts["b"].shape == (3, 2, 4, 2)
    jax.tree.map(np.testing.assert_array_equal, join(parts, axis=1), tree)
    np.testing.assert_array_equal(parts["a"][1], tree["a"][:, 4:8])


def test_nothing_waits_for_ever_where_programs_follow_each_other_at_once() -> None:
    """Without waiting for results: two programs at once in which devices wait for each other would hang."""
    programs = Programs(trainer())
    state = programs.init(jax.random.PRNGKey(0), {})
    for i in range(40):
        state, _ = programs.update(state)
        programs.players(jax.random.PRNGKey(i))
    assert int(state.update) == 40


def test_only_learning_makes_devices_wait_for_each_other() -> None:
    made = trainer()
    programs = Programs(made)
    key = jax.random.PRNGKey(0)
    state, fresh = programs.init(key, {}), programs.fresh(key)
    played = programs._play.lower(state.params, state.flow, key, fresh, jnp.int32(1), None).compile().as_text()
    worlds = programs._new_worlds.lower(jax.random.split(key, 16)).compile().as_text()
    together = programs._together.lower([fresh, fresh]).compile().as_text()
    waiting = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
    assert not [word for word in waiting for text in (played, worlds, together) if word in text]
