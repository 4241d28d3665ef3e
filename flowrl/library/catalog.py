"""All skills known in a home: shipped, own, drafted, learned. And plans with them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flowrl.errors import LibraryError, PlanError, UsageError
from flowrl.files import read_text
from flowrl.knowledge.base import KnowledgeBase, fill_ranges, load_base, with_range
from flowrl.knowledge.import_base import SUFFIX as IMPORTED_SUFFIX
from flowrl.knowledge.import_base import imported_file, read_imported
from flowrl.knowledge.own_skills import SUFFIX, read_own_text
from flowrl.knowledge.validate import problems_among, require_none
from flowrl.library.drafts import Drafts
from flowrl.library.home import SkillLibrary, read_description
from flowrl.library.trust import is_trusted
from flowrl.paths import HomePaths
from flowrl.planning.check import check
from flowrl.planning.frontier import Frontier, SkillStanding
from flowrl.planning.planner import plan
from flowrl.planning.symbolic import SymbolicState
from flowrl.schema.home import SkillRecord
from flowrl.schema.plan import Plan
from flowrl.schema.skill import Skill
from flowrl.skillcode.skill_file import read_user_file


def base_for(env: str, home: Path | None = None, folder: Path | None = None) -> KnowledgeBase:
    """A game's base with the skills of a home and a folder.

    A home of another game adds nothing. Whoever made the home may have written what lies in it: those skills are
    trusted only where this user vouched for them; ``folder`` is passed by hand, and its skills are. What a model wrote
    in this home takes the place of a skill of the same name.

    Raises:
        UsageError: there is no such game or folder, or it holds skills of another game.
        SpecError: a skill in them is wrong; says all that is, by file.
    """
    base = load_base(env)
    own = None if home is None or game_of(home) not in (env, None) else home_folder(home)
    if own is not None and own.is_dir():
        base = read_skill_folder(own, base, by_hand=False)
    base = base if folder is None else read_skill_folder(folder, base)
    return base if home is None or own is None else _with_drafts(base, home)


def _with_drafts(base: KnowledgeBase, home: Path) -> KnowledgeBase:
    """A base with a home's accepted drafts. They replace skills of the same name and stay untrusted."""
    drafts = {draft.skill.name: draft.skill for draft in Drafts(HomePaths(home)) if draft.status == "accepted"}
    if not drafts:
        return base
    held = [drafts.pop(skill.name, skill) for skill in base.skills]
    stated = base.stated | {skill.name for skill in [*held, *drafts.values()] if skill.spec.n_range is not None}
    skills = fill_ranges([*held, *drafts.values()], base.vocabulary)
    return replace(base, skills=skills, stated=stated)


def game_of(home: Path) -> str | None:
    """The game that a home holds. None where there is no home yet.

    Raises:
        LibraryError: its description is damaged.
    """
    paths = HomePaths(home)
    return read_description(paths).env if paths.description.exists() else None


def home_folder(home: Path) -> Path:
    """The home's folder for own and imported skills."""
    return home / "kb"


def base_without_import(env: str, home: Path, source: Path) -> KnowledgeBase:
    """A base without an earlier import of ``source``. The home's other skills are in it.

    Raises:
        UsageError: the home holds another game, or there is no such game.
        SpecError: a skill in the home's folder is wrong.
    """
    if (held := game_of(home)) not in (env, None):
        raise UsageError(f"The home {home} holds {held}, not {env}. Give another --home, or leave --env out.")
    folder, base = home_folder(home), load_base(env)
    left_out = [imported_file(source, folder).name]
    return read_skill_folder(folder, base, left_out, by_hand=False) if folder.is_dir() else base


def read_skill_folder(
    folder: Path, base: KnowledgeBase, leave_out: Collection[str] = (), by_hand: bool = True
) -> KnowledgeBase:
    """The base with the skills of a folder after its own. `.py` files and imported `.json` files, by name.

    A skill that is just as in the base already is passed over; another of the same name is an error. Where a range of
    n is not stated, it becomes wider if the new skills ask more of the others; it never narrows.

    Args:
        leave_out: names of files that are not read.
        by_hand: the user named the folder, so that the code of its `.py` files is trusted.

    Raises:
        UsageError: there is no such folder, or a file in it is for another game.
        SpecError: a skill is wrong, or does not go with the others; says all that is wrong, by file.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}. Make it, and write a skill into it: flowrl kb new 'My Skill'")
    files = sorted(p for p in folder.iterdir() if p.suffix in (SUFFIX, IMPORTED_SUFFIX) and p.name[0] not in "._")
    found: list[Skill] = []
    problems: list[str] = []
    for file in files:
        if file.name not in leave_out:
            skills, wrong = _read_any(file, base, by_hand)
            found += skills
            problems += wrong
    require_none(problems)
    base = _trusting(base, [skill for skill in found if skill.trusted])
    held = base.named()
    new = [skill for skill in found if not (skill.name in held and _is_same(skill, held[skill.name]))]
    require_none([f"{folder}: {problem}" for problem in problems_among(new, base.skills, base.vocabulary)])
    stated = base.stated | {skill.name for skill in new if skill.spec.n_range is not None}
    bare = [skill if skill.name in stated else with_range(skill, None) for skill in [*base.skills, *new]]
    filled = tuple(_widened(skill, held.get(skill.name)) for skill in fill_ranges(bare, base.vocabulary))
    return replace(base, skills=filled, stated=stated)


def _read_any(file: Path, base: KnowledgeBase, by_hand: bool) -> tuple[list[Skill], list[str]]:
    if file.suffix == IMPORTED_SUFFIX:
        return list(read_imported(file, base.env, base.vocabulary)), []
    skill, problems = read_own_text(read_user_file(file), str(file), base.vocabulary)
    if skill is None:
        return [], problems
    return [skill.model_copy(update={"trusted": by_hand or is_trusted(skill.code, base.env)})], problems


def _is_same(skill: Skill, held: Skill) -> bool:
    trusting = {"trusted": True}  # who may vouch for a skill makes no other of it
    return with_range(skill.model_copy(update=trusting), None) == with_range(held.model_copy(update=trusting), None)


def _trusting(base: KnowledgeBase, trusted: Collection[Skill]) -> KnowledgeBase:
    """The base with trust in skills from trusted places."""
    by_name = {skill.name: skill for skill in trusted}
    skills = tuple(
        skill.model_copy(update={"trusted": True})
        if skill.name in by_name and _is_same(by_name[skill.name], skill)
        else skill
        for skill in base.skills
    )
    return replace(base, skills=skills)


def _widened(skill: Skill, before: Skill | None) -> Skill:
    now, then = skill.spec.n_range, None if before is None else before.spec.n_range
    return skill if now is None or then is None else with_range(skill, (then[0], max(now[1], then[1])))


def spelt_as_known(base: KnowledgeBase, name: str) -> str:
    """The name as the base spells it. Capitals make no difference; unknown names stay as they are."""
    return {known.casefold(): known for known in base.named()}.get(name.casefold(), name)


def skill_of(library: SkillLibrary, record: SkillRecord) -> Skill:
    """A skill of the library with the code it was trained with.

    It is trusted if it ships with the package or this user approved it. What the home says of it does not count.
    """
    code = read_text(library.skill_paths(record).module)
    return Skill(
        name=record.name,
        description=record.description,
        spec=record.spec,
        code=code,
        is_module=record.is_module,
        trusted=is_trusted(code, library.description.env),
    )


def known_skills(library: SkillLibrary) -> dict[str, Skill]:
    """The learned skills of the library by name."""
    return {r.name: skill_of(library, r) for r in library.records() if r.status == "learned"}


def records_of(env: str, home: Path) -> dict[str, SkillRecord]:
    """A home's skills for a game by name."""
    if not (home / "home.json").exists():
        return {}
    library = SkillLibrary.open(home)
    return library.named() if library.description.env == env else {}


def learned_for(env: str, home: Path) -> dict[str, Skill]:
    """The learned skills that the home holds for a game by name."""
    return known_skills(SkillLibrary.open(home)) if records_of(env, home) else {}


def with_library(base: KnowledgeBase, home: Path) -> KnowledgeBase:
    """A base followed by a home's skills."""
    lacking = [record for name, record in records_of(base.env, home).items() if name not in base.named()]
    if not lacking:
        return base
    library = SkillLibrary.open(home)
    return replace(base, skills=(*base.skills, *(skill_of(library, record) for record in lacking)))


@dataclass(frozen=True)
class Outlook:
    """A plan as people look at it.

    Attributes:
        after: what is held at least after each step.
        status: of each of its skills: "learned", "weak", or "unknown" where the library lacks it.
    """

    plan: Plan
    after: tuple[SymbolicState, ...]
    status: dict[str, str]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each step with what is held after it."""
        return [
            step.model_dump() | {"status": self.status[step.skill], "floor": state.floor, "after": state.shown()}
            for step, state in zip(self.plan.steps, self.after, strict=True)
        ]


def plan_goal(base: KnowledgeBase, home: Path, goal: str, only_learned: bool = False) -> Outlook:
    """The plan for a goal with the home's experts.

    Args:
        only_learned: use what the home has learned; else every skill of the base counts as known, so that a plan
            shows the way before anything is learned.

    Raises:
        UsageError: the goal is unknown.
        PlanError: no plan reaches it.
    """
    records = records_of(base.env, home)
    skills = learned_for(base.env, home) if only_learned else base.named()
    experts = {name: record.expert_idx for name, record in records.items()}
    found = plan(goal, skills, vocabulary=base.vocabulary, experts=experts, unlearned=base.named())
    status = {step.skill: records[step.skill].status if step.skill in records else "unknown" for step in found.steps}
    return Outlook(_pre_empted(found, records), check(found, skills, vocabulary=base.vocabulary), status)


def frontier_of(base: KnowledgeBase, home: Path) -> list[SkillStanding]:
    """Where each skill of the base stands."""
    return Frontier(learned_for(base.env, home), base.vocabulary, base.skills).judge_all(base.skills)


def interrupts_of(plan: Plan, env: str) -> dict[str, Skill]:
    """The skills that pre-empt a plan by name. They ship with the game's base.

    Raises:
        LibraryError: the base has no such skill.
        UsageError: one of them has the name of a step.
    """
    known = {skill.name: skill for skill in load_base(env).interrupts}
    for each in plan.interrupts:
        if each.skill not in known:
            raise LibraryError(
                f"{plan.goal} is played with {each.skill!r}, which the knowledge base of {env} lacks: another flowrl "
                "trained it. Play it with that one, or train it again."
            )
        if each.skill in {step.skill for step in plan.steps}:
            raise UsageError(
                f"{each.skill!r} is a step of the plan for {plan.goal!r} and also what pre-empts it: give your own "
                "skill another name."
            )
    return {each.skill: known[each.skill] for each in plan.interrupts}


def plan_with_library(library: SkillLibrary, goal: str) -> tuple[Plan, dict[str, Skill]]:
    """A plan of the library's own skills. A weak skill may be the goal itself.

    Raises:
        UsageError, PlanError: the goal is unknown or out of the library's reach.
    """
    records, skills = library.named(), known_skills(library)
    goal = {name.casefold(): name for name in records}.get(goal.casefold(), goal)
    if goal in records:
        skills[goal] = skill_of(library, records[goal])
        if records[goal].is_module:
            return records[goal].plan, skills
    if not skills:
        command = library.command("grow", "--skills", "1")
        raise PlanError(f"{library.paths.root} holds no learned skill. Grow one: {command}")
    experts = {name: record.expert_idx for name, record in records.items()}
    vocabulary = load_base(library.description.env).vocabulary
    try:
        found = plan(goal, skills, vocabulary=vocabulary, experts=experts)
    except PlanError:
        # What was trained in one run, weak skills among it, is played as it was trained.
        if goal not in records or not all(step.skill in records for step in records[goal].plan.steps):
            raise
        return records[goal].plan, {
            step.skill: skill_of(library, records[step.skill]) for step in records[goal].plan.steps
        }
    return _pre_empted(found, records), skills


def _pre_empted(found: Plan, records: Mapping[str, SkillRecord]) -> Plan:
    """A plan with what pre-empted its last skill's in training."""
    own = records.get(found.steps[-1].skill)
    return found.model_copy(update={"interrupts": own.plan.interrupts if own is not None else ()})
