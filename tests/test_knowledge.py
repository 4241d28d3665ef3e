"""The knowledge bases, played: what skills need, spend and yield."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from flowrl.env import classic
from flowrl.env.skill_inputs import SkillInputs
from flowrl.errors import ModuleError, UsageError
from flowrl.fluents import Vocabulary
from flowrl.knowledge import fill_ranges, load_base
from flowrl.planning.planner import plan
from flowrl.skill import Quantity, Skill, SkillSpec
from tests.played import (
    BASES,
    CLASSIC,
    TINY,
    Game,
    Moment,
    block,
    copies,
    game_of,
    hold,
    load_skills,
    plain,
    put,
    put_creature,
    replace,
)

SKILLS = [pytest.param(env, skill.name, id=f"{env[:4]}-{skill.name}") for env in BASES for skill in BASES[env].skills]


def penned_cow(world: Any) -> Any:
    """Returns the world with a cow before the player, fenced in on its other sides."""
    world = put(world, "STONE", (-2, 0), (-1, -1), (-1, 1))
    return put_creature(world, "cows", (-1, 0), classic.PARAMS.cow_health)


@dataclass(frozen=True)
class Deed:
    """How a skill is done by hand: what stands ahead, and the action to repeat."""

    ahead: str
    action: str
    most: int = 1


DEEDS = {
    (CLASSIC, "Collect Wood"): Deed("TREE", "DO"),
    (CLASSIC, "Place Table"): Deed("GRASS", "PLACE_TABLE"),
    (CLASSIC, "Make Wood Pickaxe"): Deed("GRASS", "MAKE_WOOD_PICKAXE"),
    (CLASSIC, "Collect Stone"): Deed("STONE", "DO"),
    (CLASSIC, "Make Wood Sword"): Deed("GRASS", "MAKE_WOOD_SWORD"),
    (CLASSIC, "Collect Sapling"): Deed("GRASS", "DO", most=60),
    (CLASSIC, "Collect Drink"): Deed("WATER", "DO"),
    (CLASSIC, "Eat Cow"): Deed("cow", "DO", most=4),
    (TINY, "Collect Wood"): Deed("TREE", "DO"),
    (TINY, "Collect Drink"): Deed("WATER", "DO"),
    (TINY, "Place Table"): Deed("GRASS", "PLACE_TABLE"),
    (TINY, "Make Pickaxe"): Deed("GRASS", "MAKE_PICKAXE"),
    (TINY, "Collect Stone"): Deed("STONE", "DO"),
}
STATIONS = {"near:crafting_table": "CRAFTING_TABLE", "near:table": "TABLE"}


def stage(world: Any, deed: Deed, held: dict[str, int]) -> Any:
    """Returns the world with exactly ``held`` fulfilled, stations two cells off by the corner."""
    world = penned_cow(world) if deed.ahead == "cow" else put(world, deed.ahead, (-1, 0))
    for fluent, amount in held.items():
        if fluent in STATIONS:
            world = put(world, STATIONS[fluent], (1, 1)) if amount else world
        else:
            world = hold(world, **{fluent: amount})
    return copies(world)


def in_hand(game: Game, worlds: Any) -> dict[str, int]:
    amounts = jax.vmap(game.domain.amounts_fn)(jax.vmap(game.domain.vitals_fn)(worlds).inventory)
    return dict(zip(game.domain.items, np.asarray(amounts)[0].tolist(), strict=True))


def holds(game: Game, moment: Moment, fluent: str) -> int:
    """Returns how much of a fluent is there in the first world."""
    kind, _, name = fluent.rpartition(":")
    if kind == "achievement":
        return int(moment.achieved[0, game.domain.achievements.index(name)])
    if kind == "near":
        world = jax.tree.map(lambda leaf: leaf[0], moment.worlds)
        row, column = np.asarray(game.domain.sight.place_fn(world)[0])
        around = np.asarray(world.map)[row - 1 : row + 2, column - 1 : column + 2]
        return int((around == block(world, STATIONS[fluent])).any())
    return in_hand(game, moment.worlds)[fluent]


def do(game: Game, name: str, world: Any, held: dict[str, int], n: int = 1) -> tuple[Moment, list[SkillInputs]]:
    """Returns the moment after the skill was done by hand, its block put back as often as n asks, and every step."""
    deed = DEEDS[game.domain.name, name]
    moment, inputs = Moment(game, stage(world, deed, held)), []
    for _ in range(n):
        for _ in range(deed.most):
            inputs.append(moment.step(game.actions[deed.action]))
            if inputs[-1].achievements_diff[0].any():
                break
        if deed.ahead not in ("cow", "GRASS"):
            column = (slice(None), *np.asarray(jax.vmap(game.domain.sight.place_fn)(moment.worlds)[0][0]) - [1, 0])
            moment.worlds = replace(moment.worlds, map=moment.worlds.map.at[column].set(block(world, deed.ahead)))
    return moment, inputs


def block_count(spec: SkillSpec) -> int:
    return 3 if spec.scales else 1


# What skills need, spend and yield


@pytest.mark.parametrize(("env", "name"), SKILLS)
def test_a_skill_costs_and_yields_what_its_specification_says(env: str, name: str) -> None:
    game, spec = game_of(env), BASES[env].skill(name).spec
    n = block_count(spec)
    before = spec.needed(n)
    moment, inputs = do(game, name, plain(env), before, n)
    none = Quantity()
    for item, amount in in_hand(game, moment.worlds).items():
        left = before.get(item, 0) - spec.consumes.get(item, none).at(n)
        assert amount == max(left, spec.yields.get(item, none).at(n)), item
    for fluent, quantity in spec.yields.items():
        assert holds(game, moment, fluent) >= quantity.at(n), fluent
    if spec.stays:
        assert all(holds(game, moment, fluent) for fluent in spec.requires if fluent in STATIONS)
    done, reward = game.judge(name, inputs, n)
    assert done[-1, 0] and not done[:-1, 0].any()
    assert reward[:, 0].sum() == pytest.approx(1, abs=0.1)


PRECONDITIONS = [
    pytest.param(env, skill.name, fluent, id=f"{env[:4]}-{skill.name}-{fluent}")
    for env, base in BASES.items()
    for skill in base.skills
    for fluent in skill.spec.needed(1)
]


@pytest.mark.parametrize(("env", "name", "fluent"), PRECONDITIONS)
def test_one_less_of_a_precondition_and_the_skill_fails(env: str, name: str, fluent: str) -> None:
    game, spec = game_of(env), BASES[env].skill(name).spec
    held = spec.needed(1) | {fluent: spec.needed(1)[fluent] - 1}
    moment, inputs = do(game, name, plain(env), held)
    assert not any(holds(game, moment, yielded) for yielded in spec.yields)
    done, reward = game.judge(name, inputs, 1)
    assert not done.any() and (reward <= 0).all()


def test_there_are_preconditions_to_take_away() -> None:
    assert len(PRECONDITIONS) == 6 + 4


@pytest.mark.parametrize(("env", "name"), SKILLS)
def test_every_plan_composes_to_a_module_that_loads(env: str, name: str, tmp_path: Path) -> None:
    base = BASES[env]
    steps = plan(name, base.named(), vocabulary=base.vocabulary).steps
    assert load_skills(base, [step.skill for step in steps], tmp_path)


# The bases as data


def test_the_bases_are_in_curriculum_order_with_every_range_filled_in() -> None:
    assert [skill.name for skill in BASES[CLASSIC].skills] == [
        "Collect Wood", "Place Table", "Make Wood Pickaxe", "Collect Stone", "Make Wood Sword", "Collect Sapling",
        "Collect Drink", "Eat Cow",
    ]  # fmt: skip
    for env, most in ((CLASSIC, 3), (TINY, 2)):
        ranges = {skill.name: skill.spec.n_range for skill in BASES[env].skills}
        assert ranges == dict.fromkeys(ranges, (1, 1)) | {"Collect Wood": (1, most)}


def test_every_fluent_is_one_of_the_game() -> None:
    for game in map(game_of, BASES):
        known = {*game.domain.items, *(f"achievement:{a}" for a in game.domain.achievements), *STATIONS}
        for skill in game.base.skills:
            spec = skill.spec
            assert {*spec.requires, *spec.consumes, *spec.yields} <= known
            assert spec.item is None or spec.item in game.domain.items


def test_ranges_rise_with_the_ranges_of_those_who_ask() -> None:
    n = Quantity(per_n=1)
    planks = SkillSpec(consumes={"wood": Quantity(per_n=2)}, yields={"planks": n})
    raft = SkillSpec(consumes={"planks": Quantity(base=3)}, yields={"raft": Quantity(base=1)})
    specs = {"Wood": SkillSpec(yields={"wood": n}), "Planks": planks, "Raft": raft}
    skills = [Skill(name=name, code="", spec=spec) for name, spec in specs.items()]
    assert [skill.spec.n_range for skill in fill_ranges(skills, Vocabulary())] == [(1, 6), (1, 3), (1, 1)]
    given = skills[0].model_copy(update={"spec": specs["Wood"].model_copy(update={"n_range": (2, 4)})})
    assert fill_ranges([given, *skills[1:]], Vocabulary())[0].spec.n_range == (2, 4)


def test_what_is_not_there_is_named_with_the_next_move() -> None:
    with pytest.raises(UsageError, match="Did you mean 'Tiny-Grid-v1'"):
        load_base("Tiny-Gird-v1")
    with pytest.raises(UsageError, match=r"'Colect Wood' among the 8 .*Did you mean 'Collect Wood'"):
        BASES[CLASSIC].skill("Colect Wood")


def test_code_that_is_no_skill_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "base.toml").write_text(
        'env = "Tiny-Grid-v1"\n[vocabulary]\n[[skills]]\nname = "A"\ndescription = ""\ncode = "a.py"\n'
    )
    (folder / "a.py").write_text("def is_done(inventory):\n    return True\n")
    monkeypatch.setattr("flowrl.knowledge.resources.files", lambda _: tmp_path)
    with pytest.raises(ModuleError, match=r"a\.py lacks the function reward"):
        load_base.__wrapped__("Tiny-Grid-v1")
