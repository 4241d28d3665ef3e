"""What a plan can be asked for. A skill, an amount of a fluent, a floor, or several of them at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flowrl.errors import UsageError, nearest_names
from flowrl.fluents import ACHIEVEMENT, FLOOR, Vocabulary
from flowrl.schema.skill import Skill


@dataclass(frozen=True)
class Want:
    """One thing wanted.

    Attributes:
        name: a skill, or a fluent.
        amount: n of that skill, or how much of that fluent.
        is_skill: which of the two.
    """

    name: str
    amount: int
    is_skill: bool


@dataclass(frozen=True)
class Goal:
    """What a plan is asked for. A skill that is wanted alone comes last in its plan."""

    text: str
    wants: tuple[Want, ...]

    @property
    def own(self) -> Want | None:
        """The skill that is the whole goal."""
        return self.wants[0] if len(self.wants) == 1 and self.wants[0].is_skill else None


def parse_goal(goal: str, skills: Mapping[str, Skill], vocabulary: Vocabulary, n: int | None = None) -> Goal:
    """The goal that a text names.

    For example "Make Wood Pickaxe", "wood=3", "EAT_COW", "floor:1" or "diamond=9, iron_pickaxe"; capitals make no
    difference.

    Raises:
        UsageError: nothing is called so, the amount makes no sense, or the parts contradict each other.
    """
    parts = [part for part in goal.split(",") if part.strip()]
    if not parts:
        raise UsageError("The goal is empty; give a skill or an amount, for example 'Collect Wood' or 'wood=3'.")
    if n is not None and len(parts) > 1:
        raise UsageError(
            f"n={n} fits one goal, not the {len(parts)} of {goal!r}; write amounts as in 'wood=3, stone=2'."
        )
    names = _known_names(skills, vocabulary)
    wants = _merged(_parse_want(part, names, skills, vocabulary, n) for part in parts)
    floors = [want.name for want in wants if want.name.startswith(FLOOR)]
    if len(floors) > 1:
        raise UsageError(f"{goal!r} asks to be on two floors at once: {' and '.join(floors)}.")
    return Goal(", ".join(_text(want, skills) for want in wants), wants)


def _merged(wants: Iterable[Want]) -> tuple[Want, ...]:
    """Each thing wanted once in its largest amount."""
    most: dict[tuple[str, bool], Want] = {}
    for want in wants:
        before = most.get((want.name, want.is_skill), want)
        most[want.name, want.is_skill] = max(before, want, key=lambda each: each.amount)
    return tuple(most.values())


def _text(want: Want, skills: Mapping[str, Skill]) -> str:
    """The want as it can be read again. For a skill that scales the amount is written out, as a default may change."""
    says_amount = skills[want.name].spec.scales if want.is_skill else want.amount > 1
    return f"{want.name}={want.amount}" if says_amount else want.name


def _known_names(skills: Mapping[str, Skill], vocabulary: Vocabulary) -> dict[str, str]:
    """Every spelling of a goal and its name. Exact spelling first, then small letters; skills before fluents."""
    in_specs = [f for s in skills.values() for part in (s.spec.yields, s.spec.needed(1)) for f in part]
    floors = [f"{FLOOR}{k}" for k in range(vocabulary.floors)]
    reached = [f"reached:{s.spec.to_floor}" for s in skills.values() if s.spec.to_floor is not None]
    fluents = [*vocabulary.names(), *in_specs, *floors, *reached]
    short = {f.removeprefix(ACHIEVEMENT).casefold(): f for f in fluents if f.startswith(ACHIEVEMENT)}
    folded = short | {f.casefold(): f for f in fluents} | {name.casefold(): name for name in skills}
    return folded | {f: f for f in fluents} | {name: name for name in skills}


def _parse_want(
    text: str, names: Mapping[str, str], skills: Mapping[str, Skill], vocabulary: Vocabulary, n: int | None
) -> Want:
    name, equals, tail = (part.strip() for part in text.partition("="))
    known = names.get(name, names.get(name.casefold()))
    if known is None:
        near = nearest_names(name, dict.fromkeys([*skills, *names.values()]))
        raise UsageError(f"No skill, item or achievement {name!r} among the {len(skills)} known skills. {near}")
    if equals and not tail.isdecimal():
        raise UsageError(f"{text.strip()!r} asks for an amount that is no whole number; write for example '{name}=3'.")
    if equals and n not in (None, int(tail)):
        raise UsageError(f"{text.strip()!r} and n={n} ask for different amounts; give one of them.")
    amount = int(tail) if equals else n
    if amount is not None and amount < 1:
        raise UsageError(f"The amount asked of {known!r} must be at least 1, not {amount}.")
    if known in skills:
        return Want(known, _own_amount(skills[known], amount), is_skill=True)
    if (amount or 1) > vocabulary.most(known):
        raise UsageError(f"{amount} {known} is more than the {vocabulary.most(known)} that there can be.")
    return Want(known, amount or 1, is_skill=False)


def _own_amount(skill: Skill, amount: int | None) -> int:
    if not skill.spec.scales:
        if amount not in (None, 1):
            raise UsageError(f"{skill.name!r} yields the same for every n; leave n={amount} out.")
        return 1
    most = skill.spec.max_n
    if amount is not None and most is not None and amount > most:
        raise UsageError(f"{skill.name!r} cannot be done beyond n={most}, so n={amount} makes no sense.")
    return amount or (skill.spec.n_range[1] if skill.spec.n_range else 1)
