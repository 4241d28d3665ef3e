"""Chain runs: all skills of a goal's plan learn in one run, from nothing where the library lacks them."""

from collections.abc import Mapping
from dataclasses import dataclass

from flowrl.config import RunConfig
from flowrl.errors import UsageError
from flowrl.files import read_json
from flowrl.knowledge.base import KnowledgeBase
from flowrl.library.catalog import interrupts_of, skill_of
from flowrl.library.home import SkillLibrary, ended_untrained
from flowrl.library.trust import exported_for, vouch
from flowrl.parallel.scheduler import Proposal
from flowrl.parallel.training_setup import set_up_run
from flowrl.paths import RunPaths
from flowrl.planning.planner import dependencies, plan
from flowrl.schema.plan import Plan, PlanInterrupt
from flowrl.schema.run import Member, RunRequest, RunSpec, TrainResult
from flowrl.schema.skill import Skill, SkillSpec
from flowrl.skillcode.source import compose_plan, tasks_of


@dataclass(frozen=True)
class ChainSetUp:
    """Sets up one run of a goal's whole plan.

    Skills that the library lacks start random and enter it with the goal, as the run's members.
    """

    base: KnowledgeBase
    library: SkillLibrary
    config: RunConfig

    def __call__(self, proposal: Proposal, expert: int) -> RunPaths:
        """Set up the run of a goal, or find it ready to resume.

        Args:
            expert: the goal's global expert, unless another run has taken that number or given the goal one.

        Raises:
            PlanError: no plan leads to the goal.
            ModuleError: the code of a skill does not pass verification.
            FlowRLError: the run cannot be set up.
        """
        records, taken = self.library.named(), self.library.taken_experts()
        expert = taken.get(proposal.name, self.library.free_expert() if expert in taken.values() else expert)
        begun = self._begun(self.library.paths.run(expert, proposal.name))
        skills = self.base.named() | {name: skill_of(self.library, record) for name, record in records.items()}
        goal = skills[proposal.name]
        if goal.is_module:
            raise UsageError(
                f"{goal.name!r} is a task module, which names its experts itself. Train it as such: "
                f"{self.library.command('train', goal.name)}"
            )
        found = self._known(begun.plan, skills) if begun else self._plan(proposal, skills, expert)
        beside = interrupts_of(found, self.base.env)
        experts = {step.skill: step.expert for step in found.steps if step.expert is not None}
        new = [name for name in experts if name not in records]
        if begun is not None:
            # Another run may have put some of them into the library meanwhile.
            new = [*(member.name for member in begun.members), *([] if begun.runs_before else [proposal.name])]
        for name in new:
            if skills[name].trusted:
                vouch(skills[name].code, f"the skill {name!r}")
        completed = {name: record for name, record in records.items() if name not in new}
        request = RunRequest(
            skill=goal.name,
            expert=expert,
            dependencies=tuple(name for name in dependencies(found) if name in completed),
            description=goal.description,
            spec=begun.spec if begun else trained_spec(goal.spec, found, goal.name),
            config=self.config,
            plan=found,
            tasks=tuple(tasks_of(found, skills, "")),
            code=compose_plan(found, skills | beside, experts),
            source=goal.code,
            exported=exported_for({name: skills[name] for name in experts} | beside, self.base.env, set(new)),
            trusted=True,
            chain=True,
            members=begun.members
            if begun
            else tuple(_member(skills[n], found, experts[n]) for n in new if n != goal.name),
        )
        return set_up_run(request, completed, self.library.paths.root)

    def _begun(self, run: RunPaths) -> RunSpec | None:
        """The unfinished run in a folder. A failed one needs its own settings."""
        is_done = run.result.exists() and read_json(run.result, TrainResult).outcome == "done"
        if not run.config.exists() or is_done or ended_untrained(run):
            return None
        begun = read_json(run.config, RunSpec)
        goes_on = not run.result.exists() or begun.config == self.config
        return begun if begun.chain and goes_on else None

    def _plan(self, proposal: Proposal, skills: dict[str, Skill], expert: int) -> Plan:
        """A plan with numbers for the skills that have none."""
        taken = self.library.taken_experts()
        numbers = {proposal.name: expert}
        steps = plan(proposal.goal or proposal.name, skills, vocabulary=self.base.vocabulary).steps
        for name in dict.fromkeys(step.skill for step in steps):
            used = {*taken.values(), *numbers.values()}
            if name not in numbers:
                numbers[name] = taken.get(name, next(number for number in range(len(used) + 1) if number not in used))
        numbered = tuple(step.model_copy(update={"expert": numbers[step.skill]}) for step in steps)
        return Plan(goal=proposal.name, steps=numbered, interrupts=self._interrupts(proposal.name, numbers))

    def _interrupts(self, goal: str, numbers: Mapping[str, int]) -> tuple[PlanInterrupt, ...]:
        """What pre-empts a goal's plan. What did in an earlier run still does, by the same number."""
        record = self.library.named().get(goal)
        held = {each.skill: each.expert for each in record.plan.interrupts} if record is not None else {}
        used, found = {*self.library.taken_experts().values(), *numbers.values()}, []
        for skill in self.base.interrupts:
            if skill.spec.interrupt is None or not (self.config.interrupts or skill.name in held):
                continue
            expert = held.get(skill.name, next(number for number in range(len(used) + 1) if number not in used))
            used.add(expert)
            found.append(PlanInterrupt(skill=skill.name, expert=expert, rule=skill.spec.interrupt))
        return tuple(found)

    def _known(self, begun: Plan, skills: dict[str, Skill]) -> Plan:
        if lacking := sorted({step.skill for step in begun.steps} - skills.keys()):
            raise UsageError(
                f"The unfinished run of {begun.goal} plays {lacking[0]!r}, which no base here knows. Name the folder "
                "of skill files that it began with again."
            )
        return begun


def trained_spec(spec: SkillSpec, found: Plan, name: str) -> SkillSpec:
    """A skill's specification with the amounts that a plan trains."""
    if spec.n_range is None:
        return spec
    asked = max(step.n for step in found.steps if step.skill == name)
    return spec.model_copy(update={"n_range": (min(spec.n_range[0], asked), asked)})


def _member(skill: Skill, found: Plan, expert: int) -> Member:
    spec = trained_spec(skill.spec, found, skill.name)
    return Member(name=skill.name, expert=expert, description=skill.description, spec=spec, code=skill.code)
