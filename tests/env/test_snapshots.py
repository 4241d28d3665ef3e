"""Snapshots: few bytes each, back bit for bit, and no foreign file taken for one."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.tables.setup import plan_env
from flowrl.env.registry import domain_named
from flowrl.env.snapshots import (
    MAX_STATES,
    Snapshots,
    join,
    pack,
    players_at,
    read_snapshots,
    snapshots_of,
    unpack,
    write_snapshots,
)
from flowrl.errors import LibraryError
from flowrl.files import pack_arrays, write_arrays
from tests.support.played import CLASSIC, FULL, TINY, WORLDS, Moment, game_of, new_worlds

STATES = 32


def plain_array(leaf: Any) -> np.ndarray:
    """A leaf as runs have it: their keys are numbers."""
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


@functools.cache
def played(name: str) -> Snapshots:
    """States after some steps at random, so that there are creatures, amounts in hand and odd fractions."""
    game, domain = game_of(name), domain_named(name)
    moment, parts = Moment(game, new_worlds(name)), []
    for i in range(40):
        moment.step(jax.random.randint(jax.random.PRNGKey(i), (WORLDS,), 0, len(domain.actions)))
        if i % 10 == 9:
            parts.append(Snapshots(*jax.tree.map(plain_array, (moment.worlds, moment.memory))))
    found = join(parts)
    assert found.size == STATES
    return found


def assert_same_bits(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape) and a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    ("name", "max_bytes"), [(TINY, 200), (CLASSIC, 6_000), pytest.param(FULL, 50_000, marks=pytest.mark.slow)]
)
def test_states_come_back_bit_for_bit_and_take_few_bytes(name: str, max_bytes: int, tmp_path: Path) -> None:
    domain, snapshots = domain_named(name), played(name)
    write_snapshots(tmp_path / "states", domain, snapshots)
    assert_same_bits(read_snapshots(tmp_path / "states", domain), snapshots)
    assert (tmp_path / "states").stat().st_size / STATES < max_bytes
    assert pack_arrays(pack(domain, snapshots)) == (tmp_path / "states").read_bytes(), "the same states, the same bytes"


def test_a_player_sees_at_a_kept_state_what_it_saw() -> None:
    env = plan_env(CLASSIC, "Collect Wood")
    player = env.new_players(jax.random.split(jax.random.PRNGKey(0), 4))
    again = players_at(env.domain, snapshots_of(player))
    assert_same_bits(jax.tree.map(np.asarray, again), jax.tree.map(np.asarray, player))


def test_a_table_of_values_tells_apart_what_compares_equal() -> None:
    """Two zeros are equal as floats; a world that came back with another one would not be the same."""
    snapshots = played(CLASSIC)
    hunger = snapshots.world.player_hunger.copy()
    hunger[:3] = 0.0, -0.0, np.float32(1e-45)
    odd = snapshots._replace(world=snapshots.world.replace(player_hunger=hunger))
    assert_same_bits(unpack(domain_named(CLASSIC), pack(domain_named(CLASSIC), odd)), odd)


def test_one_state_and_several_files_of_them() -> None:
    domain, snapshots = domain_named(TINY), played(TINY)
    one = snapshots.rows(slice(1))
    assert_same_bits(unpack(domain, pack(domain, one)), one)
    assert_same_bits(join([one, snapshots.rows(slice(1, None))]), snapshots)


MAP = ".world.map"
Arrays = dict[str, np.ndarray]
Change = Callable[[Arrays], Any]


def put(name: str, array: Any) -> Change:
    return lambda arrays: arrays.__setitem__(name, np.asarray(array))


WRONG: dict[str, tuple[Change, str]] = {
    "another game": (put("game", np.frombuffer(b"Chess", np.uint8)), "it says that it is of 'Chess'"),
    "no game": (lambda arrays: arrays.pop("game"), r"it says that it is of ''"),
    "less": (lambda arrays: arrays.pop(f"{MAP}:codes"), r"lacks the array '.world.map:codes'"),
    "more": (put(".world.extra", [1]), r"has an unknown array '.world.extra'"),
    "values of another type": (
        lambda arrays: arrays.update({f"{MAP}:table": arrays[f"{MAP}:table"].astype(np.float32)}),
        r"'.world.map' has values float32\[\d+\]; they must be int32",
    ),
    "no values": (put(f"{MAP}:table", np.zeros(0, np.int32)), r"'.world.map' has values int32\[0\]"),
    "numbers of another type": (
        lambda arrays: arrays.update({f"{MAP}:codes": arrays[f"{MAP}:codes"].astype(np.int16)}),
        r"'.world.map' has numbers int16.*must be uint8",
    ),
    "numbers of another shape": (
        lambda arrays: arrays.update({f"{MAP}:codes": arrays[f"{MAP}:codes"][:, 1:]}),
        r"'.world.map' has numbers uint8\[32, \d+\]; they must be uint8\[32, \d+\]",
    ),
    "fewer states of one leaf": (
        lambda arrays: arrays.update({f"{MAP}:codes": arrays[f"{MAP}:codes"][1:]}),
        r"they must be uint8\[3[12], ",
    ),
    "no states": (put(".world.map:codes", np.zeros((0, 31), np.uint8)), "it has 0 states"),
    "no axes": (put(".world.map:codes", np.uint8(1)), "it has 0 states"),
    "a number that stands for nothing": (
        lambda arrays: arrays.update({f"{MAP}:table": arrays[f"{MAP}:table"][:-1]}),
        r"'.world.map' names value 5 of 5",
    ),
    "an odd truth value": (
        lambda arrays: arrays.update({".world.achievements:table": np.array([0, 2], np.uint8).view(bool)}),
        r"'.world.achievements' has truth values other than 0 and 1",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_foreign_file_is_refused_and_says_why(what: str, tmp_path: Path) -> None:
    change, message = WRONG[what]
    domain, file = domain_named(TINY), tmp_path / "states.safetensors"
    arrays = pack(domain, played(TINY))
    arrays[f"{MAP}:table"] = np.arange(6, dtype=np.int32)
    arrays[f"{MAP}:codes"][0, 0] = 0b101_00000  # three bits a cell, the lowest first: the first cell is 5
    unpack(domain, arrays)
    change(arrays)
    write_arrays(file, arrays)
    with pytest.raises(LibraryError, match=rf"states\.safetensors holds no start states of Tiny.*{message}.*Delete it"):
        read_snapshots(file, domain)


def test_numbers_that_are_not_finite_are_refused() -> None:
    domain = domain_named(CLASSIC)
    for odd in (np.nan, np.inf):
        arrays = pack(domain, played(CLASSIC))
        table = arrays[".world.player_hunger:table"].copy()
        table[-1] = odd
        with pytest.raises(LibraryError, match=r"'\.world\.player_hunger' has NaN or infinity"):
            unpack(domain, arrays | {".world.player_hunger:table": table})


def test_a_file_that_claims_too_many_states_is_refused_before_it_is_unpacked() -> None:
    domain = domain_named(TINY)
    arrays = pack(domain, played(TINY))
    many = {
        name: np.zeros((MAX_STATES + 1, array.shape[1]), np.uint8) if name.endswith(":codes") else array
        for name, array in arrays.items()
    }
    with pytest.raises(LibraryError, match=rf"it has {MAX_STATES + 1} states, not 1 to {MAX_STATES}"):
        unpack(domain, many)


@pytest.mark.parametrize("data", [b"", b"no arrays at all", None])
def test_a_damaged_file_is_refused(data: bytes | None, tmp_path: Path) -> None:
    file, domain = tmp_path / "states", domain_named(TINY)
    write_snapshots(file, domain, played(TINY))
    file.write_bytes(file.read_bytes()[:-7] if data is None else data)
    with pytest.raises(LibraryError, match="states is damaged"):
        read_snapshots(file, domain)
