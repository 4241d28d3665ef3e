"""Skills: amounts, specifications, code."""

from pydantic import Field

from flowrl.schema.frozen import Frozen


class Quantity(Frozen):
    """An amount that grows with n: ``per_n * n + base``. Data, never code."""

    per_n: int = 0
    base: int = 0

    def at(self, n: int) -> int:
        """The amount for ``n``."""
        return self.per_n * n + self.base


class InterruptSpec(Frozen):
    """When a skill pre-empts a plan, whose task waits meanwhile.

    Levels are those of the game's intrinsics by name, and "light" in hundredths of full daylight.

    Attributes:
        when: it begins where any of these levels is no higher than this,
        having: and at least these amounts of items are in hand.
        until: it ends where all of these levels are at least this.
        sheltered: actions of the game that it makes only where no creature can come near.
        seeks: the block that it needs, if any: its expert may begin as a copy of the plan's that looks for the same.
    """

    when: dict[str, int]
    until: dict[str, int]
    having: dict[str, int] = Field(default_factory=dict)
    sheltered: tuple[str, ...] = ()
    seeks: str | None = None


class SkillSpec(Frozen):
    """What a skill needs and changes in fluents.

    See `fluents.py` for the names. Requirements and yields are lower bounds.

    Attributes:
        requires: what must hold at the start, at least.
        consumes: what is gone afterwards.
        yields: what holds at the end, at least: an absolute amount in hand, as `n` is.
        floors: the floors on which it can be done; None: any.
        to_floor: the floor that it ends on; None: the one that it began on.
        stays: the player stays where it stands, so that stations within reach stay so.
        practice: what is played before it in its own run, beyond what it needs: (skill, n), so that it has something
            to learn (going back to a table is learned from afar).
        item: the item whose amount in hand the policy is shown, if any.
        seeks: the block that it looks for, if any: while none is known, finding new ground can be paid for.
        n_range: least and largest n that the skill trains on; None: 1 to the largest that a plan of its base asks.
        max_n: the largest n that the game allows at all, trained on or not; None: as much as fits in hand.
        interrupt: when it pre-empts plans; None: it is a step of plans.
    """

    requires: dict[str, Quantity] = Field(default_factory=dict)
    consumes: dict[str, Quantity] = Field(default_factory=dict)
    yields: dict[str, Quantity] = Field(default_factory=dict)
    floors: tuple[int, ...] | None = None
    to_floor: int | None = None
    stays: bool = False
    practice: tuple[tuple[str, int], ...] = ()
    item: str | None = None
    seeks: str | None = None
    n_range: tuple[int, int] | None = None
    max_n: int | None = None
    interrupt: InterruptSpec | None = None

    def needed(self, n: int) -> dict[str, int]:
        """The least amounts that must hold at the start to make ``n``."""
        names = self.requires.keys() | self.consumes.keys()
        none = Quantity()
        return {f: max(self.requires.get(f, none).at(n), self.consumes.get(f, none).at(n)) for f in sorted(names)}

    @property
    def scales(self) -> bool:
        """Whether yields depend on n."""
        return any(quantity.per_n for quantity in self.yields.values())


class Skill(Frozen):
    """A skill's specification and its code.

    Attributes:
        code: the text of a skill file (`is_done` and `reward`) or of a whole task module, see ``is_module``.
        is_module: ``code`` is a task module in the seed's format, the last task being the skill's own.
        trusted: the code ships with the package or was passed by hand, so that a worker may run it. Any other code is
            verified in a sandbox, and workers run what that exports.
    """

    name: str
    description: str = ""
    spec: SkillSpec
    code: str
    is_module: bool = False
    trusted: bool = True
