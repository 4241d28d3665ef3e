"""Plans of skills from a new world to a goal.

`plan` searches backwards (`search.py`) and hands out nothing that `check` has not replayed forwards.
"""

import time
from collections.abc import Mapping, Sequence

from flowrl.errors import PlanError
from flowrl.fluents import Vocabulary
from flowrl.planning.check import check
from flowrl.planning.explain import Obstacles, explain_failure, purpose_of
from flowrl.planning.goals import Goal, parse_goal
from flowrl.planning.search import Choice, Found, Search
from flowrl.planning.symbolic import ANYTHING, SymbolicState, new_world
from flowrl.schema.plan import Plan, PlanStep
from flowrl.schema.skill import Skill

SECONDS = 20.0
"""How long a search may take; what the bases and people ask for takes milliseconds."""


def plan(
    goal: str,
    skills: Mapping[str, Skill],
    *,
    n: int | None = None,
    vocabulary: Vocabulary = ANYTHING,
    start: SymbolicState | None = None,
    experts: Mapping[str, int] | None = None,
    unlearned: Mapping[str, Skill] | None = None,
    seconds: float = SECONDS,
) -> Plan:
    """A plan that reaches the goal.

    It has the fewest steps where the search stays small, else nearly so. Amounts stay within the range that a skill
    trains on, where they can.

    Args:
        goal: a skill's name, or a fluent such as "wood_pickaxe", "wood=3", "EAT_COW" or "floor:1", or several with
            commas between.
        skills: the skills that may be used, by name.
        n: the amount asked of the goal; None: what the goal says, else the top of the skill's range, else 1.
        vocabulary: the game's fluents and how much of each there can be.
        start: what is held at the start; None: a new world.
        experts: the global expert of each skill that has one.
        unlearned: other skills of the game, named where they would help.
        seconds: how long to search at most.

    Raises:
        UsageError: nothing is called ``goal``, or its amount makes no sense.
        PlanError: no plan of these skills reaches it; says what is missing.
    """
    start = new_world(vocabulary) if start is None else start
    wanted = parse_goal(goal, {**(unlearned or {}), **skills}, vocabulary, n)
    known = dict(skills)
    found, obstacles = _search(wanted, known, vocabulary, start, seconds)
    if found is None:
        raise PlanError(explain_failure(wanted, known, unlearned or {}, start, obstacles))
    choices = _without_needless(found, wanted, known, vocabulary, start)
    steps = tuple(
        PlanStep(skill=name, n=amount, expert=(experts or {}).get(name), why=purpose_of(i, choices, skills))
        for i, (name, amount) in enumerate(choices)
    )
    made = Plan(goal=wanted.text, steps=steps)
    check(made, skills, vocabulary=vocabulary, start=start)
    return made


def _without_needless(
    found: Found, goal: Goal, skills: Mapping[str, Skill], vocabulary: Vocabulary, start: SymbolicState
) -> tuple[Choice, ...]:
    """The steps without needless ones. A plan with the fewest steps has none.

    A step taken out later may free an earlier one, so it goes from the last to the first. The steps that the goal
    itself gives, at the end, stay.
    """
    choices = list(found.choices)
    given = 0 if goal.own is None else 1 + len(skills[goal.own.name].spec.practice)
    for i in reversed(range(len(choices) - given if found.weight > 1 else 0)):
        fewer = tuple(PlanStep(skill=name, n=n) for name, n in choices[:i] + choices[i + 1 :])
        try:
            check(Plan(goal=goal.text, steps=fewer), skills, vocabulary=vocabulary, start=start)
        except PlanError:
            continue
        del choices[i]
    return tuple(choices)


def _search(
    goal: Goal, skills: Mapping[str, Skill], vocabulary: Vocabulary, start: SymbolicState, seconds: float
) -> tuple[Found | None, Obstacles]:
    """The plan found and what stood in the way. Amounts stay within the ranges that skills train on if they can."""
    wanted = frozenset(want.name for want in goal.wants if want.is_skill)
    found, obstacles = None, Obstacles(vocabulary)
    deadline = time.monotonic() + seconds
    if wanted <= skills.keys():
        for lifted in (False, True):
            search = Search(skills, vocabulary, start, wanted, lifted)
            found, obstacles = search.find(goal, deadline - time.monotonic()), search.obstacles
            if found is not None:
                break
    return found, obstacles


def steps_to_each(skills: Mapping[str, Skill], vocabulary: Vocabulary = ANYTHING) -> dict[str, tuple[Choice, ...]]:
    """The steps to every reachable skill."""
    search = Search(skills, vocabulary, new_world(vocabulary), frozenset(skills))
    found = {name: search.find(parse_goal(name, skills, vocabulary), SECONDS) for name in skills}
    return {name: each.choices for name, each in found.items() if each is not None}


def dependencies(plan: Plan) -> tuple[str, ...]:
    """The distinct skills before the goal's own."""
    own = plan.steps[-1].skill
    return tuple(dict.fromkeys(step.skill for step in plan.steps if step.skill != own))


def curriculum_for(
    goal: str, skills_in_order: Sequence[Skill], *, n: int | None = None, vocabulary: Vocabulary = ANYTHING
) -> list[str]:
    """The skills that a goal needs in curriculum order. The goal's own skill is included.

    Raises:
        UsageError: nothing is called so.
        PlanError: no plan of these skills reaches it.
    """
    found = plan(goal, {skill.name: skill for skill in skills_in_order}, n=n, vocabulary=vocabulary)
    used = {step.skill for step in found.steps}
    return [skill.name for skill in skills_in_order if skill.name in used]
