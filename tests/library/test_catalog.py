"""What plans are played with."""

import pytest

from flowrl.errors import UsageError
from flowrl.knowledge.base import load_base
from flowrl.library.catalog import interrupts_of
from flowrl.schema.plan import Plan, PlanInterrupt, PlanStep
from flowrl.schema.skill import InterruptSpec
from tests.support.played import CLASSIC


def test_a_step_with_the_name_of_what_pre_empts_the_plan_is_refused() -> None:
    rest = PlanInterrupt(skill="Rest", expert=3, rule=InterruptSpec(when={"energy": 3}, until={"energy": 9}))
    plan = Plan(goal="wood", steps=(PlanStep(skill="Collect Wood", n=1),), interrupts=(rest,))
    assert interrupts_of(plan, CLASSIC) == {"Rest": load_base(CLASSIC).interrupts[0]}
    clash = plan.model_copy(update={"steps": (*plan.steps, PlanStep(skill="Rest", n=1))})
    with pytest.raises(UsageError, match="'Rest' is a step of the plan for 'wood' and also what pre-empts it"):
        interrupts_of(clash, CLASSIC)
