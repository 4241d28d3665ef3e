"""Both games against upstream's own environments, bit for bit.

And the sampler of spawn cells that replaces upstream's.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from craftax.craftax.constants import Achievement, Action, BlockType, ItemType
from craftax.craftax.envs.craftax_symbolic_env import CraftaxSymbolicEnvNoAutoReset
from craftax.craftax_classic.constants import Achievement as ClassicAchievement
from craftax.craftax_classic.constants import BlockType as ClassicBlock
from craftax.craftax_classic.envs.craftax_symbolic_env import CraftaxClassicSymbolicEnvNoAutoReset
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Array, Bool, Int, UInt32
from scipy import stats

from flowrl.env import classic
from flowrl.env import craftax as full
from flowrl.env.domain import Domain
from flowrl.env.fast.spawn_sampling import (
    REACH,
    WINDOW,
    choose_by_rank,
    pack_two,
    window_origin,
)
from flowrl.env.observation import expand

WORLDS = 64
NOOP, UP, DO = 0, 3, 5
GAMES = ["classic", pytest.param("full", marks=pytest.mark.slow)]


@dataclass(frozen=True)
class Game:
    """One game compiled over a batch of `WORLDS` worlds. Upstream's step, and ours with either sampler."""

    domain: Domain
    worlds: Any
    herds: tuple[str, ...]
    upstream_reset: Callable[..., Any]
    upstream_step: Callable[..., Any]
    upstream_observe: Callable[..., Any]
    reset: Callable[..., Any]
    step_exact: Callable[..., Any]
    step: Callable[..., Any]
    observe: Callable[..., Any]

    def act(self, worlds: Any, action: int, seed: int = 0) -> Any:
        """Step all worlds under one action."""
        return self.step(jax.random.split(jax.random.PRNGKey(seed), WORLDS), worlds, constant(action))


def constant(value: int) -> jax.Array:
    return jnp.full(WORLDS, value, dtype=jnp.int32)


def compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``fn`` over a batch, without "weakly typed" outputs. Those, fed back, would compile it anew."""
    return jax.jit(jax.vmap(lambda *args: jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), fn(*args))))


def unpack(columns: UInt32[Array, "w"]) -> Bool[Array, "w w"]:
    """The cells whose bits ``columns`` hold."""
    return ((columns >> jnp.arange(WINDOW, dtype=jnp.uint32)[:, None]) & 1).astype(bool)


def choose_as_upstream(
    key: jax.Array, columns: UInt32[Array, "w"], origin: Int[Array, "2"], map_size: tuple[int, int]
) -> Int[Array, "2"]:
    """The cell that upstream's sampler picks with this key, bit for bit: it draws from the whole map."""
    full = jax.lax.dynamic_update_slice(jnp.zeros(map_size, dtype=bool), unpack(columns), (origin[0], origin[1]))
    shares = full.reshape(-1) / full.sum()
    index = jax.random.choice(key, jnp.arange(map_size[0] * map_size[1]), shape=(1,), p=shares)[0]
    return jnp.array([index // map_size[0], index % map_size[1]], dtype=jnp.int32)


def compile_game(env: Any, make_domain: Callable[..., Domain], herds: tuple[str, ...]) -> Game:
    domain, params = make_domain(), env.default_params
    upstream_reset = compiled(lambda key: env.reset_env(key, params))
    return Game(
        domain=domain,
        worlds=upstream_reset(jax.random.split(jax.random.PRNGKey(1), WORLDS))[1],
        herds=herds,
        upstream_reset=upstream_reset,
        upstream_step=compiled(lambda key, world, action: env.step_env(key, world, action, params)),
        upstream_observe=compiled(env.get_obs),
        reset=compiled(domain.reset_fn),
        step_exact=compiled(make_domain(choose_cell_fn=choose_as_upstream).step_fn),
        step=compiled(domain.step_fn),
        observe=compiled(lambda world: expand(domain, domain.observe_fn(world))),
    )


@pytest.fixture(scope="module")
def classic_game() -> Game:
    return compile_game(CraftaxClassicSymbolicEnvNoAutoReset(), classic.domain, ("cows", "zombies", "skeletons"))


@pytest.fixture(scope="module")
def full_game() -> Game:
    return compile_game(CraftaxSymbolicEnvNoAutoReset(), full.domain, ("passive_mobs", "melee_mobs", "ranged_mobs"))


@pytest.fixture
def game(request: pytest.FixtureRequest) -> Game:
    return request.getfixturevalue(f"{request.param}_game")


def differing(left: Any, right: Any) -> list[str]:
    """Names of the leaves that differ in type or in any bit."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(left), jax.tree_util.tree_leaves_with_path(right), strict=True)
    return [jax.tree_util.keystr(path) for (path, a), (other, b) in pairs if path != other or bits(a) != bits(b)]


def bits(leaf: Any) -> tuple[Any, ...]:
    array = np.asarray(leaf)
    return array.dtype, array.shape, array.tobytes()


def staged_worlds(game: Game) -> Any:
    """Worlds with much in reach, some at the map's edge. Of the full game, two in three are on a deeper floor."""
    rng = np.random.default_rng(0)
    worlds = jax.tree.map(np.array, game.worlds)
    worlds.player_position[::4] = rng.choice([0, 2, worlds.map.shape[-1] - 1], (WORLDS // 4, 2))
    staged = (stage_full if worlds.map.ndim == 4 else stage_classic)(rng, worlds).replace(
        player_energy=rng.integers(2, 10, WORLDS),
        player_recover=rng.integers(-15, 25, WORLDS),
        timestep=rng.integers(0, 300, WORLDS),
        light_level=rng.random(WORLDS),
    )
    return jax.tree.map(lambda new, old: jnp.asarray(new, dtype=old.dtype), staged, game.worlds)


def stage_classic(rng: np.random.Generator, worlds: Any) -> Any:
    scatter_blocks(rng, worlds.map, worlds.player_position, last_block=16)
    tops = {item: 1 for item in classic.ITEMS if "_" in item}
    return worlds.replace(
        inventory=random_inventory(rng, worlds.inventory, 9, tops),
        player_health=rng.integers(1, 10, WORLDS),
        growing_plants_age=rng.integers(0, 700, worlds.growing_plants_age.shape),
    )


def stage_full(rng: np.random.Generator, worlds: Any) -> Any:
    each, levels = np.arange(WORLDS), np.where(np.arange(WORLDS) % 4 > 0, np.arange(WORLDS) % 9, 0)
    positions = np.where(levels[:, None] > 0, worlds.up_ladders[each, levels], worlds.player_position)
    floors = worlds.map[each, levels]
    scatter_blocks(rng, floors, positions, last_block=35)
    worlds.map[each, levels] = floors
    tops = {"pickaxe": 4, "sword": 4, "bow": 1, "armour": 2, "books": 2, "potions": 3}
    return worlds.replace(
        player_level=levels,
        player_position=positions,
        light_map=worlds.light_map * rng.choice([0.05, 0.06, 1.0], worlds.light_map.shape),
        inventory=random_inventory(rng, worlds.inventory, 99, tops),
        monsters_killed=rng.integers(0, 12, worlds.monsters_killed.shape),
        player_xp=rng.integers(0, 4, WORLDS),
        player_health=rng.integers(3, 10, WORLDS) + 0.5,
        learned_spells=rng.random((WORLDS, 2)) < 0.7,
        boss_progress=rng.integers(0, 8, WORLDS),
        boss_timesteps_to_spawn_this_round=rng.integers(-1, 8, WORLDS),
        bow_enchantment=rng.integers(0, 3, WORLDS),
    )


def random_inventory(rng: np.random.Generator, inventory: Any, cap: int, tops: dict[str, int]) -> Any:
    """Amounts from none to the cap, for three worlds in four. Often at either end; ``tops`` caps some lower."""
    rich = np.arange(WORLDS) % 4 > 0
    drawn = {}
    for name in inventory.__dataclass_fields__:
        shape = getattr(inventory, name).shape
        top = tops.get(name, cap)
        amount = np.clip(rng.integers(-1 - top // 5, top + 2 + top // 5, shape), 0, top)
        drawn[name] = amount * rich.reshape(-1, *[1] * (len(shape) - 1))
    return inventory.replace(**drawn)


def scatter_blocks(rng: np.random.Generator, grids: np.ndarray, positions: np.ndarray, last_block: int) -> None:
    """Put blocks of every kind near most players. So that few actions do much."""
    for i, (grid, position) in enumerate(zip(grids, positions, strict=True)):
        for offset in rng.integers(-3, 4, (24 * (i % 4 > 0), 2)):
            spot = position + offset
            if offset.any() and (spot >= 0).all() and (spot < grid.shape).all():
                grid[tuple(spot)] = rng.integers(2, last_block + 1)


@pytest.mark.parametrize("game", GAMES, indirect=True)
def test_reset_is_upstreams(game: Game) -> None:
    keys = jax.random.split(jax.random.PRNGKey(7), WORLDS)
    (observation, worlds), ours = game.upstream_reset(keys), game.reset(keys)
    assert differing(worlds, ours) == []
    assert bits(game.upstream_observe(worlds)) == bits(game.observe(ours))
    # Compiled into one program with the reset, upstream's renderer folds 9 / 10 otherwise than on its own.
    np.testing.assert_array_max_ulp(np.asarray(observation), np.asarray(game.observe(ours)), maxulp=1)
    assert game.domain.upstream_size == observation.shape[1]


@pytest.mark.parametrize("make_domain", [classic.domain, full.domain])
def test_every_leaf_of_a_new_world_is_an_array(make_domain: Callable[..., Domain]) -> None:
    def check(key: jax.Array) -> None:
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(make_domain().reset_fn(key)))

    jax.eval_shape(check, jax.random.PRNGKey(0))


@pytest.mark.parametrize("game", GAMES, indirect=True)
def test_play_is_upstreams_with_upstreams_sampler(game: Game) -> None:
    worlds = staged_worlds(game)
    for t in range(80 if worlds.map.ndim == 3 else 40):
        keys, actions = random_actions(game, t)
        observation, after, reward, done, _ = game.upstream_step(keys, worlds, actions)
        ours = game.step_exact(keys, worlds, actions)
        assert differing(after, ours.world) == [], t
        assert (bits(reward), bits(done)) == (bits(ours.reward), bits(ours.over | ours.expired)), t
        assert bits(observation) == bits(game.observe(ours.world)), t
        worlds = ours.world
    assert np.asarray(worlds.achievements).any(axis=0).mean() > 0.5


def random_actions(game: Game, seed: int) -> tuple[jax.Array, jax.Array]:
    key, action_key = jax.random.split(jax.random.PRNGKey(1000 + seed))
    actions = jax.random.randint(action_key, (WORLDS,), 0, len(game.domain.actions))
    return jax.random.split(key, WORLDS), actions


def test_without_the_rewriting_the_results_are_the_same(classic_game: Game) -> None:
    plain = classic.domain(fast=False)
    assert plain.step_fn.func is classic.step and plain.reset_fn is classic.reset, "upstream's own functions"
    keys = jax.random.split(jax.random.PRNGKey(5), WORLDS)
    assert differing(compiled(plain.reset_fn)(keys), classic_game.reset(keys)) == []
    step, worlds = compiled(plain.step_fn), staged_worlds(classic_game)
    for i in range(20):
        keys, actions = random_actions(classic_game, i)
        found, wanted = step(keys, worlds, actions), classic_game.step(keys, worlds, actions)
        assert differing(found, wanted) == []
        worlds = found.world


@pytest.mark.parametrize("game", GAMES, indirect=True)
def test_our_sampler_changes_where_creatures_appear_and_nothing_else(game: Game) -> None:
    worlds, moved = staged_worlds(game), 0
    for t in range(16):
        keys, actions = random_actions(game, t)
        _, theirs, reward, done, _ = game.upstream_step(keys, worlds, actions)
        ours = game.step(keys, worlds, actions)
        assert differing(without_places(game, theirs), without_places(game, ours.world)) == []
        assert (bits(reward), bits(done)) == (bits(ours.reward), bits(ours.over | ours.expired))
        moved += count_moved(game, theirs, ours.world)
        worlds = theirs
    assert moved >= 20


def without_places(game: Game, worlds: Any) -> Any:
    herds = {name: getattr(worlds, name).replace(position=None) for name in game.herds}
    return worlds.replace(mob_map=None, **herds)


def count_moved(game: Game, theirs: Any, ours: Any) -> int:
    """Count the creatures that stand elsewhere. Checks that they live and account for the map's differences."""
    changed = np.asarray(theirs.mob_map) != np.asarray(ours.mob_map)
    explained, moved = np.zeros_like(changed), 0
    for name in game.herds:
        before, after = np.asarray(getattr(theirs, name).position), np.asarray(getattr(ours, name).position)
        slots = np.argwhere((before != after).any(axis=-1))
        assert len({slot[0] for slot in slots}) == len(slots), "one creature of a kind appears at a time"
        for slot in map(tuple, slots):
            assert getattr(ours, name).mask[slot]
            for place in (before[slot], after[slot]):
                explained[(*slot[:-1], *place)] ^= True
        moved += len(slots)
    assert (changed == explained).all()
    return moved


def irregular_candidates(position: tuple[int, int], size: tuple[int, int]) -> tuple[np.ndarray, jax.Array]:
    """Candidates as a lake and a shore leave them. Comes with the window's first cell."""
    origin = window_origin(jnp.array(position), size)
    rows = np.arange(WINDOW)[:, None] + int(origin[0]) - position[0]
    columns = np.arange(WINDOW)[None] + int(origin[1]) - position[1]
    near = (rows**2 + columns**2 <= REACH**2) & (abs(rows) + abs(columns) > 3)
    return near & (np.random.default_rng(3).random(near.shape) < 0.2) & ((rows + columns) % 5 != 0), origin


@pytest.mark.parametrize(("position", "size"), [((2, 45), (48, 48)), ((60, 30), (64, 64)), ((24, 24), (48, 48))])
def test_both_samplers_draw_uniformly(position: tuple[int, int], size: tuple[int, int]) -> None:
    candidates, origin = irregular_candidates(position, size)
    samplers = (choose_by_rank, choose_as_upstream)
    counts = [count_draws(choose_fn, seed, candidates, origin, size) for seed, choose_fn in enumerate(samplers)]
    for drawn in counts:
        assert drawn[~candidates].sum() == 0
        assert drawn.sum() == 20_000
        assert stats.chisquare(drawn[candidates]).pvalue > 1e-3
    assert stats.chi2_contingency(np.stack([drawn[candidates] for drawn in counts])).pvalue > 1e-3


def count_draws(choose_fn: Any, seed: int, candidates: Any, origin: jax.Array, size: tuple[int, int]) -> np.ndarray:
    """Count how often each cell was drawn in 20,000 draws."""
    keys, (grid, _) = (
        jax.random.split(jax.random.PRNGKey(seed), 20_000),
        pack_two(jnp.array(candidates), jnp.array(candidates)),
    )
    draw = jax.jit(lambda k: jax.lax.map(lambda key: choose_fn(key, grid, origin, size), k, batch_size=500))
    drawn = np.asarray(draw(keys)) - np.asarray(origin)
    counts = np.zeros(candidates.shape, dtype=int)
    np.add.at(counts, (drawn[:, 0], drawn[:, 1]), 1)
    return counts


choose_64 = jax.jit(jax.vmap(functools.partial(choose_by_rank, map_size=(64, 64)), in_axes=(0, None, None)))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), share=st.sampled_from([0.0, 0.003, 0.1, 0.9, 1.0]))
def test_rank_never_leaves_the_candidates(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    candidates = rng.random((WINDOW, WINDOW)) < share
    candidates[tuple(rng.integers(0, WINDOW, 2))] = True
    origin = jnp.array(rng.integers(0, 64 - WINDOW, 2))
    columns, none = pack_two(jnp.array(candidates), jnp.zeros_like(candidates, dtype=bool))
    assert (unpack(columns) == candidates).all() and not none.any()
    cells = np.asarray(choose_64(jax.random.split(jax.random.PRNGKey(seed), 64), columns, origin) - origin)
    assert candidates[cells[:, 0], cells[:, 1]].all()


def events_of(domain: Domain, transition: Any) -> set[str]:
    """Events of the first world, checked to be on record in all."""
    assert (~transition.events | transition.world.achievements).all()
    return {domain.achievements[i] for i in np.flatnonzero(np.asarray(transition.events[0]))}


def facing(worlds: Any, block: int) -> Any:
    """The worlds with ``block`` just above the player."""
    row, column = np.asarray(worlds.player_position).T - np.array([[1], [0]])
    levels = () if worlds.map.ndim == 3 else (worlds.player_level,)
    return worlds.replace(map=worlds.map.at[(jnp.arange(WORLDS), *levels, row, column)].set(block))


def test_classic_events_repeat_while_achievements_stick(classic_game: Game) -> None:
    game = classic_game
    first = game.act(facing(game.worlds, ClassicBlock.TREE.value), DO, seed=1)
    second = game.act(facing(first.world, ClassicBlock.TREE.value), DO, seed=2)
    idle = game.act(second.world, NOOP, seed=3)
    assert [events_of(game.domain, t) for t in (first, second, idle)] == [{"COLLECT_WOOD"}, {"COLLECT_WOOD"}, set()]
    assert [float(t.reward[0]) for t in (first, second, idle)] == [1, 0, 0]
    assert idle.world.achievements[:, ClassicAchievement.COLLECT_WOOD.value].all()


@pytest.mark.slow
def test_full_inventory_events_are_gains_not_possession(full_game: Game) -> None:
    game, tree = full_game, BlockType.TREE.value
    first = game.act(facing(game.worlds, tree), DO, seed=1)
    idle = game.act(first.world, NOOP, seed=2)
    second = game.act(facing(idle.world, tree), DO, seed=3)
    assert [events_of(game.domain, t) for t in (first, idle, second)] == [{"COLLECT_WOOD"}, set(), {"COLLECT_WOOD"}]
    assert second.world.achievements[:, Achievement.COLLECT_WOOD.value].all()
    capped = second.world.replace(inventory=second.world.inventory.replace(wood=constant(99)))
    third = game.act(facing(capped, tree), DO, seed=4)
    assert events_of(game.domain, third) == {"COLLECT_WOOD"}
    assert (third.world.inventory.wood == 99).all()


@pytest.mark.slow
def test_full_other_events_repeat_and_tools_count_the_tier_reached(full_game: Game) -> None:
    game = full_game
    held = game.worlds.inventory.replace(wood=constant(5), stone=constant(5), pickaxe=constant(1))
    worlds, events = game.worlds.replace(inventory=held), []
    for seed in range(2):
        placed = game.act(facing(worlds, BlockType.GRASS.value), Action.PLACE_STONE.value, seed)
        worlds = placed.world
        events.append(events_of(game.domain, placed))
    crafted = game.act(facing(worlds, BlockType.CRAFTING_TABLE.value), Action.MAKE_STONE_PICKAXE.value, 2)
    after = game.act(crafted.world, Action.MAKE_STONE_PICKAXE.value, 3)
    events += [events_of(game.domain, crafted), events_of(game.domain, after)]
    assert events == [{"PLACE_STONE"}, {"PLACE_STONE"}, {"MAKE_STONE_PICKAXE"}, set()]


@pytest.mark.slow
def test_full_floor_events_are_arrivals_and_experience_comes_once(full_game: Game) -> None:
    game, down, up = full_game, Action.DESCEND.value, Action.ASCEND.value
    worlds = game.worlds.replace(player_position=game.worlds.down_ladders[:, 0])
    events, experience = [], []
    for seed, action in enumerate((down, NOOP, up, down)):
        transition = game.act(worlds, action, seed)
        worlds = transition.world
        events.append(events_of(game.domain, transition))
        experience.append(int(worlds.player_xp[0]))
    assert events == [{"ENTER_DUNGEON"}, set(), set(), {"ENTER_DUNGEON"}]
    assert experience == [1, 1, 1, 1]


@pytest.mark.slow
def test_full_cause_of_death_and_the_lava_that_stops_the_player(full_game: Game) -> None:
    game, worlds = full_game, dying_worlds(facing(full_game.worlds, BlockType.LAVA.value))
    transition = game.step(jax.random.split(jax.random.PRNGKey(0), WORLDS), worlds, constant(UP).at[2].set(29))
    named = [full.CAUSES[i] for i in jax.vmap(game.domain.cause_fn)(worlds, transition.world)[:6]]
    assert named == list(full.CAUSES)
    assert transition.over[:6].all() and not transition.over[6:].any()
    assert differing(transition.world.player_position, worlds.player_position) == []
    forced = worlds.replace(player_position=worlds.player_position - jnp.array([1, 0]))
    in_lava = [jax.vmap(game.domain.vitals_fn)(w).in_lava for w in (transition.world, forced)]
    assert not in_lava[0].any() and in_lava[1].all()


def dying_worlds(worlds: Any) -> Any:
    """Worlds with a different end waiting in each of the first six. In the order of `full.CAUSES`."""
    melee, shots = worlds.melee_mobs, worlds.mob_projectiles
    return worlds.replace(
        player_health=worlds.player_health.at[:6].set(1.0),
        melee_mobs=melee.replace(
            position=melee.position.at[0, 0, 0].set(worlds.player_position[0] + jnp.array([0, 1])),
            mask=melee.mask.at[0, 0, 0].set(True),
        ),
        mob_projectiles=shots.replace(
            position=shots.position.at[1, 0, 0].set(worlds.player_position[1] - 1),
            mask=shots.mask.at[1, 0, 0].set(True),
        ),
        potion_mapping=worlds.potion_mapping.at[2, 0].set(full.POISON),
        inventory=worlds.inventory.replace(potions=worlds.inventory.potions.at[2, 0].set(1)),
        player_recover=worlds.player_recover.at[3:6].set(-15.0),
        player_food=worlds.player_food.at[3].set(0),
        player_drink=worlds.player_drink.at[4].set(0),
        player_energy=worlds.player_energy.at[5].set(0),
    )


def test_full_sight_names_blocks_and_ladders_but_nothing_in_the_dark() -> None:
    sight, dark = full.domain().sight, [255, 255]
    items = [ItemType.NONE, ItemType.TORCH, ItemType.LADDER_DOWN, ItemType.LADDER_UP, ItemType.LADDER_DOWN_BLOCKED]
    cells = jnp.array([[BlockType.PATH.value, i.value] for i in items] + [dark], dtype=jnp.uint8)
    blocks, ladders = sight.rows_fn(cells)
    assert [sight.names[i] if i >= 0 else "" for i in blocks] == ["PATH"] * 5 + [""]
    names = [sight.names[i] if i >= 0 else "" for i in ladders]
    assert names == ["", "", "LADDER_DOWN", "LADDER_UP", "LADDER_DOWN_BLOCKED", ""]
    assert sight.lit_fn(cells).tolist() == [True] * 5 + [False]
