"""Setting up a proposal's run. A skill of the base with the plan that leads to it, or a task module."""

from dataclasses import dataclass
from pathlib import Path

from flowrl.config import RunConfig
from flowrl.errors import ModuleError, PlanError
from flowrl.files import read_json
from flowrl.growing.chains import ChainSetUp
from flowrl.knowledge.base import KnowledgeBase
from flowrl.library.catalog import known_skills
from flowrl.library.home import SkillLibrary
from flowrl.library.trust import exported_for, vouch
from flowrl.library.versions import is_respecified
from flowrl.parallel.scheduler import Proposal
from flowrl.parallel.training_setup import set_up_run
from flowrl.paths import RunPaths
from flowrl.planning.planner import dependencies, plan
from flowrl.schema.home import SkillRecord
from flowrl.schema.plan import Plan, PlanStep
from flowrl.schema.run import RunRequest, RunSpec, TaskSpec, TrainResult
from flowrl.schema.skill import Skill
from flowrl.skillcode.source import compose_plan, network_numbers, tasks_of


@dataclass(frozen=True)
class SkillSetUp:
    """Sets up runs of a knowledge base's skills with a library's experts.

    Attributes:
        trial: the runs only measure ways of rewarding a skill; nothing of them enters the library.
    """

    base: KnowledgeBase
    library: SkillLibrary
    config: RunConfig
    trial: bool = False

    def __call__(self, proposal: Proposal, expert: int) -> RunPaths:
        """Set up a proposal's run, or find it ready to resume.

        Raises:
            ModuleError: the skill's code, or that of one that it needs, does not pass verification.
            PlanError: what the proposal needs does not lead to it, or is not learned.
            FlowRLError: the run cannot be set up.
        """
        if proposal.chain:
            # Begun by another command, and lost: it goes on as it began.
            begun = read_json(self.library.paths.run(expert, proposal.name).config, RunSpec).config
            return ChainSetUp(self.base, self.library, begun)(proposal, expert)
        skill = self.base.skill(proposal.name)
        learned = known_skills(self.library)
        if lacking := sorted(proposal.needs - learned.keys()):
            raise PlanError(f"{skill.name!r} needs {lacking[0]!r}, which is not learned.")
        skills = {name: learned[name] for name in proposal.needs} | {skill.name: skill}
        completed = self.library.named()
        if skill.name in completed and is_respecified(self.library, completed[skill.name]):
            skill = skill.model_copy(update={"spec": completed[skill.name].spec})
            skills[skill.name] = skill
        experts = {name: completed[name].expert_idx for name in proposal.needs} | {skill.name: expert}
        if skill.trusted:
            vouch(skill.code, f"the skill {skill.name!r}")
        found = self._plan(skill, skills, experts)
        new = {skill.name} - completed.keys()
        exported = exported_for({step.skill: skills[step.skill] for step in found.steps}, self.base.env, new)
        request = RunRequest(
            skill=skill.name,
            expert=expert,
            dependencies=tuple(dependencies(found)),
            description=skill.description,
            spec=skill.spec,
            config=self.config,
            plan=found,
            tasks=tuple(tasks_of(found, skills, skill.name)),
            code=compose_plan(found, skills, experts),
            source=skill.code,
            exported=exported,
            trusted=True,
            trial=self.trial,
        )
        return set_up_run(request, completed, self.library.paths.root)

    def _plan(self, skill: Skill, skills: dict[str, Skill], experts: dict[str, int]) -> Plan:
        """The plan of an unfinished run of these skills, else a new one."""
        run = self.library.paths.run(experts[skill.name], skill.name)
        is_done = run.result.exists() and read_json(run.result, TrainResult).outcome == "done"
        if run.config.exists() and not is_done:
            begun = read_json(run.config, RunSpec).plan
            if {step.skill for step in begun.steps} == skills.keys():
                return begun
        return plan(skill.name, skills, vocabulary=self.base.vocabulary, experts=experts)


@dataclass(frozen=True)
class ModuleSetUp:
    """Sets up the run of a task module in the seed's format.

    The expert of its last task learns.

    The module is run as text: the caller must know that this user wants that.

    Attributes:
        code: the module's text.
        file: where it came from, for messages.
        description: of the skill; empty: the name of the file.
    """

    library: SkillLibrary
    config: RunConfig
    code: str
    file: Path
    description: str = ""

    def proposal(self, name: str) -> Proposal:
        """Propose the module's own skill with its expert number.

        Raises:
            ModuleError: the module cannot be used, or its last number belongs to another skill.
        """
        numbers = self._numbers()
        by_expert = self._by_expert(name)
        self._require_own_expert(numbers[-1], name)
        needs = {by_expert[g].name for g in numbers[:-1] if g in by_expert and g != numbers[-1]}
        return Proposal(name, frozenset(needs), numbers[-1])

    def lacking(self, name: str) -> list[int]:
        """Experts of the module that are new: neither in the library nor companions of an earlier run."""
        numbers, by_expert = self._numbers(), self._by_expert(name)
        known = by_expert.keys() | {numbers[-1], *self._brought(name)}
        return [g for g in dict.fromkeys(numbers) if g not in known]

    def __call__(self, proposal: Proposal, expert: int) -> RunPaths:
        """Set up the module's run, or find it ready to resume.

        Raises:
            FlowRLError: the run cannot be set up.
        """
        names = {g: record.name for g, record in self._by_expert(proposal.name).items()} | {expert: proposal.name}
        numbers = self._numbers()
        steps = tuple(PlanStep(skill=names.get(g, f"expert {g}"), n=1, expert=g) for g in numbers)
        request = RunRequest(
            skill=proposal.name,
            expert=expert,
            dependencies=tuple(sorted(proposal.needs)),
            description=self.description or f"the last task of {self.file.name}",
            config=self.config,
            plan=Plan(goal=proposal.name, steps=steps),
            tasks=tuple(TaskSpec(skill=step.skill, low=1, high=1) for step in steps),
            code=self.code,
            source=self.code,
            source_file=str(self.file),
            is_module=True,
            trusted=True,
        )
        return set_up_run(request, self.library.named(), self.library.paths.root)

    def _numbers(self) -> tuple[int, ...]:
        return network_numbers(self.code, str(self.file))

    def _brought(self, name: str) -> tuple[int, ...]:
        """The skill's companions of an earlier run."""
        mine = self.library.named().get(name)
        return mine.companions if mine is not None else ()

    def _by_expert(self, name: str) -> dict[int, SkillRecord]:
        """The library's skills by expert. Without numbers of the skill's own companions."""
        brought = self._brought(name)
        return {g: record for g, record in self.library.by_expert().items() if g not in brought}

    def _require_own_expert(self, own: int, name: str) -> None:
        """Check that the last task's number is the skill's own, or free: no two skills share an expert."""
        held = self.library.named()
        taken = self.library.taken_experts()
        holder = next((holder for holder, expert in taken.items() if expert == own and holder != name), None)
        if holder is not None:
            where = "in the library" if holder in held else f"in {self.library.paths.root}"
            other = f", or go on with that skill: --name {holder!r}" if holder in held else ""
            raise ModuleError(
                f"{self.file}: the last task's expert {own} is {holder!r} {where}. "
                f"Return {self.library.free_expert()}, the next free number{other}"
            )
        if taken.get(name, own) != own:
            where = "in the library" if name in held else "in its unfinished run"
            raise ModuleError(
                f"{self.file}: {name!r} is expert {taken[name]} {where}, not {own}. Return {taken[name]}, or give the "
                f"skill another name with --name."
            )
