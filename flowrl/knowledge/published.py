"""Translates one entry of a published-style base. Its code stays text.

Amounts there are lambda texts, parsed as affine forms. Keys become fluents: items and `achievement:NAME` stay,
`stat:monsters_killed:2` becomes kills:2 and `ephemeral:near_furnace` near:furnace. `level:player_level` lists the
floors where a skill can be done (a single one may be a lambda); among the gains it is the floor where the skill ends.
"""

import ast
import re
import symtable
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowrl.errors import ModuleError, SpecError
from flowrl.fluents import ACHIEVEMENT, FLOOR, KILLS, NEAR, PLACED, Vocabulary, prefix_of
from flowrl.knowledge.quantities import parse_quantity
from flowrl.knowledge.validate import Spelling, on_one_line, problems_of
from flowrl.schema.skill import Quantity, Skill, SkillSpec
from flowrl.skillcode.skill_file import FUNCTIONS, functions_of, read_skill_file
from flowrl.skillcode.source import parse

LEVEL, _STAT, _NEAR = "level:player_level", "stat:monsters_killed:", "ephemeral:near_"
_REQUIRED = ("skill_name", "requirements", "consumption", "gain", "functions")
_READ = (*_REQUIRED, "description", "ephemeral")
_MEMBER = re.compile(r"(?:task_(?:(\d+)_)?)?(is_done|reward|network_number)")
_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)


_KEYS = ((_STAT, KILLS), (_NEAR, NEAR), (LEVEL, FLOOR))


def _key_of(fluent: str) -> str:
    """The published key of a fluent."""
    for theirs, ours in _KEYS:
        if fluent.startswith(ours):
            return theirs if theirs == LEVEL else theirs + fluent.removeprefix(ours)
    return fluent


PUBLISHED = Spelling(
    {
        "requires": "requirements",
        "consumes": "consumption",
        "yields": "gain",
        "floors": f"requirements {LEVEL}",
        "to_floor": f"gain {LEVEL}",
    },
    _key_of,
)
"""The names of fields and fluents in such a file."""


@dataclass
class Entry:
    """Problems and notes while an entry is read.

    Attributes:
        label: the entry, for messages.
        notes: what was ignored.
    """

    label: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def wrong(self, field_name: str, problem: str) -> None:
        """Add a problem with a field."""
        self.problems.append(f"{self.label}, {field_name}: {problem}")


def translate(data: object, place: str, vocabulary: Vocabulary) -> tuple[Skill | None, Entry]:
    """Translate an entry. The skill is only complete if the entry has no problems.

    Args:
        place: the entry's position, e.g. "skill 3", for one without a name.
    """
    if not isinstance(data, dict):
        return None, Entry(place, [f"{place} is {_kind(data)}, not an object with skill_name, gain and so on."])
    name = data.get("skill_name")
    if not isinstance(name, str) or not name.strip():
        return None, Entry(place, [f"{place}, skill_name: {_kind(name)} is no name; give the skill one."])
    name = " ".join(name.split())
    entry = Entry(repr(name))
    for missing in [key for key in _REQUIRED if key not in data]:
        entry.wrong(missing, "it is missing; add it, empty where there is nothing.")
    if unread := sorted(set(data) - set(_READ)):
        entry.notes.append(f"{entry.label}: ignored {', '.join(map(on_one_line, unread))}")
    if not isinstance(data.get("ephemeral", False), bool):
        entry.wrong("ephemeral", f"{data['ephemeral']!r} is neither true nor false.")
    if not isinstance(data.get("description", ""), str):
        entry.wrong("description", f"{_kind(data['description'])} is no text.")
    spec = _spec_of(data, entry, vocabulary)
    code = _code_of(data.get("functions", ""), entry, vocabulary) if "functions" in data else ""
    description = "".join(c for c in " ".join(str(data.get("description", "")).split()) if c.isprintable())
    skill = Skill(name=name, description=description, spec=spec, code=code, trusted=False)
    if not entry.problems:
        entry.problems += problems_of(skill, vocabulary, PUBLISHED)
    return skill, entry


def _kind(value: object) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"a {type(value).__name__}"


def _spec_of(data: Mapping[str, Any], entry: Entry, vocabulary: Vocabulary) -> SkillSpec:
    requires, floors = _part(data, "requirements", entry)
    consumes, spent = _part(data, "consumption", entry)
    yields, ends = _part(data, "gain", entry)
    if spent is not None:
        entry.wrong("consumption", f"{LEVEL}: a floor is not spent; put where the skill leads into gain.")
    to_floor = None
    if isinstance(ends, list):
        entry.wrong("gain", f"{LEVEL}: a skill ends on one floor, not on {ends}; write for example 'lambda n: 1'.")
    elif ends is not None:
        to_floor = ends
    places = data.get("ephemeral") is True and any(not prefix_of(f) for f in consumes) and to_floor is None
    stations = [f for f in yields if f.startswith(NEAR)]
    if places and stations:
        # A station made from items stands afterwards, with the player beside it; one without was placed before.
        yields |= {PLACED + f.removeprefix(NEAR): Quantity(base=1) for f in stations}
    return SkillSpec(
        requires=requires,
        consumes=consumes,
        yields=yields,
        floors=None if floors is None else tuple(floors) if isinstance(floors, list) else (floors,),
        to_floor=to_floor,
        stays=bool(places and stations),
        item=_item_of(yields, consumes),
    )


def _item_of(yields: Mapping[str, Quantity], consumes: Mapping[str, Quantity]) -> str | None:
    """The skill's main item. The first whose amount depends on n, else the first made, else the first spent."""
    made = [f for f in yields if not prefix_of(f)]
    return next(iter([*[f for f in made if yields[f].per_n], *made, *[f for f in consumes if not prefix_of(f)]]), None)


def _part(data: Mapping[str, Any], part: str, entry: Entry) -> tuple[dict[str, Quantity], list[int] | int | None]:
    """The amounts and floors of a part. Zeros are left out."""
    given = data.get(part, {})
    if not isinstance(given, dict):
        entry.wrong(part, f"{_kind(given)} is no object; write {{}} for nothing.")
        return {}, None
    amounts: dict[str, Quantity] = {}
    floors: list[int] | int | None = None
    for key, value in given.items():
        where = f"{entry.label}, {part} {on_one_line(key)}"
        try:
            if key == LEVEL:
                floors = _floors(value, where)
                continue
            quantity = parse_quantity(_expression(value, part, where), where)
            if quantity != Quantity():
                amounts[_fluent(key, where)] = quantity
        except SpecError as error:
            entry.problems.append(str(error))
    return amounts, floors


def _expression(value: object, part: str, where: str) -> object:
    if part != "gain" or not isinstance(value, dict):
        return value
    if "expression" not in value:
        raise SpecError(f"{where}: it has no expression; write for example {{'expression': 'lambda n: n'}}.")
    return value["expression"]


def _floors(value: object, where: str) -> list[int] | int:
    if isinstance(value, list):
        if not all(isinstance(k, int) and not isinstance(k, bool) for k in value):
            raise SpecError(f"{where}: {value!r} is no list of floors; write numbers, as in [0, 1].")
        return list(dict.fromkeys(value))
    quantity = parse_quantity(_expression(value, "gain", where), where)
    if quantity.per_n:
        raise SpecError(f"{where}: {value!r} grows with n, but a floor doesn't; write a list such as [0, 1].")
    return quantity.base


def _fluent(key: str, where: str) -> str:
    if key.startswith(ACHIEVEMENT) or ":" not in key:
        return key
    for theirs, ours in _KEYS[:2]:
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    raise SpecError(
        f"{where}: no key of this format. Write an item, {ACHIEVEMENT}NAME, {LEVEL}, {_STAT}FLOOR or {_NEAR}STATION."
    )


def _code_of(text: object, entry: Entry, vocabulary: Vocabulary) -> str:
    """The author's unchanged code as a skill file. Adds its problems to ``entry``."""
    where = f"{entry.label}, functions"
    if not isinstance(text, str):
        entry.wrong("functions", f"{_kind(text)} is no text; give the Python of is_done, reward and network_number.")
        return ""
    try:
        code = _python_of(text.replace("\r\n", "\n").replace("\r", "\n"), where)
        code += _wrappers(code, where)
        entry.problems += read_skill_file(code, where, vocabulary.floors > 1).problems_in_a_plan()
    except ModuleError as error:
        entry.problems.append(str(error))
        return ""
    return code


def _python_of(text: str, where: str) -> str:
    """The Python in a text. All of it, or the parts between fences."""
    fenced = [textwrap.dedent(block).strip("\n") for block in _FENCE.findall(text)]
    try:
        parse(text, where)
    except ModuleError:
        if not fenced:
            raise
        text = "\n\n\n".join(fenced)
        parse(text, where)
    return text.strip("\n") + "\n"


def _wrappers(code: str, where: str) -> str:
    """is_done and reward functions that call the author's. Those may be named `task_3_reward`."""
    tree = parse(code, where)
    found: dict[str, list[tuple[str | None, ast.FunctionDef]]] = {}
    for node in functions_of(tree):
        if match := _MEMBER.fullmatch(node.name):
            found.setdefault(match[2], []).append((match[1], node))
    for member, candidates in found.items():
        if len(candidates) > 1:
            names = " and ".join(f"{node.name} at line {node.lineno}" for _, node in candidates)
            raise ModuleError(f"{where}: there is more than one {member}: {names}. Keep one.")
    numbers = {candidates[0][0] for candidates in found.values()}
    if len(numbers) > 1:
        names = ", ".join(candidates[0][1].name for candidates in found.values())
        raise ModuleError(f"{where}: {names} are not of one task; give all of them the same number.")
    taken = _names_at_the_top(code, where)
    parts = []
    for member in FUNCTIONS:
        for _, node in found.get(member, []):
            if node.name == member:
                continue
            if member in taken:
                raise ModuleError(f"{where}: {member} is something else than {node.name} there; rename it.")
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            call = ", ".join(f"{argument.arg}={argument.arg}" for argument in arguments)
            parts.append(f"\n\ndef {member}({ast.unparse(node.args)}):\n    return {node.name}({call})\n")
    return "".join(parts)


def _names_at_the_top(code: str, where: str) -> set[str]:
    try:
        table = symtable.symtable(code, where, "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModuleError(f"{where} does not parse: {error}") from error
    return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
