"""The knowledge bases, played: what skills need, spend and yield."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from flowrl.env import classic
from flowrl.env.skill_inputs import SkillInputs
from flowrl.env.staging.worlds import block, hold, put, put_creature, replace
from flowrl.errors import ModuleError, UsageError
from flowrl.fluents import ACHIEVEMENT, INTRINSIC, NEAR, PLACED, Vocabulary, prefix_of
from flowrl.knowledge.base import fill_ranges, load_base
from flowrl.planning.planner import plan
from flowrl.planning.symbolic import SymbolicState, apply, missing
from flowrl.schema.skill import Quantity, Skill, SkillSpec
from tests.support.played import BASES, CLASSIC, TINY, Game, Moment, copies, game_of, load_skills, plain
from tests.support.symbolic import abstract

SKILLS = [pytest.param(env, skill.name, id=f"{env[:4]}-{skill.name}") for env in BASES for skill in BASES[env].skills]


@dataclass(frozen=True)
class Deed:
    """How a skill is done by hand.

    Attributes:
        ahead: the block before the player, or the herd that a penned creature before it comes from.
        actions: what to do, repeated at most ``most`` times until something happens.
        placed: where a station that was placed stands, in rows and columns from the player, out of reach.
        ripe: whether a plant that was placed is ripe.
    """

    ahead: str
    actions: tuple[str, ...]
    most: int = 1
    placed: tuple[int, int] = (0, 4)
    ripe: bool = False


def one(ahead: str, action: str, most: int = 1) -> Deed:
    return Deed(ahead, (action,), most)


DEEDS = {
    (CLASSIC, "Collect Wood"): one("TREE", "DO"),
    (CLASSIC, "Place Table"): one("GRASS", "PLACE_TABLE"),
    (CLASSIC, "Make Wood Pickaxe"): one("GRASS", "MAKE_WOOD_PICKAXE"),
    (CLASSIC, "Collect Stone"): one("STONE", "DO"),
    (CLASSIC, "Make Wood Sword"): one("GRASS", "MAKE_WOOD_SWORD"),
    (CLASSIC, "Collect Sapling"): one("GRASS", "DO", most=60),
    (CLASSIC, "Collect Drink"): one("WATER", "DO"),
    (CLASSIC, "Eat Cow"): one("cows", "DO", most=4),
    (CLASSIC, "Place Stone"): one("WATER", "PLACE_STONE"),
    (CLASSIC, "Return To Table"): Deed("SAND", ("RIGHT",) * 3),
    (CLASSIC, "Make Stone Pickaxe"): one("GRASS", "MAKE_STONE_PICKAXE"),
    (CLASSIC, "Make Stone Sword"): one("GRASS", "MAKE_STONE_SWORD"),
    (CLASSIC, "Place Plant"): one("GRASS", "PLACE_PLANT"),
    (CLASSIC, "Wake Up"): one("SAND", "SLEEP", most=15),
    (CLASSIC, "Collect Coal"): one("COAL", "DO"),
    (CLASSIC, "Place Furnace"): one("GRASS", "PLACE_FURNACE"),
    (CLASSIC, "Return To Furnace"): Deed("SAND", ("RIGHT",) * 3),
    (CLASSIC, "Collect Iron"): one("IRON", "DO"),
    (CLASSIC, "Make Iron Pickaxe"): one("GRASS", "MAKE_IRON_PICKAXE"),
    (CLASSIC, "Make Iron Sword"): one("GRASS", "MAKE_IRON_SWORD"),
    (CLASSIC, "Collect Diamond"): one("DIAMOND", "DO"),
    (CLASSIC, "Defeat Zombie"): one("zombies", "DO", most=6),
    (CLASSIC, "Defeat Skeleton"): one("skeletons", "DO", most=4),
    (CLASSIC, "Eat Plant"): Deed("SAND", ("DO",), placed=(-1, 0), ripe=True),
    (TINY, "Collect Wood"): one("TREE", "DO"),
    (TINY, "Collect Drink"): one("WATER", "DO"),
    (TINY, "Place Table"): one("GRASS", "PLACE_TABLE"),
    (TINY, "Make Pickaxe"): one("GRASS", "MAKE_PICKAXE"),
    (TINY, "Collect Stone"): one("STONE", "DO"),
}
HEALTH = {
    "cows": classic.PARAMS.cow_health,
    "zombies": classic.PARAMS.zombie_health,
    "skeletons": classic.PARAMS.skeleton_health,
}
CORNERS = {"crafting_table": (1, 1), "furnace": (1, -1), "table": (1, 1)}


def stage(world: Any, deed: Deed, held: dict[str, int], spec: SkillSpec) -> Any:
    """The world with exactly ``held`` fulfilled, and the body in want of what the skill promises it."""
    if deed.ahead in HEALTH:
        world = put(world, "STONE", (-2, 0), (-1, -1), (-1, 1))
        world = put_creature(world, deed.ahead, (-1, 0), HEALTH[deed.ahead])
    else:
        world = put(world, deed.ahead, (-1, 0))
    for fluent, amount in held.items():
        kind, name = prefix_of(fluent), fluent.removeprefix(prefix_of(fluent))
        if not kind:
            world = hold(world, **{name: amount})
        elif amount:
            stands = "RIPE_PLANT" if deed.ripe else name.upper()
            world = put(world, stands, deed.placed if kind == PLACED else CORNERS[name])
    wants = [fluent.removeprefix(INTRINSIC) for fluent in spec.yields if fluent.startswith(INTRINSIC)]
    return copies(replace(world, **{f"player_{name}": 0 for name in wants}))


def state(game: Game, moment: Moment) -> SymbolicState:
    """The symbolic state of the first world."""
    return abstract(game.domain, jax.tree.map(lambda leaf: leaf[0], moment.worlds))


@dataclass(frozen=True)
class Played:
    """A skill done by hand: the symbolic state before and after, and every step's inputs."""

    before: SymbolicState
    after: SymbolicState
    inputs: list[SkillInputs]


def do(game: Game, name: str, world: Any, held: dict[str, int], n: int = 1) -> Played:
    """The outcome of the skill done by hand, its block put back up to n times."""
    deed, spec = DEEDS[game.domain.name, name], game.base.skill(name).spec
    if name == "Wake Up":
        world = replace(world, player_energy=8)
    moment, inputs = Moment(game, stage(world, deed, held, spec)), []
    before = state(game, moment)
    for _ in range(n):
        for action in deed.actions * deed.most:
            inputs.append(moment.step(game.actions[action]))
            if inputs[-1].achievements_diff[0].any():
                break
        if n > 1 and deed.ahead != "GRASS":
            column = (slice(None), *np.asarray(jax.vmap(game.domain.sight.place_fn)(moment.worlds)[0][0]) - [1, 0])
            moment.worlds = replace(moment.worlds, map=moment.worlds.map.at[column].set(block(world, deed.ahead)))
    return Played(before, state(game, moment), inputs)


def amount_of(spec: SkillSpec) -> int:
    return 3 if spec.scales else 1


# What skills need, spend and yield


@pytest.mark.parametrize(("env", "name"), SKILLS)
def test_a_skill_costs_and_yields_what_its_specification_says(env: str, name: str) -> None:
    """What it promises holds afterwards; and nothing else has changed but the wants of the body and what is near."""
    game, spec = game_of(env), BASES[env].skill(name).spec
    n = amount_of(spec)
    played = do(game, name, plain(env), spec.needed(n), n)
    assert not missing(played.before, spec, n, game.base.vocabulary)
    promised, found = apply(played.before, spec, n).amounts(), played.after.amounts()
    for fluent, amount in promised.items():
        assert found.get(fluent, 0) == amount, fluent
    passing = (INTRINSIC,) if spec.stays else (INTRINSIC, NEAR)
    assert {fluent for fluent in found.keys() - promised.keys() if not fluent.startswith(passing)} == set()
    done, reward = game.judge(name, played.inputs, n)
    assert done[-1, 0] and not done[:-1, 0].any()
    assert reward[:, 0].sum() == pytest.approx(1, abs=0.2)


PRECONDITIONS = [
    pytest.param(env, skill.name, fluent, id=f"{env[:4]}-{skill.name}-{fluent}")
    for env, base in BASES.items()
    for skill in base.skills
    for fluent in skill.spec.needed(1)
]


@pytest.mark.parametrize(("env", "name", "fluent"), PRECONDITIONS)
def test_one_less_of_a_precondition_and_the_skill_fails(env: str, name: str, fluent: str) -> None:
    """Nothing is yielded, nothing is spent, nothing is paid."""
    game, spec = game_of(env), BASES[env].skill(name).spec
    held = spec.needed(1) | {fluent: spec.needed(1)[fluent] - 1}
    played = do(game, name, plain(env), held)
    assert fluent in {lack.fluent for lack in missing(played.before, spec, 1)}
    assert not any(played.after.amount(yielded) for yielded in spec.yields)
    assert items_in(game, played.after) == items_in(game, played.before)
    done, reward = game.judge(name, played.inputs, 1)
    assert not done.any() and (reward <= 0).all()


def items_in(game: Game, state: SymbolicState) -> dict[str, int]:
    return {item: state.amount(item) for item in game.domain.items}


def test_every_skill_that_asks_for_something_has_a_precondition_taken_away() -> None:
    asking = {(env, s.name) for env, base in BASES.items() for s in base.skills if s.spec.requires or s.spec.consumes}
    assert {param.values[:2] for param in PRECONDITIONS} == asking
    assert {env for env, _ in asking} == set(BASES)


@pytest.mark.parametrize(("env", "name"), SKILLS)
def test_every_plan_composes_to_a_module_that_loads(env: str, name: str, tmp_path: Path) -> None:
    base = BASES[env]
    steps = plan(name, base.named(), vocabulary=base.vocabulary).steps
    assert load_skills(base, [step.skill for step in steps], tmp_path)


# The bases as data


@pytest.mark.parametrize("env", BASES)
def test_each_skill_builds_on_those_before_it(env: str) -> None:
    base = BASES[env]
    for i, skill in enumerate(base.skills, start=1):
        earlier = {other.name: other for other in base.skills[:i]}
        assert plan(skill.name, earlier, n=1, vocabulary=base.vocabulary).steps[-1].skill == skill.name


@pytest.mark.parametrize("env", BASES)
def test_ranges_reach_from_one_to_what_every_plan_asks(env: str) -> None:
    base = BASES[env]
    for name in base.named():
        for step in plan(name, base.named(), n=1, vocabulary=base.vocabulary).steps:
            low, high = base.skill(step.skill).spec.n_range or (0, 0)
            assert low == 1 <= step.n <= high, (name, step)
            assert high == 1 or base.skill(step.skill).spec.scales, step.skill


def test_every_fluent_is_one_of_the_game() -> None:
    for base in BASES.values():
        for skill in base.skills:
            spec = skill.spec
            assert not [
                base.vocabulary.problem(f) for f in (*spec.needed(1), *spec.yields) if base.vocabulary.problem(f)
            ]
            assert spec.item is None or spec.item in base.vocabulary.items


def test_every_achievement_of_the_games_is_a_skill() -> None:
    for base in BASES.values():
        yielded = {fluent for skill in base.skills for fluent in skill.spec.yields if fluent.startswith(ACHIEVEMENT)}
        assert yielded == {ACHIEVEMENT + name for name in base.vocabulary.achievements}


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
    with pytest.raises(UsageError, match=r"'Colect Wood' among the 24 .*Did you mean 'Collect Wood'"):
        BASES[CLASSIC].skill("Colect Wood")


def test_code_that_is_no_skill_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "base.toml").write_text(
        'env = "Tiny-Grid-v1"\n[vocabulary]\n[[skills]]\nname = "A"\ndescription = ""\ncode = "a.py"\n'
    )
    (folder / "a.py").write_text("def is_done(inventory):\n    return True\n")
    monkeypatch.setattr("flowrl.knowledge.base.resources.files", lambda _: tmp_path)
    with pytest.raises(ModuleError, match=r"a\.py lacks the function reward"):
        load_base.__wrapped__("Tiny-Grid-v1")
