"""The knowledge bases. One folder for each game, specifications in `base.toml`, one code file for each skill.

The code is text here; only worker processes run it.
"""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from flowrl.config import ENVIRONMENTS
from flowrl.errors import ModuleError, UsageError, nearest_names
from flowrl.fluents import Vocabulary
from flowrl.planning.planner import steps_to_each
from flowrl.schema.skill import Quantity, Skill, SkillSpec
from flowrl.skillcode.skill_file import read_skill_file

_FOLDERS = {"Craftax-Classic-Symbolic-v1": "classic", "Craftax-Symbolic-v1": "craftax", "Tiny-Grid-v1": "tiny"}


@dataclass(frozen=True)
class KnowledgeBase:
    """The skills of a game before any is learned.

    Attributes:
        vocabulary: the game's fluents and how much of each there can be.
        skills: in curriculum order.
        stated: the skills whose range of n their author gave; the others' ranges follow from plans.
        interrupts: skills that pre-empt plans; they are learned inside chain runs and are no step of any plan.
    """

    env: str
    vocabulary: Vocabulary
    skills: tuple[Skill, ...]
    stated: frozenset[str] = frozenset()
    interrupts: tuple[Skill, ...] = ()

    def skill(self, name: str) -> Skill:
        """Look up a skill by name.

        Raises:
            UsageError: there is none; suggests the nearest names.
        """
        named = self.named()
        if name not in named:
            count = f"the {len(named)} of the knowledge base of {self.env}"
            raise UsageError(f"No skill {name!r} among {count}. {nearest_names(name, named)}")
        return named[name]

    def named(self) -> dict[str, Skill]:
        """The skills by name in curriculum order."""
        return {skill.name: skill for skill in self.skills}


@functools.cache
def load_base(env: str) -> KnowledgeBase:
    """Load a game's base with all ranges of n.

    Raises:
        UsageError: there is no such game, or it has no base.
        ModuleError: a skill's code is no skill file.
    """
    if env not in _FOLDERS:
        if env not in ENVIRONMENTS:
            raise UsageError(f"No environment {env!r}. {nearest_names(env, ENVIRONMENTS)}")
        raise UsageError(
            f"{env} has no knowledge base yet; {' and '.join(_FOLDERS)} have one. "
            "Train a task module of your own with `flowrl train --module FILE`."
        )
    folder = resources.files("flowrl.knowledge") / _FOLDERS[env]
    data = tomllib.loads((folder / "base.toml").read_text(encoding="utf-8"))
    vocabulary = Vocabulary.model_validate(data["vocabulary"])
    skills = [_read_skill(folder, entry) for entry in data["skills"]]
    stated = frozenset(skill.name for skill in skills if skill.spec.n_range is not None)
    interrupts = tuple(_read_skill(folder, entry) for entry in data.get("interrupts", ()))
    return KnowledgeBase(env, vocabulary, fill_ranges(skills, vocabulary), stated, interrupts)


def manual_of(env: str) -> str:
    """A game's manual for people and models.

    Raises:
        UsageError: there is no such game.
    """
    if env not in _FOLDERS:
        raise UsageError(f"No environment {env!r}. {nearest_names(env, _FOLDERS)}")
    return (resources.files("flowrl.knowledge") / _FOLDERS[env] / "manual.md").read_text(encoding="utf-8")


def _read_skill(folder: Traversable, entry: Mapping[str, Any]) -> Skill:
    entry = dict(entry)
    file = folder / entry.pop("code")
    text = file.read_text(encoding="utf-8")
    for problem in read_skill_file(text, str(file)).problems:
        raise ModuleError(problem)
    head = {name: entry.pop(name) for name in ("name", "description")}
    amounts = {name: _quantities(entry.pop(name, {})) for name in ("requires", "consumes", "yields")}
    return Skill(**head, code=text, spec=SkillSpec.model_validate({**amounts, **entry}))


def _quantities(amounts: Mapping[str, Any]) -> dict[str, Quantity]:
    """Amounts from `base.toml` as numbers or tables."""
    return {f: Quantity(base=a) if isinstance(a, int) else Quantity(**a) for f, a in amounts.items()}


def fill_ranges(skills: list[Skill], vocabulary: Vocabulary) -> tuple[Skill, ...]:
    """Give every skill an `n_range`. From 1 to the most that any plan asks.

    A skill that no plan of them reaches asks nothing of the others.
    """
    named = {skill.name: skill for skill in skills}
    tops = dict.fromkeys(named, 1)
    for steps in steps_to_each(named, vocabulary).values():
        for name, n in steps:
            tops[name] = max(tops[name], n)
    return tuple(with_range(skill, skill.spec.n_range or (1, tops[skill.name])) for skill in skills)


def with_range(skill: Skill, n_range: tuple[int, int] | None) -> Skill:
    """The skill with another range of n."""
    return skill.model_copy(update={"spec": skill.spec.model_copy(update={"n_range": n_range})})
