"""A user's own skills: one `.py` file each, with a docstring, a literal SPEC, `is_done` and `reward`.

    \"\"\"Collect Two: chop trees until n + 1 wood are in hand.\"\"\"

    SPEC = {"yields": {"wood": "n + 1"}, "item": "wood"}

    def is_done(inventory, n): ...
    def reward(inventory, inventory_diff, n): ...

The file is read as text. SPEC is data and is cut out of the code, which leaves a skill file like those of the package.
A folder of such files, and of imports, extends a base.
"""

import ast
import textwrap
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flowrl.errors import PlanError, SpecError, nearest_names
from flowrl.fluents import Vocabulary
from flowrl.knowledge.base import KnowledgeBase
from flowrl.knowledge.quantities import parse_quantity
from flowrl.knowledge.validate import problems_among, problems_of, require_none
from flowrl.planning.planner import plan
from flowrl.schema.skill import Quantity, Skill, SkillSpec
from flowrl.skillcode.inputs import FULL_GAME_ONLY, SKILL_INPUTS
from flowrl.skillcode.skill_file import read_skill_file, read_user_file
from flowrl.skillcode.source import without_statement

SUFFIX = ".py"
_AMOUNTS = ("requires", "consumes", "yields")


def read_own_skill(path: Path, vocabulary: Vocabulary) -> Skill:
    """Read the skill of a user's file.

    Raises:
        UsageError: the file cannot be read.
        SpecError: it is no skill file, or its specification is invalid; lists all problems.
    """
    skill, problems = read_own_text(read_user_file(path), str(path), vocabulary)
    require_none(problems)
    if skill is None:
        raise SpecError(f"{path} holds no skill. See how one is written: flowrl kb new 'My Skill'")
    return skill


def check_file(path: Path, base: KnowledgeBase) -> list[str]:
    """Why a user's file cannot join a base. A sentence each.

    Raises:
        UsageError: the file cannot be read.
    """
    return check_text(read_user_file(path), str(path), base)


def check_text(text: str, file: str, base: KnowledgeBase) -> list[str]:
    """Why the text of a skill file cannot join a base. A sentence each."""
    skill, problems = read_own_text(text, file, base.vocabulary)
    if skill is not None and not problems:
        problems = [f"{file}: {problem}" for problem in problems_among([skill], base.skills, base.vocabulary)]
    return problems


def obstacle_of(skill: Skill, base: KnowledgeBase) -> str | None:
    """Why no plan of all skills reaches this one. None if one would."""
    try:
        plan(skill.name, {**base.named(), skill.name: skill}, vocabulary=base.vocabulary)
    except PlanError as error:
        return str(error)
    return None


def read_own_text(text: str, file: str, vocabulary: Vocabulary) -> tuple[Skill | None, list[str]]:
    """The skill as far as it can be read, and all problems."""
    read = read_skill_file(text, file, vocabulary.floors > 1)
    if read.parse_problems:
        return None, list(read.parse_problems)
    tree = read.tree
    name, description, problems = _heading(tree, file)
    nodes = [node for node in tree.body if _is_spec(node)]
    if len(nodes) == 1:
        (node,) = nodes
        spec, wrong = _spec_of(node, name or file)
        if (code := without_statement(text, tree, node)) is None:
            wrong.append(f"SPEC must stand on lines of its own; line {node.lineno} has more.")
        wrong += [
            f"line {used.lineno} uses SPEC, but only the planner sees it; write the amount out, or take n."
            for used in ast.walk(tree)
            if isinstance(used, ast.Name) and used.id == "SPEC" and isinstance(used.ctx, ast.Load)
        ][:1]
    else:
        spec, code = None, None
        wrong = [
            "it lacks SPEC; add a line such as SPEC = {'yields': {'wood': 'n'}}."
            if not nodes
            else f"SPEC is assigned {len(nodes)} times, at lines {', '.join(str(n.lineno) for n in nodes)}; keep one."
        ]
    skill = None
    if name and spec is not None:
        skill = Skill(name=name, description=description, spec=spec, code=code or text)
        # If a yield could not be read, "yields nothing" would only repeat that.
        unread = tuple(f"{name!r}, {part}: " for part in _AMOUNTS if any(f"{name!r}, {part}" in each for each in wrong))
        wrong += [problem for problem in problems_of(skill, vocabulary) if not problem.startswith(unread)]
    problems += [f"{file}: {problem}" for problem in wrong] + list(read.problems_in_a_plan())
    return skill, problems


def _heading(tree: ast.Module, file: str) -> tuple[str, str, list[str]]:
    """What the file's docstring says and its problems."""
    first = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    name, colon, description = (" ".join(part.split()) for part in first.partition(":"))
    if not (name and colon and description):
        return name, "", [f'{file} must begin with a docstring such as """My Skill: what it does, in a sentence."""']
    return name, description[0].upper() + description[1:], []


def _is_spec(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == "SPEC" for target in targets)


def _spec_of(node: ast.stmt, name: str) -> tuple[SkillSpec | None, list[str]]:
    """SPEC as a value and its problems. Nothing in it is run."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    try:
        literal = None if value is None else ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None, [f"SPEC, at line {node.lineno}, must be plain data: texts, numbers, lists and dicts; no names."]
    if not isinstance(literal, dict):
        return None, [f"SPEC, at line {node.lineno}, must be a dict such as {{'yields': {{'wood': 'n'}}}}."]
    assert value is not None
    problems = [f"SPEC names {key!r} twice; keep one." for key in _repeated_keys(value)]
    known = [key for key in literal if key in _FIELDS]
    for key in literal:
        if key not in known:
            problems.append(f"SPEC has no field {key!r}. {nearest_names(str(key), _FIELDS)}")
    values: dict[str, Any] = {}
    for key in known:
        if key in _AMOUNTS:
            values[key], unread = _amounts(literal[key], f"{name!r}, {key}")
            problems += unread
        else:
            values[key] = _as_tuples(literal[key])
    try:
        return SkillSpec.model_validate(values, strict=True), problems
    except ValidationError as error:
        problems += [_field_problem(name, detail) for detail in error.errors()]
        wrong_fields = {str(detail["loc"][0]) for detail in error.errors()}
    # The rest is checked as well, so that the next check finds nothing new.
    rest = {key: value for key, value in values.items() if key not in wrong_fields}
    return SkillSpec.model_validate(rest, strict=True), problems


def _repeated_keys(value: ast.expr) -> list[object]:
    repeated: list[object] = []
    for node in ast.walk(value):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)] if isinstance(node, ast.Dict) else []
        repeated += [key for i, key in enumerate(keys) if key in keys[:i]]
    return repeated


def _amounts(value: object, where: str) -> tuple[dict[str, Quantity], list[str]]:
    """The readable amounts and problems of the others."""
    if not isinstance(value, dict):
        return {}, [f"{where}: {value!r} is not valid; write a dict such as {{'wood': 2}}."]
    amounts: dict[str, Quantity] = {}
    problems = []
    for fluent, amount in value.items():
        try:
            is_number = isinstance(amount, int) and not isinstance(amount, bool)
            amounts[str(fluent)] = Quantity(base=amount) if is_number else parse_quantity(amount, f"{where} {fluent}")
        except SpecError as error:
            problems.append(str(error))
    return amounts, problems


def _as_tuples(value: object) -> object:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _field_problem(name: str, detail: Any) -> str:
    field = str(detail["loc"][0])
    problem = f"{name!r}, {field}: {detail['input']!r} is not valid: {detail['msg'].lower()}."
    return f"{problem} {_EXAMPLES.get(field, '')}".strip()


_EXAMPLES = {
    "floors": "For example: 'floors': [0, 1].",
    "to_floor": "For example: 'to_floor': 1.",
    "stays": "Write True or False.",
    "practice": "For example: 'practice': [('Collect Wood', 4)].",
    "item": "For example: 'item': 'wood'.",
    "seeks": "For example: 'seeks': 'TREE'.",
    "n_range": "For example: 'n_range': (1, 9).",
    "max_n": "For example: 'max_n': 4.",
}


_FIELDS = {
    "requires": "what must hold at the start, at least, and is kept: {'near:crafting_table': 1}",
    "consumes": "what is spent; it must be there as well: {'wood': 'n + 1'}",
    "yields": "what holds at the end, at least: the amount in hand, not the gain",
    "floors": "the floors where it can be done: [0, 1]; left out: any",
    "to_floor": "the floor that it ends on, if it goes to one",
    "stays": "True if the player stays where it stands, so that stations within reach stay so",
    "practice": "skills played before it in its own run: [('Collect Wood', 4)]",
    "item": "the item whose amount in hand the policy is shown",
    "seeks": "the block that it looks for: 'TREE'; finding new ground can be paid for until one is known",
    "n_range": "the least and largest n that it trains on: (1, 9); left out: what plans ask",
    "max_n": "the largest n that the game allows at all, where the amounts don't say so",
}

_TEXT = '''"""{name}: gather {item} until n of it are in hand."""

from flowrl.env.shaping import gathered

# What planner and trainer go by. An amount is a number or a text such as "n" or "2*n + 1".
#
{fields}
#
# Names: an item ({items}, ...), achievement:NAME, near:STATION, placed:STATION,
# intrinsic:NAME, kills:FLOOR, reached:FLOOR. All there are: flowrl kb list
SPEC = {{
    "yields": {{"{item}": "n"}},
    "item": "{item}",
}}

# Both functions are about one world, after the step unless said, and written with jax.numpy. They may take, by name:
#
{inputs}


def is_done(inventory, n):
    """Returns whether n are in hand; it must not hold when the task begins."""
    return inventory.{item} >= n


def reward(inventory, inventory_diff, n):
    """Returns about 1 in all for doing it once, and nothing for going in circles."""
    return gathered(inventory.{item}, inventory_diff.{item}, n)
'''


def template(name: str, vocabulary: Vocabulary) -> str:
    """A valid skill file with comments on all options."""
    item = next((item for item in vocabulary.items if item not in vocabulary.tiers), "wood")
    inputs = {k: text for k, text in SKILL_INPUTS.items() if vocabulary.floors > 1 or k not in FULL_GAME_ONLY}
    # What pre-empts plans ships with the base.
    assert _FIELDS.keys() == SkillSpec.model_fields.keys() - {"interrupt"}
    return _TEXT.format(
        name=name,
        item=item,
        items=", ".join(vocabulary.items[:3]) or item,
        fields=_listed(_FIELDS),
        inputs=_listed(inputs),
    )


def _listed(entries: dict[str, str]) -> str:
    """A comment with one folded entry a line."""
    width = max(map(len, entries)) + 2
    lines = []
    for name, text in entries.items():
        first, *rest = textwrap.wrap(text, 112 - width, break_long_words=False, break_on_hyphens=False)
        lines += [f"#   {name:{width}}{first}", *(f"#   {'':{width}}{line}" for line in rest)]
    return "\n".join(lines)
