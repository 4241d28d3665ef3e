"""What the two children do, in one process: each check refuses what it is for, and the skills of all games pass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.knowledge.base import load_base
from flowrl.schema.skill import Quantity, Skill, SkillSpec
from flowrl.skillcode.functions import flat_leaves
from flowrl.verify.behaviour.judge import Judge
from flowrl.verify.behaviour.recordings import Recording, read_recording, recorded, shapes_of
from flowrl.verify.text.check_text import read_skill_text
from flowrl.verify.tracing import Refused, problem_of, traced_artefact
from tests.support.played import CLASSIC, FULL, TINY, Moment, game_of, new_worlds

WOOD = SkillSpec(
    yields={"wood": Quantity(per_n=1), "achievement:COLLECT_WOOD": Quantity(base=1)}, item="wood", n_range=(1, 5)
)
HEAD = """import jax.numpy as jnp
from flowrl.env.shaping import approach, gathered
from flowrl.env.tiny import Achievement, Block

"""
DONE = "inventory.wood >= n"
PAYS = "gathered(inventory.wood, inventory_diff.wood, n)"


@pytest.fixture(scope="module")
def recording() -> Path:
    return recorded(TINY)


@pytest.fixture(scope="module")
def judge(recording: Path) -> Judge:
    return Judge(recording)


def skill_text(done: str = DONE, pays: str = PAYS) -> str:
    arguments = "inventory, inventory_diff, closest_blocks, closest_blocks_prev, achievements, achievements_diff, n"
    return f"{HEAD}\ndef is_done({arguments}):\n    return {done}\n\n\ndef reward({arguments}):\n    return {pays}\n"


def artefact_of(code: str, env: str, file: Path) -> bytes:
    reading = read_skill_text(code, env, load_base(env).vocabulary)
    assert not reading.problem, reading.problem
    question = {
        "text": code,
        "env": env,
        "trusted": False,
        "is_done_arguments": reading.is_done_arguments,
        "reward_arguments": reading.reward_arguments,
        "shapes": shapes_of(file),
    }
    return traced_artefact(question)


def verdict(skill: Skill, env: str, file: Path, judge: Judge) -> tuple[str, str]:
    """The check that a skill fails, or "ok", and what it says."""
    try:
        artefact = artefact_of(skill.code, env, file)
    except Refused as refused:
        return "trace", str(refused)
    failed = [check for check in judge.checks(artefact, skill.spec, trusted=False) if not check.passed]
    return (failed[0].name, failed[0].detail) if failed else ("ok", "")


def judged(judge: Judge, file: Path, spec: SkillSpec = WOOD, **parts: str) -> tuple[str, str]:
    return verdict(Skill(name="It", spec=spec, code=skill_text(**parts)), TINY, file, judge)


WRONG = {
    "nothing": ({}, "ok", ""),
    "NaN": ({"pays": f"jnp.log(inventory_diff.wood * 1.0) + {PAYS}"}, "finite", "returns NaN or infinity in"),
    "infinity": ({"pays": f"1 / inventory.stone + {PAYS}"}, "finite", "Guard divisions"),
    "done at first": ({"done": "inventory.wood >= 0"}, "initial", "is_done is true in 64 of 64 states"),
    "never done": ({"done": "inventory.wood > n + 5"}, "reachable", "stays false with n=1 although all"),
    "another achievement": ({"done": "achievements[Achievement.PLACE_TABLE] > 0"}, "reachable", "wood = 1"),
    "n ignored": ({"done": "inventory.wood >= 1"}, "promise", "before what the spec yields holds (wood = 5"),
    "done by the event": ({"done": "achievements[Achievement.COLLECT_WOOD] > 0"}, "promise", "Compare the amounts"),
    "pays nothing": ({"pays": "inventory_diff.stone * 1.0"}, "success pays", "the reward at success is 0"),
    "pays for failing": ({"pays": f"-({PAYS})"}, "success pays", "must be above 0"),
    "pays for waiting": ({"pays": f"{PAYS} + 0.1"}, "farming", "for doing nothing (n="),
    "pays for being near": (
        {"pays": f"{PAYS} + 0.2 * (jnp.abs(closest_blocks[Block.TREE, :, 0]).sum() < 4)"}, "farming", "the reward pays",
    ),
    "pays for steps towards": (
        {"pays": f"{PAYS} + 0.5 * (jnp.abs(closest_blocks[Block.TREE, :, 0]).sum() < "
                 "jnp.abs(closest_blocks_prev[Block.TREE, :, 0]).sum())"}, "farming", "without the skill being done",
    ),
    "an array": ({"pays": "closest_blocks[0, 0] * 1.0"}, "trace", "reward returns an array of shape [5]"),
    "None": ({"done": "None"}, "trace", "is_done returns None"),
    "two numbers": ({"pays": "1.0, 2.0"}, "trace", "reward returns a tuple"),
    "an amount as done": ({"done": "inventory.wood * 1.0"}, "trace", "is_done returns float32"),
    "a truth value of an array": ({"done": "inventory.wood and n"}, "trace", "jnp.where(c, a, b)"),
    "an unknown block": ({"pays": "n * Block.OAK"}, "trace", "OAK"),
    "a shape that does not fit": ({"pays": "(closest_blocks + jnp.ones(7)).sum()"}, "trace", "line 11: reward fails"),
    "a large array": ({"pays": "jnp.ones((9, 1)).repeat(n.shape == (), 0).sum() + jnp.outer(jnp.arange(9000), "
                               "jnp.arange(9000)).sum()"}, "trace", "are allowed in a world"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_each_check_refuses_what_it_is_for(what: str, judge: Judge, recording: Path) -> None:
    parts, name, words = WRONG[what]
    failed, detail = judged(judge, recording, **parts)
    assert (failed, words in detail) == (name, True), (failed, detail)


def test_what_it_yields_must_hold_where_it_is_done_in_recorded_play(judge: Judge, recording: Path) -> None:
    spec = SkillSpec(yields={"wood": Quantity(base=2), "achievement:COLLECT_WOOD": Quantity(base=1)})
    parts = {"done": "achievements[Achievement.COLLECT_WOOD] > 0", "pays": "inventory_diff.wood / 2"}
    failed, detail = judged(judge, recording, spec, **parts)
    assert failed == "promise" and "in a recorded state" in detail and "wood is 1, while the spec yields 2" in detail


@pytest.mark.parametrize("env", [TINY, *(pytest.param(env, marks=pytest.mark.slow) for env in (CLASSIC, FULL))])
def test_every_skill_that_ships_passes(env: str) -> None:
    file = recorded(env)
    judge = Judge(file)
    for skill in load_base(env).skills:
        assert verdict(skill, env, file, judge) == ("ok", ""), skill.name


@pytest.mark.parametrize("env", [TINY, *(pytest.param(env, marks=pytest.mark.slow) for env in (CLASSIC, FULL))])
def test_a_recording_is_large_named_and_of_the_games_own_types(env: str) -> None:
    held: Recording = read_recording(recorded(env))
    random = [i for i, name in enumerate(held.names.trajectories) if name.startswith("random play")]
    assert np.isin(held.trajectory, random).sum() >= 1_000 and (held.trajectory < 0).sum() == 64
    assert len(set(held.names.trajectories)) == len(held.names.trajectories)
    assert len(held.names.trajectories) - len(random) >= 12
    inputs = Moment(game_of(env), new_worlds(env)).step(0)
    expected = {name: (leaf.shape[1:], leaf.dtype) for name, leaf in flat_leaves(inputs).items() if name != "n"}
    assert {name: (leaf.shape[1:], leaf.dtype) for name, leaf in held.leaves.items()} == expected


def test_a_recording_says_what_happened(recording: Path) -> None:
    held = read_recording(recording)
    chopping = held.names.trajectories.index("chopping wood and making pickaxes")
    rows = held.trajectory == chopping
    wood = held.names.achievements.index("COLLECT_WOOD")
    assert held.leaves["achievements_diff"][rows, wood][0] == 1 and held.fluents["achievement:COLLECT_WOOD"][rows].all()
    assert (held.fluents["wood"][rows] == held.leaves["inventory.wood"][rows]).all()
    waiting = held.trajectory == held.names.trajectories.index("doing nothing")
    assert not held.leaves["achievements"][waiting].any() and not held.leaves["inventory_diff.wood"][waiting].any()


LOOPS: dict[str, Callable[..., Any]] = {
    "while": lambda x: jax.lax.while_loop(lambda a: a < 9, lambda a: a + 1, x),
    "scan": lambda x: jax.lax.fori_loop(0, 9, lambda _, a: a + 1, x),
    "pure_callback": lambda x: jax.pure_callback(lambda a: a, x, x),
    "io_callback": lambda x: jax.experimental.io_callback(lambda a: a, x, x),
    "debug_callback": lambda x: (jax.debug.callback(lambda a: None, x), x)[1],
    "debug_print": lambda x: (jax.debug.print("{}", x), x)[1],
    "random": lambda x: x + jax.random.uniform(jax.random.key(0)),
    "hidden in a jit": lambda x: jax.jit(lambda a: jax.pure_callback(lambda b: b, a, a))(x),
    "hidden in a cond": lambda x: jnp.where(x > 1, jax.jit(jax.lax.cumlogsumexp)(x[None])[0], jax.lax.while_loop(
        lambda a: a < 9, lambda a: a + 1, x)),
    "a constant of megabytes": lambda x: x + np.ones(300_000, np.float32).sum() + jnp.asarray(
        np.arange(300_000, dtype=np.float32)).sum(),
}  # fmt: skip


@pytest.mark.parametrize("what", LOOPS)
def test_primitives_that_loop_call_back_or_draw_are_refused(what: str) -> None:
    jaxpr = jax.make_jaxpr(LOOPS[what])(jnp.float32(1))
    assert problem_of(jaxpr) is not None


def test_plain_primitives_are_let_through() -> None:
    assert (
        problem_of(jax.make_jaxpr(lambda x: jnp.where(x > 1, jnp.sort(x), x.at[0].add(1)).sum())(jnp.ones(4))) is None
    )
