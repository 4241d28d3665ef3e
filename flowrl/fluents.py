"""Fluents name what can hold in a game.

wood                       an item in hand, by amount; a tool that has tiers counts its tier
achievement:EAT_COW        has happened in this episode
near:crafting_table        a station within reach; lost by any skill that does not stay where it stands
placed:crafting_table      a station that stands somewhere on the present floor
intrinsic:food             a level of the body, sure only straight after the skill that raised it
kills:1                    monsters killed on a floor
reached:1                  a floor that was visited
floor:1                    the present floor, as a goal; skills name theirs in `floors` and `to_floor`
"""

from pydantic import BaseModel, ConfigDict, Field

from flowrl.errors import nearest_names

ACHIEVEMENT, NEAR, PLACED, INTRINSIC = "achievement:", "near:", "placed:", "intrinsic:"
KILLS, REACHED, FLOOR = "kills:", "reached:", "floor:"
PREFIXES = (ACHIEVEMENT, NEAR, PLACED, INTRINSIC, KILLS, REACHED, FLOOR)

CAPACITY = 9
"""How many of one item fit in hand in Craftax-Classic."""
MANY = 1_000
"""More than can be counted in an episode: the bound of what has none of its own."""


def prefix_of(fluent: str) -> str:
    """The fluent's kind as one of `PREFIXES` or empty."""
    return next((prefix for prefix in PREFIXES if fluent.startswith(prefix)), "")


class Vocabulary(BaseModel):
    """The fluents of a game. One without any names takes every name: for domains made up in tests and tools.

    Attributes:
        capacity: how many of one item fit in hand.
        capacities: the items of which another number fits.
        tiers: the items among them whose amount is a tier, and the highest; a tier never grows with n.
        stations: what skills can be near to.
        intrinsics: the levels of the body, from 0 to ``full``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    capacity: int = Field(CAPACITY, ge=1)
    items: tuple[str, ...] = ()
    capacities: dict[str, int] = Field(default_factory=dict)
    tiers: dict[str, int] = Field(default_factory=dict)
    achievements: tuple[str, ...] = ()
    stations: tuple[str, ...] = ()
    intrinsics: tuple[str, ...] = ()
    full: int = 9
    floors: int = Field(1, ge=1)

    def most(self, fluent: str) -> int:
        """The largest possible amount of the fluent."""
        kind = prefix_of(fluent)
        if not kind:
            return self.tiers.get(fluent, self.capacities.get(fluent, self.capacity))
        return {INTRINSIC: self.full, KILLS: MANY}.get(kind, 1)

    def problem(self, fluent: str) -> str | None:
        """What is wrong with a fluent's name. None for a fluent of this game."""
        kind = prefix_of(fluent)
        name = fluent.removeprefix(kind)
        if kind in (KILLS, REACHED, FLOOR):
            inside = name.isdecimal() and str(int(name)) == name and int(name) < self.floors
            return None if inside else f"{fluent!r} names no floor; this game has floors 0 to {self.floors - 1}"
        if not self.items:
            return None
        named = {ACHIEVEMENT: self.achievements, INTRINSIC: self.intrinsics, NEAR: self.stations, PLACED: self.stations}
        known = named.get(kind, self.items)
        if name in known:
            return None
        kinds = {ACHIEVEMENT: "achievement", INTRINSIC: "intrinsic", NEAR: "station", PLACED: "station"}
        what = kinds.get(kind, "item")
        return f"no {what} {name!r} in this game. {nearest_names(name, known)}".rstrip()

    def names(self) -> list[str]:
        """Every fluent that has a name."""
        return [
            *self.items,
            *(prefix + station for prefix in (NEAR, PLACED) for station in self.stations),
            *(ACHIEVEMENT + name for name in self.achievements),
            *(INTRINSIC + name for name in self.intrinsics),
        ]
