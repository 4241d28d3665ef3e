"""The independent oracle. A plan replayed step by step, sharing no code with the search that found it."""

from collections.abc import Mapping, Sequence

from flowrl.errors import PlanError, UsageError, nearest_names
from flowrl.fluents import Vocabulary
from flowrl.planning.goals import Want, parse_goal
from flowrl.planning.symbolic import ANYTHING, Lack, SymbolicState, apply, missing, new_world
from flowrl.schema.plan import Plan, PlanStep
from flowrl.schema.skill import Skill


def check(
    plan: Plan, skills: Mapping[str, Skill], *, vocabulary: Vocabulary = ANYTHING, start: SymbolicState | None = None
) -> tuple[SymbolicState, ...]:
    """What is held at least after each step of a plan. The plan is replayed from ``start``, a new world by default.

    Raises:
        PlanError: names the first step that lacks something, or says that the goal does not hold at the end.
    """
    state = new_world(vocabulary) if start is None else start
    states = []
    for i, step in enumerate(plan.steps):
        where = f"Step {i + 1} of {len(plan.steps)} of the plan for {plan.goal!r}, {step.skill!r} with n={step.n},"
        if step.skill not in skills:
            raise PlanError(f"{where} is no known skill. {nearest_names(step.skill, skills)}")
        if step.n < 1:
            raise PlanError(f"{where} asks for less than 1.")
        spec = skills[step.skill].spec
        if lacks := missing(state, spec, step.n, vocabulary):
            raise PlanError(f"{where} {_sentence(lacks[0], state)}")
        state = apply(state, spec, step.n)
        states.append(state)
    _check_goal(plan, skills, vocabulary, state)
    return tuple(states)


def _sentence(lack: Lack, state: SymbolicState) -> str:
    if lack.part == "yields":
        return f"yields {lack.asked} {lack.fluent}, but only {lack.there} fit in hand."
    if lack.part == "floors":
        return f"is done on floor {lack.fluent}, but by then the player is on floor {state.floor}."
    if lack.part == "max_n":
        return f"cannot be done beyond n={lack.there}."
    return f"{lack.part} {lack.asked} {lack.fluent}, but only {lack.there} is there by then."


def _check_goal(plan: Plan, skills: Mapping[str, Skill], vocabulary: Vocabulary, state: SymbolicState) -> None:
    try:
        goal = parse_goal(plan.goal, skills, vocabulary)
    except UsageError as error:
        raise PlanError(f"What the plan is for makes no sense: {error}") from error
    if goal.own is not None and (not plan.steps or plan.steps[-1].skill != goal.own.name):
        raise PlanError(f"The plan for {plan.goal!r} does not end with it.")
    for want in goal.wants:
        if want.is_skill:
            _check_done(plan, want, plan.steps if goal.own is None else plan.steps[-1:])
        elif state.amount(want.name) < want.amount:
            there = state.amount(want.name)
            raise PlanError(f"At the end of the plan for {plan.goal!r} only {there} {want.name} is there.")


def _check_done(plan: Plan, want: Want, steps: Sequence[PlanStep]) -> None:
    """Require that a step does the skill wanted."""
    amounts = [step.n for step in steps if step.skill == want.name]
    if not amounts:
        raise PlanError(f"The plan for {plan.goal!r} never does {want.name!r}.")
    if max(amounts) < want.amount:
        raise PlanError(f"The plan for {plan.goal!r} does {want.name!r} with n={max(amounts)}, not {want.amount}.")
