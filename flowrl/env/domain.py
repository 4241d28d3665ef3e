"""The seam between flowrl and a game: a `Domain` says how worlds start, step and look.

Everything here works on ONE world; the task layer (`flow_env.py`) maps it over a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Int, UInt8

World = Any
"""The game's own state of one world, a pytree (upstream's `EnvState` for the Craftax games)."""


class Observation(NamedTuple):
    """What the policy sees of one world, compact: `expand` of `observation.py` makes it flat."""

    cells: UInt8[Array, "*B cells planes"]
    scalars: Float[Array, "*B scalars"]


class Transition(NamedTuple):
    """What one step of a game did."""

    world: World
    reward: Float[Array, ""]
    over: Bool[Array, ""]
    events: Bool[Array, "achievements"]
    """The achievements that happened in this very step, repeated ones too."""


@dataclass(frozen=True)
class Plane:
    """One number stored per cell of the view, and how the flat observation spells it out.

    Attributes:
        size: how many floats a cell becomes.
        kind: "onehot" (255 gives all zeros) or "bits" (bit i becomes float i).
    """

    size: int
    kind: str


@dataclass(frozen=True)
class Sight:
    """How the cells of a view name the things that `closest_blocks` follows.

    Attributes:
        names: the rows of `closest_blocks`, in order.
        floors: floors with a memory of their own.
        dark: whether a cell of the view may be unlit, and so unseen.
        rows_fn: cells [cells, planes] -> int [layers, cells], the row of `names` seen there, negative for nothing.
        lit_fn: cells [cells, planes] -> bool [cells], whether the cell can be seen at all.
        place_fn: world -> (position [2] as row and column, floor []).
    """

    names: tuple[str, ...]
    floors: int
    dark: bool
    rows_fn: Callable[[Array], Int[Array, "layers cells"]]
    lit_fn: Callable[[Array], Bool[Array, "cells"]]
    place_fn: Callable[[World], tuple[Int[Array, "2"], Int[Array, ""]]]


class Vitals(NamedTuple):
    """The parts of a world that every skill function may see, whatever the game."""

    inventory: Any
    intrinsics: Int[Array, "intrinsics"]
    in_lava: Bool[Array, ""]
    player_level: Int[Array, ""] | None
    monsters_killed: Int[Array, "floors"] | None


class Ground(NamedTuple):
    """The parts of a world that say what stands where and what has happened, for the symbolic state.

    Attributes:
        layers: rows of the sight's ``names`` on every cell of every floor, negative for nothing; things may lie on
            top of each other.
        achieved: what has happened in this episode.
        reached: the floors that were visited.
    """

    layers: Int[Array, "floors layers R C"]
    achieved: Bool[Array, "achievements"]
    reached: Bool[Array, "floors"]


@dataclass(frozen=True)
class Facts:
    """How a symbolic state is read off a world, see `abstraction.py`.

    Attributes:
        stations: what skills can be near to, each with the names in the sight that stand for it.
        intrinsics: names of the first levels of `Vitals.intrinsics`.
        ground_fn: world -> Ground.
    """

    stations: tuple[tuple[str, tuple[str, ...]], ...]
    intrinsics: tuple[str, ...]
    ground_fn: Callable[[World], Ground]


@dataclass(frozen=True)
class Domain:
    """A game as flowrl needs it; a value, so that the trainer knows no game by name.

    Attributes:
        name: the environment's name on the command line.
        layout: names the observation's layout; a home holds experts of one layout only.
        actions: the actions' names, in order.
        items: the inventory fields whose amount a task may ask for.
        achievements: names, in order.
        view: rows and columns seen around the player.
        planes: what is stored per cell.
        scalars: floats of upstream's observation that follow the map.
        creatures: kinds of creature told apart in the view.
        creatures_fn: cells [cells, planes] -> bool [kinds, cells].
        causes: ways an episode can fail; `cause_fn` returns an index into them.
        reset_fn: key -> world.
        step_fn: (key, world, action) -> Transition, without any reset.
        observe_fn: world -> Observation with upstream's content alone.
        vitals_fn: world -> Vitals.
        amounts_fn: inventory -> int [items].
        cause_fn: (world before, world after) -> index into `causes` for a death in this step.
        facts: how a symbolic state is read off a world; None for a game without symbols.
    """

    name: str
    layout: str
    actions: tuple[str, ...]
    items: tuple[str, ...]
    achievements: tuple[str, ...]
    view: tuple[int, int]
    planes: tuple[Plane, ...]
    scalars: int
    creatures: tuple[str, ...]
    creatures_fn: Callable[[Array], Bool[Array, "kinds cells"]]
    causes: tuple[str, ...]
    sight: Sight
    reset_fn: Callable[[jax.Array], World]
    step_fn: Callable[[jax.Array, World, Array], Transition]
    observe_fn: Callable[[World], Observation]
    vitals_fn: Callable[[World], Vitals]
    amounts_fn: Callable[[Any], Int[Array, "items"]]
    cause_fn: Callable[[World, World], Int[Array, ""]]
    facts: Facts | None = None

    @property
    def cells(self) -> int:
        """Cells in the view."""
        return self.view[0] * self.view[1]

    @property
    def upstream_size(self) -> int:
        """Floats in upstream's own flat observation."""
        return self.cells * sum(plane.size for plane in self.planes) + self.scalars

    @property
    def extra_size(self) -> int:
        """Floats that flowrl adds: nearest blocks and creatures (dx, dy, known), the amount wanted and in hand."""
        return 3 * (len(self.sight.names) + len(self.creatures)) + 2

    @property
    def observation_size(self) -> int:
        """Floats in the flat observation that the network sees."""
        return self.upstream_size + self.extra_size
