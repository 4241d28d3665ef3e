"""Plans: skill executions in order."""

from flowrl.schema.frozen import Frozen
from flowrl.schema.skill import InterruptSpec


class PlanStep(Frozen):
    """One skill execution of a plan. Do ``skill`` until ``n`` is reached, by global expert ``expert``."""

    skill: str
    n: int
    expert: int | None = None
    why: str = ""


class PlanInterrupt(Frozen):
    """A skill that pre-empts a plan, with an expert that lies beside the goal's."""

    skill: str
    expert: int
    rule: InterruptSpec


class Plan(Frozen):
    """Skill executions from a new world to the goal.

    Attributes:
        interrupts: what pre-empts them; the first that applies does.
    """

    goal: str
    steps: tuple[PlanStep, ...]
    interrupts: tuple[PlanInterrupt, ...] = ()

    @property
    def players(self) -> list[tuple[str, int | None]]:
        """Skill and global expert of each task, interrupts last."""
        steps = [(step.skill, step.expert) for step in self.steps]
        return [*steps, *((each.skill, each.expert) for each in self.interrupts)]
