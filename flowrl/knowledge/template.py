"""The file that `flowrl kb new` writes: a complete skill, with comments on all options."""

import textwrap

from flowrl.fluents import Vocabulary
from flowrl.schema.skill import SkillSpec
from flowrl.skillcode.inputs import FULL_GAME_ONLY, SKILL_INPUTS

_FIELDS = {
    "requires": "what must hold at the start, at least, and is kept: {'near:crafting_table': 1}",
    "consumes": "what is spent; it must be there as well: {'wood': 'n + 1'}",
    "yields": "what holds at the end, at least: the amount in hand, not the gain",
    "floors": "the floors where it can be done: [0, 1]; left out: any",
    "to_floor": "the floor that it ends on, if it goes to one",
    "stays": "True if the player stays where it stands, so that stations within reach stay so",
    "practice": "skills played before it in its own run: [('Collect Wood', 4)]",
    "item": "the item whose amount in hand the policy is shown",
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
    """The text of a skill file for a new skill: valid, with comments on all options."""
    item = next((item for item in vocabulary.items if item not in vocabulary.tiers), "wood")
    inputs = {k: text for k, text in SKILL_INPUTS.items() if vocabulary.floors > 1 or k not in FULL_GAME_ONLY}
    assert _FIELDS.keys() == SkillSpec.model_fields.keys()
    return _TEXT.format(
        name=name,
        item=item,
        items=", ".join(vocabulary.items[:3]) or item,
        fields=_listed(_FIELDS),
        inputs=_listed(inputs),
    )


def _listed(entries: dict[str, str]) -> str:
    """A comment with one entry a line, folded if long."""
    width = max(map(len, entries)) + 2
    lines = []
    for name, text in entries.items():
        first, *rest = textwrap.wrap(text, 112 - width, break_long_words=False, break_on_hyphens=False)
        lines += [f"#   {name:{width}}{first}", *(f"#   {'':{width}}{line}" for line in rest)]
    return "\n".join(lines)
