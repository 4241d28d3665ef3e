"""How a skill gets done and what that needs, found out in staged worlds without being told anything."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks.tables.planted import scripted_segments
from flowrl.analysis.findings import Findings, Way
from flowrl.analysis.probing import Probing
from flowrl.analysis.repair import repair
from flowrl.analysis.scripted_play import AnySkill, Stepper
from flowrl.analysis.segments import statistics_of
from flowrl.env.registry import domain_named
from flowrl.env.skill_inputs import leaf_shapes
from flowrl.env.staging.scenes import ABSENT, AS_IT_IS, OUT_OF_REACH, WITHIN_REACH, Stage, stack_scenes
from flowrl.knowledge.base import load_base
from flowrl.schema.skill import Quantity, SkillSpec
from flowrl.skillcode.artefact import load_artefact
from flowrl.skillcode.functions import SkillFunctions
from tests.support.exports import exported
from tests.support.played import CLASSIC, TINY, functions_of

ONE = Quantity(base=1)


@functools.cache
def stepper_of(env: str) -> Stepper:
    return Stepper(Stage.of(domain_named(env)))


def probing_of(env: str, functions: AnySkill, spec: SkillSpec | None = None) -> Probing:
    return Probing(stepper_of(env), functions, load_base(env).vocabulary, spec or SkillSpec(), jax.random.key(1))


def skill(is_done: Any, *arguments: str) -> SkillFunctions:
    return SkillFunctions(is_done, lambda n: 0.0 * n, arguments, ("n",))


def ways_of(env: str, name: str) -> list[Way]:
    return probing_of(env, functions_of(env, name), load_base(env).skill(name).spec).ways()


def amounts(way: Way, n: int = 1) -> dict[str, int]:
    return {fluent: by_n[n] for fluent, by_n in way.least.items() if by_n[n]}


# Scenes


@pytest.mark.parametrize("env", [TINY, CLASSIC])
def test_a_scene_holds_what_is_asked_of_it(env: str) -> None:
    """Set up over and over in worlds that hold something else, with any kind of thing ahead."""
    stepper, rng = stepper_of(env), np.random.default_rng(0)
    stage = stepper.stage
    bases = stepper.plain_bases(jax.random.key(0), 4)
    wanted = []
    for _ in range(64):
        items = {item: int(rng.integers(0, 10)) for item in stage.domain.items}
        stations = {name: int(rng.choice([ABSENT, OUT_OF_REACH, WITHIN_REACH])) for name in stage.stations}
        free = [k for k in range(len(stage.kinds)) if not stage.station_of(k)]
        wanted.append((items, stations, int(rng.choice(free))))
    worlds = bases.worlds
    for turn in range(2):
        scenes = stack_scenes([stage.scene(i, s, 5, k) for i, s, k in wanted])
        worlds = stage.set_up(worlds, np.arange(64) % 4 if turn == 0 else np.arange(64), scenes)
        found = np.asarray(jax.jit(jax.vmap(stepper._fluents))(worlds))
        for row, (items, stations, _) in enumerate(wanted):
            held = dict(zip(stepper.fluents, found[row].tolist(), strict=True))
            assert {item: held[item] for item in items} == items
            for name, level in stations.items():
                where = held[f"placed:{name}"], held[f"near:{name}"]
                assert where == (level >= OUT_OF_REACH, level == WITHIN_REACH), (turn, name)
        wanted = wanted[1:] + wanted[:1]


def test_what_is_left_as_it_is_stays() -> None:
    stepper = stepper_of(TINY)
    stage = stepper.stage
    worlds = jax.jit(jax.vmap(stage.domain.reset_fn))(jax.random.split(jax.random.key(0), 8))
    as_it_is = stage.scene({}, {"table": AS_IT_IS}, AS_IT_IS, AS_IT_IS, others=AS_IT_IS)
    after = stage.set_up(worlds, np.arange(8), stack_scenes([as_it_is] * 8))
    assert (np.asarray(after.map) == np.asarray(worlds.map)).all()
    assert (np.asarray(after.inventory.wood) == 0).all()


# Probing and ablation on the tiny game


@pytest.mark.parametrize(
    ("name", "done", "needs", "spends"),
    [
        ("Collect Wood", "DO before TREE", {}, {}),
        ("Collect Drink", "DO before WATER", {}, {}),
        ("Place Table", "PLACE_TABLE before GRASS", {"wood": 1}, {"wood": 1}),
        ("Make Pickaxe", "MAKE_PICKAXE before GRASS", {"near:table": 1, "placed:table": 1, "wood": 1}, {"wood": 1}),
        ("Collect Stone", "DO before STONE", {"pickaxe": 1}, {}),
    ],
)
def test_how_a_skill_gets_done_is_found_and_what_that_takes(
    name: str, done: str, needs: dict[str, int], spends: dict[str, int]
) -> None:
    (way,) = ways_of(TINY, name)
    assert str(way) == done and way.is_bare and way.successes == way.worlds == 8
    assert amounts(way) == needs
    assert {fluent: by_n[1] for fluent, by_n in way.consumed.items()} == spends
    spec = load_base(TINY).skill(name).spec
    assert repair(spec, Findings(skill=name, env=TINY, ways=(way,))).changes == ()


def test_the_amount_is_asked_of_the_code_for_every_n_at_once() -> None:
    (way,) = ways_of(TINY, "Collect Wood")
    assert way.ns == (1, 2, 3) and way.ended["wood"] == {1: 1, 2: 2, 3: 3}


def test_a_need_that_the_code_makes_up_is_found_with_its_least_amount() -> None:
    """Nothing in the game asks for three stones to drink."""
    functions = skill(
        lambda achievements, inventory: (achievements[4] > 0) & (inventory.stone >= 3), "achievements", "inventory"
    )
    (way,) = [way for way in probing_of(TINY, functions).ways() if way.action == "DO"]
    assert amounts(way) == {"stone": 3} and way.consumed == {}


def test_a_need_that_grows_with_n_is_found() -> None:
    functions = skill(
        lambda achievements, inventory, n: (achievements[4] > 0) & (inventory.stone >= 2 * n),
        "achievements", "inventory", "n",
    )  # fmt: skip
    (way,) = [way for way in probing_of(TINY, functions).ways() if way.action == "DO"]
    assert way.least["stone"] == {1: 2, 2: 4, 3: 6}
    wrong = SkillSpec(requires={"stone": ONE}, yields={"achievement:COLLECT_DRINK": ONE})
    made = repair(wrong, Findings(skill="Drink", env=TINY, ways=(way,)))
    assert made.spec.requires == {"stone": Quantity(per_n=2)}


def test_of_two_things_that_can_stand_in_for_each_other_one_is_kept() -> None:
    """Taken away one at a time, neither is missed; both together are."""
    functions = skill(
        lambda achievements, inventory: (achievements[4] > 0) & ((inventory.stone >= 2) | (inventory.wood >= 4)),
        "achievements", "inventory",
    )  # fmt: skip
    (way,) = [way for way in probing_of(TINY, functions).ways() if way.action == "DO"]
    assert way.is_bare and amounts(way) in ({"stone": 2}, {"wood": 4})


def test_what_makes_it_done_at_once_is_not_at_hand() -> None:
    probing = probing_of(TINY, functions_of(TINY, "Make Pickaxe"))
    assert probing.rich() == {"wood": 9, "stone": 9, "pickaxe": 0, "placed:table": WITHIN_REACH}


@pytest.mark.parametrize(
    ("is_done", "note"),
    [
        (lambda n: n > 0, "counts as done in every staged world"),
        (lambda n: n < 0, "No action repeated up to 16 times"),
    ],
)
def test_what_cannot_be_tried_is_said(is_done: Any, note: str) -> None:
    probing = probing_of(TINY, skill(is_done, "n"))
    assert probing.ways() == [] and note in probing.notes[0]


def test_exported_code_is_probed_as_any_other() -> None:
    """Where nobody vouched for a text, the worker has what the sandbox exported of it, for a batch of any size."""
    shapes, functions = leaf_shapes(domain_named(TINY)), functions_of(TINY, "Place Table")
    assert isinstance(functions, SkillFunctions)
    through = probing_of(TINY, load_artefact(exported(functions, shapes), shapes)).ways()
    assert through == probing_of(TINY, functions).ways() != []


def test_segments_are_played_by_a_script_from_starts_drawn_at_random() -> None:
    probing = probing_of(TINY, functions_of(TINY, "Place Table"))
    (way,) = probing.ways()
    segments = scripted_segments(probing, way, 30)
    found = statistics_of("Place Table", segments, scripted=True).named()
    assert len(segments) == 30
    assert all(each.before == each.start != each.end for each in segments if each.steps == 1)
    assert found["wood"].start.least >= 1 and found["wood"].start.most > 3
    assert (found["wood"].consumed.least, found["wood"].consumed.most) == (1, 1)
    assert found["stone"].start.least == 0 and found["placed:table"].end.least == 1


# Craftax-Classic


@pytest.mark.slow
@pytest.mark.parametrize("name", [each.name for each in load_base(CLASSIC).skills])
def test_every_true_specification_is_left_alone_and_every_single_error_repaired(name: str) -> None:
    truth = load_base(CLASSIC).skill(name).spec
    findings = Findings(skill=name, env=CLASSIC, ways=tuple(ways_of(CLASSIC, name)))
    assert repair(truth, findings).changes == ()
    for what, wrong in single_errors(truth).items():
        made = repair(wrong, findings)
        assert made.spec == truth, (what, [str(change) for change in made.changes])


def single_errors(truth: SkillSpec) -> dict[str, SkillSpec]:
    """Each need left out, a need made up, each amount spent wrongly."""
    errors = {}
    for fluent in truth.requires:
        parts = {
            part: {f: q for f, q in getattr(truth, part).items() if f != fluent} for part in ("requires", "consumes")
        }
        errors[f"needs no {fluent}"] = truth.model_copy(update=parts)
    for fluent in {"diamond", "wood_sword", "near:furnace"} - {*truth.requires, *truth.yields}:
        errors[f"needs {fluent}"] = truth.model_copy(update={"requires": {**truth.requires, fluent: ONE}})
    for fluent in truth.consumes:
        kept = {f: q for f, q in truth.consumes.items() if f != fluent}
        errors[f"spends no {fluent}"] = truth.model_copy(update={"consumes": kept})
        more = {part: {**getattr(truth, part), fluent: Quantity(base=6)} for part in ("requires", "consumes")}
        errors[f"spends 6 {fluent}"] = truth.model_copy(update=more)
    for fluent in truth.yields:
        kept = {f: q for f, q in truth.yields.items() if f != fluent}
        errors[f"yields no {fluent}"] = truth.model_copy(update={"yields": kept})
    return errors


@pytest.mark.slow
def test_planted_errors_are_repaired() -> None:
    from benchmarks.tables.planted import ERRORS, outcomes

    found = outcomes()
    assert len(found) == len(ERRORS) == 10
    assert sum(outcome.is_repaired for outcome in found) >= 8
    assert all(outcome.keeps_truth for outcome in found)
    assert all(
        outcome.planted.spec(load_base(CLASSIC).skill(outcome.planted.skill).spec) != outcome.repaired.spec
        for outcome in found
    )
