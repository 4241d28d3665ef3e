"""The knowledge base of the full game, played: what skills need, spend and yield, and what their rewards pay for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from craftax.craftax.constants import FLOOR_MOB_MAPPING, MOB_ACHIEVEMENT_MAP, Achievement

from flowrl.env.craftax import TIERS
from flowrl.env.shaping import LOSS_PRICE, STEP_VALUE
from flowrl.env.skill_inputs import SkillInputs
from flowrl.env.staging.worlds import block, hold, lived_in, put, put_creature, replace
from flowrl.fluents import ACHIEVEMENT, INTRINSIC, KILLS, NEAR, PLACED, prefix_of
from flowrl.knowledge.base import load_base
from flowrl.planning.planner import plan
from flowrl.planning.symbolic import SymbolicState, apply, missing
from flowrl.schema.skill import SkillSpec
from tests.support.played import FULL, WORLDS, Moment, copies, game_of, load_skills, new_worlds, plain
from tests.support.symbolic import abstract, validate_skills

pytestmark = pytest.mark.slow
BASE = load_base(FULL)
NAMES = [skill.name for skill in BASE.skills]


@dataclass(frozen=True)
class Deed:
    """How a skill is done by hand.

    Attributes:
        action: what to do, ``most`` times at most, until something happens.
        ahead: the block before the player.
        under: a ladder that the player stands on.
        herd: the creature before the player: a field of the world and its type.
        along: what may come along beside what is promised.
    """

    action: str
    ahead: str = "GRASS"
    most: int = 1
    under: str = ""
    herd: tuple[str, int] | None = None
    along: frozenset[str] = frozenset()


def fight(herd: str, kind: int, *along: str) -> Deed:
    return Deed("DO", most=4, herd=(herd, kind), along=frozenset(along))


LOOT = frozenset(
    {"torches", "coal", "iron", "diamond", "sapphire", "ruby", "potions", "arrows", "pickaxe", "sword"}
    | {f"achievement:COLLECT_{ore}" for ore in ("COAL", "IRON", "DIAMOND", "SAPPHIRE", "RUBY")}
    | {f"achievement:MAKE_{tier}_{tool}" for tier in TIERS for tool in ("PICKAXE", "SWORD")}
    | {"achievement:MAKE_TORCH", "achievement:MAKE_ARROW"}
)
"""What chests hold beside the bow, by chance."""


DEEDS = {
    "Collect Wood": Deed("DO", "TREE"),
    "Place Table": Deed("PLACE_TABLE"),
    "Make Wood Pickaxe": Deed("MAKE_WOOD_PICKAXE"),
    "Collect Stone": Deed("DO", "STONE"),
    "Make Wood Sword": Deed("MAKE_WOOD_SWORD"),
    "Collect Sapling": Deed("DO", "GRASS", most=80),
    "Collect Drink": Deed("DO", "FOUNTAIN"),
    "Place Stone": Deed("PLACE_STONE", "WATER"),
    "Return To Table": Deed("RIGHT", "SAND", most=3),
    "Make Stone Pickaxe": Deed("MAKE_STONE_PICKAXE"),
    "Make Stone Sword": Deed("MAKE_STONE_SWORD"),
    "Make Arrows": Deed("MAKE_ARROW"),
    "Eat Cow": fight("passive_mobs", 0),
    "Place Plant": Deed("PLACE_PLANT"),
    "Wake Up": Deed("SLEEP", "SAND", most=20),
    "Collect Coal": Deed("DO", "COAL"),
    "Make Torches": Deed("MAKE_TORCH"),
    "Place Torch": Deed("PLACE_TORCH"),
    "Place Furnace": Deed("PLACE_FURNACE"),
    "Return To Furnace": Deed("RIGHT", "SAND", most=3),
    "Collect Iron": Deed("DO", "IRON"),
    "Make Iron Pickaxe": Deed("MAKE_IRON_PICKAXE"),
    "Make Iron Sword": Deed("MAKE_IRON_SWORD"),
    "Make Iron Armour": Deed("MAKE_IRON_ARMOUR"),
    "Defeat Zombie": fight("melee_mobs", 0),
    "Defeat Skeleton": fight("ranged_mobs", 0),
    "Enter Dungeon": Deed("DESCEND", under="LADDER_DOWN"),
    "Return To Overworld": Deed("ASCEND", under="LADDER_UP"),
    "Eat Snail": fight("passive_mobs", 2),
    "Find Bow": Deed("DO", "CHEST", along=LOOT),
    "Fire Bow": Deed("SHOOT_ARROW"),
    "Defeat Orc Soldier": fight("melee_mobs", 2),
    "Defeat Orc Mage": fight("ranged_mobs", 2),
    "Open Ladder": fight("melee_mobs", 2, "achievement:DEFEAT_ORC_SOLIDER"),
    "Enter Gnomish Mines": Deed("DESCEND", under="LADDER_DOWN"),
    "Defeat Gnome Warrior": fight("melee_mobs", 1),
    "Defeat Gnome Archer": fight("ranged_mobs", 1),
    "Eat Bat": fight("passive_mobs", 1),
    "Collect Diamond": Deed("DO", "DIAMOND"),
    "Make Diamond Pickaxe": Deed("MAKE_DIAMOND_PICKAXE"),
    "Make Diamond Sword": Deed("MAKE_DIAMOND_SWORD"),
    "Make Diamond Armour": Deed("MAKE_DIAMOND_ARMOUR"),
    "Collect Sapphire": Deed("DO", "SAPPHIRE"),
    "Collect Ruby": Deed("DO", "RUBY"),
    "Eat Plant": Deed("DO", "RIPE_PLANT"),
}
CORNERS = {"crafting_table": (1, 1), "furnace": (1, -1)}


def stage(name: str, held: dict[str, int], floor: int) -> Any:
    """Worlds with exactly ``held`` fulfilled, and the body in want of what the skill promises it."""
    deed, spec = DEEDS[name], BASE.skill(name).spec
    world = plain(FULL, floor)
    if deed.herd is None:
        world = put(world, deed.ahead, (-1, 0)) if not (name == "Eat Plant" and not held["placed:plant"]) else world
    else:
        world = put(world, "STONE", (-2, 0), (-1, -1), (-1, 1))
        world = put_creature(world, deed.herd[0], (-1, 0), 1, deed.herd[1])
    if deed.under:
        world = put(world, deed.under, (0, 0))
    for fluent, amount in held.items():
        world = fulfil(world, fluent, amount)
    if name == "Open Ladder":
        world = replace(world, monsters_killed=world.monsters_killed.at[1].set(7))
    if name == "Wake Up":
        world = replace(world, player_energy=8)
    wants = [fluent.removeprefix(INTRINSIC) for fluent in spec.yields if fluent.startswith(INTRINSIC)]
    return copies(lived_in(replace(world, **{f"player_{want}": 0 for want in wants})))


def fulfil(world: Any, fluent: str, amount: int) -> Any:
    kind, what = prefix_of(fluent), fluent.removeprefix(prefix_of(fluent))
    if kind == KILLS:
        return replace(world, monsters_killed=world.monsters_killed.at[int(what)].set(amount))
    if not kind:
        return hold(world, **{what: amount})
    if amount and what != "plant":
        return put(world, what.upper(), (0, 4) if kind == PLACED else CORNERS[what])
    return world


@dataclass(frozen=True)
class Played:
    """A skill done by hand: the symbolic state before and after, and every step's inputs."""

    before: SymbolicState
    after: SymbolicState
    inputs: list[SkillInputs]

    @property
    def events(self) -> set[str]:
        """What happened in the first world, in any step; flags set before do not hide it."""
        happened = np.any([each.achievements_diff[0] for each in self.inputs], axis=0)
        return {ACHIEVEMENT + name for name, did in zip(BASE.vocabulary.achievements, happened, strict=True) if did}


def do(name: str, held: dict[str, int], floor: int, n: int = 1) -> Played:
    """The outcome of the skill done by hand, its block put back up to n times."""
    game, deed = game_of(FULL), DEEDS[name]
    moment, inputs = Moment(game, stage(name, held, floor)), []
    before = state(moment)
    for _ in range(n):
        for _ in range(deed.most):
            inputs.append(moment.step(game.actions[deed.action]))
            if inputs[-1].achievements_diff[0].any():
                break
        if n > 1 and deed.ahead not in ("GRASS",):
            middle = moment.worlds.map.shape[-1] // 2
            spot = (slice(None), floor, middle - 1, middle)
            cells = moment.worlds.map.at[spot].set(block(plain(FULL), deed.ahead))
            moment.worlds = replace(moment.worlds, map=cells)
    return Played(before, state(moment), inputs)


def state(moment: Moment) -> SymbolicState:
    """The symbolic state of the first world."""
    return abstract(game_of(FULL).domain, jax.tree.map(lambda leaf: leaf[0], moment.worlds))


def floor_of(spec: SkillSpec) -> int:
    return spec.floors[-1] if spec.floors else 0


PLACES = [(skill.name, floor) for skill in BASE.skills for floor in skill.spec.floors or range(3)]


@pytest.mark.parametrize(("name", "floor"), PLACES)
def test_a_skill_costs_and_yields_what_its_specification_says(name: str, floor: int) -> None:
    """What it promises holds afterwards; nothing else has changed but wants, what is near, kills and loot."""
    spec, deed = BASE.skill(name).spec, DEEDS[name]
    n = 3 if spec.scales else 1
    played = do(name, spec.needed(n), floor, n)
    assert not missing(played.before, spec, n, BASE.vocabulary)
    promised, found = apply(played.before, spec, n).amounts(), played.after.amounts()
    assert played.after.floor == (spec.to_floor if spec.to_floor is not None else played.before.floor)
    for fluent, amount in promised.items():
        if fluent.startswith(KILLS):
            assert found.get(fluent, 0) >= amount, fluent
        else:
            assert found.get(fluent, 0) == amount, fluent
    passing = (INTRINSIC, KILLS) if spec.stays else (INTRINSIC, KILLS, NEAR)
    more = {fluent for fluent in found.keys() - promised.keys() if not fluent.startswith(passing)}
    assert more <= deed.along
    events = {fluent for fluent in spec.yields if fluent.startswith(ACHIEVEMENT)}
    assert events <= played.events <= events | deed.along
    done, reward = game_of(FULL).judge(name, played.inputs, n)
    assert done[-1, 0] and not done[:-1, 0].any()
    assert reward[:, 0].sum() == pytest.approx(0.125 if name == "Open Ladder" else 1, abs=0.2)


PRECONDITIONS = [(skill.name, fluent) for skill in BASE.skills for fluent in skill.spec.needed(1)]


@pytest.mark.parametrize(("name", "fluent"), PRECONDITIONS)
def test_one_less_of_a_precondition_and_the_skill_fails(name: str, fluent: str) -> None:
    """Nothing happens, nothing is yielded, nothing is spent, nothing is paid."""
    spec, items = BASE.skill(name).spec, game_of(FULL).domain.items
    held = spec.needed(1) | {fluent: spec.needed(1)[fluent] - 1}
    played = do(name, held, floor_of(spec))
    assert fluent in {lack.fluent for lack in missing(played.before, spec, 1)}
    before = played.before.amounts()
    new = {f: a for f, a in played.after.facts if a > before.get(f, 0) and not f.startswith((INTRINSIC, NEAR))}
    assert new == {} and played.events == set() and played.after.floor == played.before.floor
    assert [played.after.amount(item) for item in items] == [played.before.amount(item) for item in items]
    done, reward = game_of(FULL).judge(name, played.inputs, 1)
    assert not done.any() and (reward <= 0).all()


def test_there_are_preconditions_to_take_away() -> None:
    assert len(PRECONDITIONS) == 57 and len(NAMES) >= 22 and set(NAMES) == set(DEEDS)


# Floors


GATHERED = {
    "Collect Wood": "TREE", "Collect Stone": "STONE", "Collect Coal": "COAL", "Collect Iron": "IRON",
    "Collect Diamond": "DIAMOND", "Collect Sapphire": "SAPPHIRE", "Collect Ruby": "RUBY", "Find Bow": "CHEST",
    "Collect Sapling": "GRASS",
}  # fmt: skip


@pytest.mark.parametrize("name", GATHERED)
def test_what_is_gathered_lies_on_the_floors_named_and_on_no_other_of_the_first_three(name: str) -> None:
    maps = np.asarray(new_worlds(FULL).map)
    there = [k for k in range(3) if (maps[:, k] == block(plain(FULL), GATHERED[name])).any()]
    assert tuple(there) == BASE.skill(name).spec.floors


def test_there_is_water_on_the_floors_named_in_every_world() -> None:
    maps, world = np.asarray(new_worlds(FULL).map), plain(FULL)
    wet = [block(world, "WATER"), block(world, "FOUNTAIN")]
    there = [k for k in range(3) if np.isin(maps[:, k], wet).any(axis=(1, 2)).all()]
    assert tuple(there) == BASE.skill("Collect Drink").spec.floors


@pytest.mark.parametrize("name", [name for name, deed in DEEDS.items() if deed.herd and name != "Open Ladder"])
def test_creatures_live_on_the_floors_named(name: str) -> None:
    herd, kind = DEEDS[name].herd or ("", 0)
    column = ("passive_mobs", "melee_mobs", "ranged_mobs").index(herd)
    floors = [k for k in range(3) if int(FLOOR_MOB_MAPPING[k, column]) == kind]
    assert tuple(floors) == BASE.skill(name).spec.floors
    event = next(f for f in BASE.skill(name).spec.yields if f.startswith("achievement:"))
    assert Achievement(int(MOB_ACHIEVEMENT_MAP[column, kind])).name == event.removeprefix("achievement:")


def test_only_the_first_ladder_starts_open() -> None:
    assert np.asarray(new_worlds(FULL).monsters_killed)[:, :2].tolist() == [[10, 0]] * WORLDS


# Rewards


RICH = {
    "wood": 20, "stone": 20, "coal": 20, "iron": 20, "diamond": 9, "sapling": 5, "pickaxe": 1, "sword": 1, "bow": 1,
    "arrows": 9, "torches": 9,
}  # fmt: skip


@pytest.fixture(scope="module", params=["poor", "rich", "dungeon"])
def recorded(request: pytest.FixtureRequest) -> list[Any]:
    """120 steps of random play: in new worlds, with full pockets in a workshop, and below."""
    game, worlds = game_of(FULL), new_worlds(FULL)
    if request.param != "poor":
        worlds = hold(worlds, **{item: np.full(WORLDS, amount) for item, amount in RICH.items()})
        floor = 1 if request.param == "dungeon" else 0
        world = put(plain(FULL, floor), "CRAFTING_TABLE", (1, 1))
        world = put(put(world, "FURNACE", (1, -1)), "LADDER_UP" if floor else "LADDER_DOWN", (0, 0))
        worlds = replace(copies(world), inventory=worlds.inventory)
    moment = Moment(game, worlds)
    actions = np.random.default_rng(0).integers(0, len(game.actions), (120, WORLDS))
    return [moment.step(each) for each in actions]


@pytest.mark.parametrize("name", NAMES)
def test_rewards_are_finite_and_bounded_in_random_play(recorded: list[Any], name: str) -> None:
    for n in (1, 3):
        done, reward = game_of(FULL).judge(name, recorded, n)
        assert done.shape == reward.shape == (120, WORLDS) and np.isfinite(reward).all()
        assert (reward <= 1 + STEP_VALUE + 1e-6).all()
        assert (reward >= -20 / n - 20 * LOSS_PRICE).all()


@pytest.mark.parametrize("name", NAMES)
def test_no_skill_is_done_or_paid_before_anything_is_done(name: str) -> None:
    floor = floor_of(BASE.skill(name).spec)
    done, reward = game_of(FULL).play(name, copies(plain(FULL, floor)), [0] * 2)
    assert not done.any() and np.abs(reward).max() == 0


def to_and_fro(name: str, floor: int = 0) -> tuple[Any, list[str]]:
    return put(plain(FULL, floor), name, (0, 4)), ["RIGHT", "RIGHT", "LEFT", "LEFT"] * 30


def place_and_mine() -> tuple[Any, list[str]]:
    return put(hold(plain(FULL), stone=1, pickaxe=1), "STONE", (0, 6)), ["PLACE_STONE", "DO"] * 60


def place_and_take_a_table() -> tuple[Any, list[str]]:
    """A table can be taken away here, which gives nothing back; the wood for the next one is at hand."""
    return hold(plain(FULL), wood=60), ["PLACE_TABLE", "DO"] * 30


def up_and_down() -> tuple[Any, list[str]]:
    """Each ladder leads to the other; the task of going up is done at the first time."""
    return put(plain(FULL), "LADDER_DOWN", (0, 3)), ["RIGHT", "RIGHT", "LEFT", "LEFT"] * 30


LOOPS = [
    (lambda: to_and_fro("TREE"), "Collect Wood", 1),
    (lambda: to_and_fro("WATER"), "Collect Drink", 1),
    (lambda: to_and_fro("CHEST", 1), "Find Bow", 1),
    (lambda: to_and_fro("CRAFTING_TABLE"), "Make Arrows", 1),
    (lambda: to_and_fro("CRAFTING_TABLE"), "Make Diamond Sword", 1),
    (lambda: to_and_fro("LADDER_DOWN"), "Enter Dungeon", 1),
    (lambda: to_and_fro("LADDER_UP", 1), "Return To Overworld", 1),
    (place_and_mine, "Collect Stone", 2),
    (place_and_take_a_table, "Make Torches", 1),
    (place_and_take_a_table, "Return To Furnace", 1),
    (up_and_down, "Enter Dungeon", 1),
]


@pytest.mark.parametrize(("script", "name", "n"), LOOPS)
def test_going_in_circles_pays_less_than_finishing(script: Any, name: str, n: int) -> None:
    game, (world, actions) = game_of(FULL), script()
    done, reward = game.play(name, copies(world), [game.actions[action] for action in actions], n)
    assert not done.any()
    assert reward.cumsum(axis=0).max() < 1 and reward.sum(axis=0).max() < 0.5


def test_an_earlier_event_does_not_count() -> None:
    game = game_of(FULL)
    moment = Moment(game, copies(put(hold(plain(FULL), wood=9), "GRASS", (-1, 0), (0, 1), (0, 2))))
    first = moment.step(game.actions["PLACE_TABLE"])
    moment.achieved = jnp.zeros_like(moment.achieved)
    idle = moment.step(0)
    moment.step(game.actions["RIGHT"])
    second = moment.step(game.actions["PLACE_TABLE"])
    done, _ = game.judge("Place Table", [first, idle, second], 1)
    assert done[:, 0].tolist() == [True, False, True]


# The base as data


def test_the_base_is_sound_and_every_plan_composes_to_a_module_that_loads(tmp_path: Path) -> None:
    validate_skills(BASE.skills, BASE.vocabulary)
    for name in NAMES:
        steps = plan(name, BASE.named(), vocabulary=BASE.vocabulary).steps
        assert load_skills(BASE, [step.skill for step in steps], tmp_path)


def test_the_vocabulary_is_the_games() -> None:
    domain = game_of(FULL).domain
    assert BASE.vocabulary.items == domain.items and BASE.vocabulary.achievements == domain.achievements
