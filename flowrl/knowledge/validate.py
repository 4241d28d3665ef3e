"""Validation of specifications alone and together.

Each problem is a sentence with the skill, the field and the next move. A requirement that no skill yields is no
problem here: it makes the skill infeasible, which the frontier reports.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flowrl.errors import SpecError, nearest_names
from flowrl.fluents import FLOOR, INTRINSIC, REACHED, Vocabulary, prefix_of
from flowrl.knowledge.quantities import quantity_text
from flowrl.paths import slug
from flowrl.planning.symbolic import gives
from flowrl.schema.skill import Quantity, Skill, SkillSpec

_MAX_SHOWN = 10
_MAX_NAME = 80
_PARTS = ("requires", "consumes", "yields")


def require_none(problems: Sequence[str]) -> None:
    """Raise SpecError if there are problems. A line each."""
    if problems:
        shown = list(problems[:_MAX_SHOWN])
        if len(problems) > len(shown):
            shown.append(f"There are {len(problems) - len(shown)} more like these.")
        raise SpecError("\n".join(shown))


@dataclass(frozen=True)
class Spelling:
    """Other names for fields and fluents."""

    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    key_fn: Callable[[str], str] = str

    def field(self, name: str) -> str:
        """The name of a field."""
        return self.fields.get(name, name)

    def translated(self, problem: str, fluent: str = "") -> str:
        """A sentence with renamed fields and fluent."""
        for ours, theirs in self.fields.items():
            problem = problem.replace(f"`{ours}`", f"`{theirs}`")
        return problem.replace(repr(fluent), repr(self.key_fn(fluent))) if fluent else problem


OURS = Spelling()


def problems_of(skill: Skill, vocabulary: Vocabulary, spelling: Spelling = OURS) -> list[str]:
    """What is wrong with one skill by itself."""
    found = [f"{skill.name!r}, name: {problem}" for problem in name_problems(skill.name)]
    for part in _PARTS:
        for fluent, quantity in getattr(skill.spec, part).items():
            problem = _amount_problem(part, fluent, quantity, skill.spec, vocabulary)
            if problem is not None:
                field = f"{spelling.field(part)} {on_one_line(spelling.key_fn(fluent))}"
                found.append(f"{skill.name!r}, {field}: {_ended(spelling.translated(problem, fluent))}")
    for field, problem in _other_problems(skill, vocabulary):
        found.append(f"{skill.name!r}, {spelling.field(field)}: {_ended(spelling.translated(problem))}")
    return found


def on_one_line(text: str) -> str:
    """A printable name from a file. No line breaks or control characters, not too long."""
    return text if text.isprintable() and len(text) <= _MAX_NAME else repr(text[:_MAX_NAME])


def _ended(problem: str) -> str:
    return problem if problem.endswith((".", "?")) else f"{problem}."


def name_problems(name: str) -> list[str]:
    """Why a skill cannot have this name."""
    plain = slug(name)
    found = []
    if len(name) > _MAX_NAME or not name.isprintable():
        found.append(f"write it in one line, with at most {_MAX_NAME} printable characters.")
    elif not plain[0].isalpha() or plain == "unnamed":
        found.append("it becomes a folder and a Python name, so begin it with a letter from A to Z.")
    elif re.fullmatch(r"task_\d+", plain.casefold()):
        found.append("tasks of a run have such names; choose another.")
    if signs := sorted(set(',=:"\\') & set(name)):
        found.append(f"leave {' and '.join(signs)} out; goals and skill files are written with such signs.")
    return found


def _amount_problem(part: str, fluent: str, quantity: Quantity, spec: SkillSpec, vocabulary: Vocabulary) -> str | None:
    low, high = spec.n_range or (1, 1)
    most, kind = vocabulary.most(fluent), prefix_of(fluent)
    if kind == FLOOR:
        return "name floors in `floors`, where it can be done, and `to_floor`, where it ends"
    if (unknown := vocabulary.problem(fluent)) is not None:
        return unknown
    if quantity.per_n < 0:
        return f"the amount {quantity_text(quantity)} shrinks as n grows; the number before n must be at least 0"
    if min(quantity.at(1), quantity.at(max(1, low))) < 0:
        return f"the amount {quantity_text(quantity)} is {quantity.at(1)} at n=1; it must be at least 0"
    if part == "consumes" and kind:
        return f"only items can be spent, and {kind.rstrip(':')!r} is none; move it to `requires`"
    if quantity.per_n and fluent in vocabulary.tiers:
        return f"{fluent} counts tiers, 0 to {most}, which don't grow with n; write the tier as a number"
    if quantity.per_n and most == 1:
        return f"the amount {quantity_text(quantity)} grows with n, but there is at most 1 of it; write 1"
    for n in (max(1, low), high):
        if quantity.at(n) > most:
            return f"the amount {quantity_text(quantity)} is {quantity.at(n)} at n={n}, but at most {most} can be held"
    return None


def _other_problems(skill: Skill, vocabulary: Vocabulary) -> Iterator[tuple[str, str]]:
    spec = skill.spec
    last = vocabulary.floors - 1
    if spec.floors is not None and not spec.floors:
        yield "floors", "it names no floor, so it could be done nowhere; leave it out if any floor will do"
    for floor in [*(spec.floors or ()), *([] if spec.to_floor is None else [spec.to_floor])]:
        if not 0 <= floor <= last:
            field = "to_floor" if floor == spec.to_floor else "floors"
            yield field, f"there is no floor {floor}; this game has floors 0 to {last}"
    if not gives(spec, vocabulary):
        yield "yields", "it yields nothing and leads to no other floor; say what holds once it is done"
    if spec.stays and spec.to_floor is not None:
        yield "stays", f"a skill that ends on floor {spec.to_floor} does not stay where it stands; leave one out"
    if spec.item is not None and (prefix_of(spec.item) or vocabulary.problem(spec.item) is not None):
        near = nearest_names(spec.item, vocabulary.items) if vocabulary.items else ""
        yield "item", f"{spec.item!r} is no item of this game. {near}".rstrip()
    if spec.n_range is not None:
        low, high = spec.n_range
        if low < 1 or high < low:
            yield "n_range", f"{low} to {high} is no range of n; write the least, from 1 on, and then the largest"
    if spec.max_n is not None and spec.max_n < (spec.n_range[1] if spec.n_range else 1):
        top = spec.n_range[1] if spec.n_range else 1
        yield "max_n", f"{spec.max_n} is less than n={top}, which it trains on; write the largest n there can be"
    for name, n in spec.practice:
        if n < 1:
            yield "practice", f"{name!r} with n={n} makes nothing; write an n of at least 1"


def problems_among(
    skills: Sequence[Skill], known: Iterable[Skill], vocabulary: Vocabulary, spelling: Spelling = OURS
) -> list[str]:
    """What is wrong between valid skills. A sentence each.

    Args:
        known: the skills that they join; problems among these alone are left out.
    """
    known = list(known)
    everyone = [*known, *skills]
    found = list(_name_clashes(skills, known))
    names = {skill.name for skill in everyone}
    for skill in skills:
        for name, _ in skill.spec.practice:
            if name == skill.name:
                found.append(f"{name!r}, practice: it cannot be played before itself; name another skill.")
            elif name not in names:
                found.append(f"{skill.name!r}, practice: there is no skill {name!r}. {nearest_names(name, names)}")
    if not found:
        found += _waiting(skills, everyone, vocabulary, spelling)
    return found


def _name_clashes(skills: Sequence[Skill], known: Sequence[Skill]) -> Iterator[str]:
    taken = {slug(skill.name).casefold(): skill.name for skill in known}
    for skill in skills:
        folder = slug(skill.name).casefold()
        if folder in taken:
            same = taken[folder] == skill.name
            why = "there is another of this name" if same else f"it is too like {taken[folder]!r} to tell apart"
            yield f"{skill.name!r}, name: {why}: both would lie in one folder. Give it another name."
        taken.setdefault(folder, skill.name)


FluentAmount = tuple[str, int]


def _needs(spec: SkillSpec) -> list[tuple[FluentAmount, ...]]:
    """Alternative preconditions of a skill at its smallest n. One of each must hold."""
    low = max(1, spec.n_range[0]) if spec.n_range else 1
    needs: list[tuple[FluentAmount, ...]] = [((f, amount),) for f, amount in spec.needed(low).items() if amount > 0]
    if spec.floors is not None:
        needs.append(tuple((f"{FLOOR}{k}", 1) for k in spec.floors))
    return needs


def _waiting(
    skills: Sequence[Skill], everyone: Sequence[Skill], vocabulary: Vocabulary, spelling: Spelling
) -> list[str]:
    """The circles in which skills wait for each other.

    What no skill yields counts as present. Nothing is used up in this relaxation, so no plan can do a skill that it
    does not reach.
    """
    given = {skill.name: gives(skill.spec, vocabulary) for skill in everyone}
    needs = {skill.name: _needs(skill.spec) for skill in everyone}
    had = {f"{INTRINSIC}{name}": vocabulary.full for name in vocabulary.intrinsics} | {f"{FLOOR}0": 1, f"{REACHED}0": 1}

    def makers(alternatives: tuple[FluentAmount, ...]) -> list[tuple[FluentAmount, str]]:
        return [(need, name) for need in alternatives for name in given if given[name].get(need[0], 0) >= need[1]]

    def unmet(name: str) -> list[tuple[FluentAmount, ...]]:
        return [a for a in needs[name] if not any(had.get(f, 0) >= amount for f, amount in a) and makers(a)]

    waiting = dict.fromkeys(given)
    while ready := [name for name in waiting if not unmet(name)]:
        for name in ready:
            del waiting[name]
            for fluent, amount in given[name].items():
                had[fluent] = max(had.get(fluent, 0), amount)
    follows = {name: makers(unmet(name)[0])[0] for name in waiting}
    circles: dict[frozenset[str], list[str]] = {}
    for name in follows:
        circle = _circle(name, follows)
        circles.setdefault(frozenset(circle), circle)
    own = {skill.name for skill in skills}
    return [_circle_text(circle, follows, spelling) for members, circle in circles.items() if members & own]


def _circle(start: str, follows: Mapping[str, tuple[FluentAmount, str]]) -> list[str]:
    path: list[str] = []
    while start not in path:
        path.append(start)
        start = follows[start][1]
    return path[path.index(start) :]


def _circle_text(circle: Sequence[str], follows: Mapping[str, tuple[FluentAmount, str]], spelling: Spelling) -> str:
    links = []
    for name in circle:
        (fluent, amount), maker = follows[name]
        what = spelling.key_fn(fluent) if amount == 1 else f"{amount} {spelling.key_fn(fluent)}"
        who = "only itself" if maker == name else repr(maker)
        links.append(f"{name!r} needs {what}, which {who} yields")
    text, field = "; ".join(links), spelling.field("requires")
    if len(circle) == 1:
        return f"{circle[0]!r}, {field}: {text}; drop the requirement, or add a skill that yields it first."
    return f"{circle[0]!r}, {field}: {text}: they wait for each other. Drop one of these, or add a skill that begins."
