"""Plans: skill executions in order."""

from flowrl.schema.frozen import Frozen


class PlanStep(Frozen):
    """One skill execution of a plan. Do ``skill`` until ``n`` is reached, by global expert ``expert``."""

    skill: str
    n: int
    expert: int | None = None
    why: str = ""


class Plan(Frozen):
    """Skill executions from a new world to the goal."""

    goal: str
    steps: tuple[PlanStep, ...]
