"""Import of published-style knowledge bases. A whole file or nothing, and no code runs.

Each import becomes one JSON file in the home's folder `kb`, beside the user's own skills. Imported code is never
trusted: it runs in the sandbox alone, and workers run the sandbox's export.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flowrl.errors import SpecError, UsageError
from flowrl.files import read_json, write_json
from flowrl.fluents import Vocabulary
from flowrl.knowledge.base import KnowledgeBase
from flowrl.knowledge.published import PUBLISHED, translate
from flowrl.knowledge.validate import problems_among, problems_of, require_none
from flowrl.paths import slug
from flowrl.schema.frozen import Frozen
from flowrl.schema.skill import Skill
from flowrl.skillcode.skill_file import read_skill_file, read_user_file

SUFFIX = ".json"
_EXAMPLE = 'It should be JSON of the form {"skills": [{"skill_name": ..., "gain": ...}, ...]}.'


class ImportedSkills(Frozen):
    """The skills of one import: a file in a home's folder `kb`.

    Attributes:
        source: the name of the imported file.
    """

    format: Literal[1] = 1
    env: str
    source: str
    skills: tuple[Skill, ...]


@dataclass(frozen=True)
class ImportReport:
    """The outcome of reading a published-style file.

    Attributes:
        skills: the new ones, untrusted, in the file's order.
        held: names that the base has already; the base's skills stay.
        notes: what was ignored, a sentence each.
    """

    source: Path
    env: str
    skills: tuple[Skill, ...]
    held: tuple[str, ...]
    notes: tuple[str, ...]


def import_base(path: Path, vocabulary: Vocabulary, base: KnowledgeBase) -> ImportReport:
    """Translate and check a published-style JSON file. Writes and runs nothing.

    A skill whose name the base has, in any capitalisation, is checked but not imported: the base's was tested in play.

    Raises:
        UsageError: the file cannot be read.
        SpecError: something in it is wrong; each line names skill and field.
    """
    entries = _entries(path)
    skills: list[Skill] = []
    problems: list[str] = []
    notes: list[str] = []
    for i, data in enumerate(entries, start=1):
        skill, entry = translate(data, f"skill {i}", vocabulary)
        problems += entry.problems
        notes += entry.notes
        skills += [] if skill is None else [skill]
    inside = {skill.name.casefold() for skill in skills}
    others = [skill for skill in base.skills if skill.name.casefold() not in inside]
    known = {skill.name.casefold() for skill in base.skills}
    new = [skill for skill in skills if skill.name.casefold() not in known]
    # The file must be consistent with the skills that the base has already, and without them.
    for each, beside in ((skills, others), (new, base.skills)):
        problems = problems or problems_among(each, beside, vocabulary, PUBLISHED)
    require_none([f"{path}: {problem}" for problem in problems])
    held = [skill.name for skill in skills if skill.name.casefold() in known]
    return ImportReport(path, base.env, tuple(new), tuple(held), tuple(notes))


def _entries(path: Path) -> list[Any]:
    """The unchecked list of skills of a file."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise SpecError(f"{path}: an object has the key {key!r} twice; keep one.")
        return dict(pairs)

    try:
        data = json.loads(read_user_file(path), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise SpecError(f"{path} is no JSON: {error.msg} at line {error.lineno}. {_EXAMPLE}") from error
    except RecursionError as error:
        raise SpecError(f"{path} is nested too deep to be a knowledge base. {_EXAMPLE}") from error
    except ValueError as error:
        raise SpecError(f"{path} holds a number that cannot be read: {error}. {_EXAMPLE}") from error
    entries = data.get("skills") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise SpecError(f"{path} has no list of skills. {_EXAMPLE}")
    if not entries:
        raise SpecError(f"{path} has a list of skills, but it is empty. {_EXAMPLE}")
    return entries


def imported_file(source: Path, folder: Path) -> Path:
    """The path of a file's import. Another import of it replaces this one."""
    return folder / f"{slug(source.stem)}{SUFFIX}"


def write_imported(report: ImportReport, folder: Path) -> Path:
    """Write an import's new skills into one file. An earlier import of it is replaced if no skill is lost.

    Raises:
        UsageError: there is nothing new to write, or skills of another file would be lost.
        PlatformError: the disk is full; an earlier file is unchanged.
    """
    if not report.skills:
        raise UsageError(f"{report.source} holds nothing new: the base has all its skills already.")
    file = imported_file(report.source, folder)
    there = {*report.held, *(skill.name for skill in report.skills)}
    before = read_json(file, ImportedSkills).skills if file.exists() else ()
    if lost := [skill.name for skill in before if skill.name not in there]:
        raise UsageError(
            f"{file} holds an earlier import with {', '.join(lost)}, which {report.source} lacks and which would be "
            f"lost. Rename one of the two, or remove {file} first."
        )
    write_json(file, ImportedSkills(env=report.env, source=report.source.name, skills=report.skills))
    return file


def read_imported(file: Path, env: str, vocabulary: Vocabulary) -> list[Skill]:
    """Read the untrusted skills of a file from `write_imported`.

    Raises:
        LibraryError: it is damaged, or no such file.
        UsageError: it is for another game.
        SpecError: it was edited and is no longer valid.
    """
    held = read_json(file, ImportedSkills)
    if held.env != env:
        raise UsageError(f"{file} holds skills of {held.env}, not of {env}. Give --env {held.env}, or remove the file.")
    problems: list[str] = []
    for skill in held.skills:
        problems += problems_of(skill, vocabulary)
        code = read_skill_file(skill.code, f"{skill.name!r}, functions", vocabulary.floors > 1)
        problems += code.problems_in_a_plan()
        if skill.is_module:
            problems.append(f"{skill.name!r}, is_module: an imported skill is no task module; write false.")
    require_none([f"{file}: {problem}" for problem in problems])
    return [skill.model_copy(update={"trusted": False}) for skill in held.skills]
