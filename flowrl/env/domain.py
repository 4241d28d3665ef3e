"""The seam between flowrl and a game. A `Domain` says how worlds start, step and look. Everything here works on ONE
world; the task layer (`flow_env.py`) maps it over a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Int, Int8, UInt8, UInt16

from flowrl.errors import UsageError

World = Any
"""The game's own state of one world, a pytree (upstream's `EnvState` for the Craftax games)."""


class Observation(NamedTuple):
    """The compact observation of one world. `expand` makes it flat.

    Attributes:
        cells: one byte a cell and plane of kind "onehot"; 255 is none of its kinds.
        marks: the column of the flat observation that each creature in view sets, `NO_MARK` for none; no two alike.
        levels: small whole numbers: the domain's own, then dx and dy of what flowrl adds.
        floats: everything else: the domain's own, then the amounts that flowrl adds.
    """

    cells: UInt8[Array, "*B cells planes"]
    marks: UInt16[Array, "*B slots"]
    levels: Int8[Array, "*B levels"]
    floats: Float[Array, "*B floats"]


PATCHES_ROUND = 24
"""Patches round the view for each of which an observation says how much of it is unseen, see `explored.py`."""
NO_MARK = 65535
"""What `Observation.marks` holds for a creature that is not in view."""


class Transition(NamedTuple):
    """One step of a game.

    Attributes:
        over: the game is lost or won.
        expired: the game's own clock has run out: a time-out, no death.
        events: the achievements that happened in this very step, repeated ones too.
    """

    world: World
    reward: Float[Array, ""]
    over: Bool[Array, ""]
    expired: Bool[Array, ""]
    events: Bool[Array, "achievements"]


@dataclass(frozen=True)
class Plane:
    """Some floats of each cell of the view in the flat observation.

    Attributes:
        kind: "onehot": a byte of `Observation.cells`, 255 giving all zeros; "marks": the creatures that stand there;
            "lit": 1 where the first plane is not 255.
    """

    size: int
    kind: str


@dataclass(frozen=True)
class Sight:
    """The things in a view that `closest_blocks` follows.

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
    """The parts of a world that every skill function may see."""

    inventory: Any
    intrinsics: Int[Array, "intrinsics"]
    in_lava: Bool[Array, ""]
    player_level: Int[Array, ""] | None
    monsters_killed: Int[Array, "floors"] | None


class Ground(NamedTuple):
    """What stands where and what has happened.

    Attributes:
        layers: rows of the sight's ``names`` on every cell of every floor, negative for nothing; things may lie on
            top of each other.
    """

    layers: Int[Array, "floors layers R C"]
    achieved: Bool[Array, "achievements"]
    reached: Bool[Array, "floors"]


@dataclass(frozen=True)
class Facts:
    """How symbolic states are read off worlds. See `symbolic_state.py`.

    Attributes:
        stations: what skills can be near to, each with the names in the sight that stand for it.
        intrinsics: names of the first levels of `Vitals.intrinsics`.
    """

    stations: tuple[tuple[str, tuple[str, ...]], ...]
    intrinsics: tuple[str, ...]
    ground_fn: Callable[[World], Ground]


@dataclass(frozen=True)
class Domain:
    """A game as flowrl needs it. A value, so that the trainer knows no game by name.

    Attributes:
        name: the environment's name on the command line.
        layout: names the observation's layout; a home holds experts of one layout only.
        items: the inventory fields whose amount a task may ask for.
        view: rows and columns seen around the player.
        planes: what a cell of the view becomes.
        levels: small whole numbers of an observation, before flowrl's own.
        floats: floats of an observation, before flowrl's own.
        scalars: floats of upstream's observation that follow the map.
        scalars_fn: (levels [..., levels], floats [..., floats]) -> those floats [..., scalars].
        creatures: kinds of creature told apart in the view.
        slots: the kind of each of an observation's marks.
        causes: ways an episode can fail; `cause_fn` returns an index into them.
        step_fn: (key, world, action) -> Transition, without any reset.
        observe_fn: world -> Observation with upstream's content alone.
        cause_fn: (world before, world after) -> index into `causes` for a death in this step.
        facts: how a symbolic state is read off a world; None for a game without symbols.
        light_fn: world -> daylight from 0 to 1; None for a game without nights.
        map_size: rows and columns of a floor, where players note what they have seen of it (see `explored.py`); None:
            they do not, in this layout.
        turn_fn: world -> quarter turns, clockwise from up, of the way its player faces (see `turning.py`);
            None: the layout shows the world as it lies.
        rock_fn: world -> the cells of the player's floor among which ores lie; None: players note no rock.
        ores: names of blocks that lie in rock, all others do not; the layout then shows where to look for what a task
            seeks and nobody has seen; None: it shows nothing then.
        followed: kinds of creature whose last place is remembered, as that of a block is.
        sheltered_fn: world -> whether no creature can come next to the player; None: the game does not say.
        nearby: floats that the layout adds about what is close by, `nearby_fn` of a world.
    """

    name: str
    layout: str
    actions: tuple[str, ...]
    items: tuple[str, ...]
    achievements: tuple[str, ...]
    view: tuple[int, int]
    planes: tuple[Plane, ...]
    levels: int
    floats: int
    scalars: int
    scalars_fn: Callable[[Array, Array], Float[Array, "*B scalars"]]
    creatures: tuple[str, ...]
    slots: tuple[int, ...]
    causes: tuple[str, ...]
    sight: Sight
    reset_fn: Callable[[jax.Array], World]
    step_fn: Callable[[jax.Array, World, Array], Transition]
    observe_fn: Callable[[World], Observation]
    vitals_fn: Callable[[World], Vitals]
    amounts_fn: Callable[[Any], Int[Array, "items"]]
    cause_fn: Callable[[World, World], Int[Array, ""]]
    facts: Facts | None = None
    light_fn: Callable[[World], Float[Array, ""]] | None = None
    map_size: tuple[int, int] | None = None
    turn_fn: Callable[[World], Int[Array, ""]] | None = None
    rock_fn: Callable[[World], Bool[Array, "R C"]] | None = None
    ores: tuple[str, ...] | None = None
    followed: tuple[int, ...] = ()
    sheltered_fn: Callable[[World], Bool[Array, ""]] | None = None
    nearby: int = 0
    nearby_fn: Callable[[World], Float[Array, "nearby"]] | None = None

    @property
    def symbols(self) -> Facts:
        """How symbolic states are read off worlds.

        Raises:
            UsageError: the game does not say.
        """
        if self.facts is None:
            raise UsageError(f"{self.name} does not say how a symbolic state is read off its worlds (Domain.facts).")
        return self.facts

    @property
    def cells(self) -> int:
        """Cells in the view."""
        return self.view[0] * self.view[1]

    @property
    def shown(self) -> tuple[int, int]:
        """Rows and columns of the view that the network sees. A turned one is square."""
        return self.view if self.turn_fn is None else (max(self.view), max(self.view))

    @property
    def shown_cells(self) -> int:
        """Cells in the view that the network sees."""
        return self.shown[0] * self.shown[1]

    @property
    def shown_size(self) -> int:
        """Floats that they become in its flat observation."""
        return self.shown_cells * self.cell_size

    @property
    def upstream_size(self) -> int:
        """Floats in upstream's own flat observation."""
        return self.cells * self.cell_size + self.scalars

    @property
    def cell_size(self) -> int:
        """Floats that a cell of the view becomes."""
        return sum(plane.size for plane in self.planes)

    @property
    def extra_size(self) -> int:
        """Floats that flowrl adds.

        Nearest blocks and creatures (dx, dy, known), the amount wanted and in hand; with a map how much is unseen, and
        how much rock; where the layout has it, what is close by and the way to what the task seeks (dx, dy, known).
        """
        own = 3 * (len(self.sight.names) + len(self.creatures)) + 2
        own += self.nearby + 3 if self.nearby else 0
        planes = 0 if self.map_size is None or self.ores is not None else 1 if self.rock_fn is None else 2
        return own + PATCHES_ROUND * planes

    @property
    def observation_size(self) -> int:
        """Floats in the network's flat observation."""
        return self.shown_size + self.scalars + self.extra_size
