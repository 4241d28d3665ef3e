"""Playing a plan without training."""

import shlex
from dataclasses import dataclass

from flowrl.config import RunConfig
from flowrl.errors import LibraryError
from flowrl.files import write_json, write_text
from flowrl.library.catalog import interrupts_of, skill_of
from flowrl.library.home import SkillLibrary, read_expert
from flowrl.library.trust import exported_for, put_artefacts, require_module
from flowrl.paths import PlayPaths, SkillPaths
from flowrl.schema.plan import Plan
from flowrl.schema.run import RunSpec, TaskSpec
from flowrl.skillcode.source import compose_plan, remap_network_numbers, tasks_of
from flowrl.weights import Expert, save_experts, sha256


@dataclass(frozen=True)
class Playing:
    """What it takes to play a plan but for the weights. A run that trains nothing."""

    spec: RunSpec
    module: str

    def write(self, run: PlayPaths) -> None:
        """Write a folder that a worker can play; `run.json` comes last."""
        write_text(run.module, self.module)
        put_artefacts(run, self.spec.exported)
        write_json(run.config, self.spec)

    def write_with_weights(self, library: SkillLibrary, run: PlayPaths) -> None:
        """Write the folder with the library's experts.

        Raises:
            LibraryError: an expert is missing or damaged.
        """
        experts = enumerate(self.spec.local_to_global)
        save_experts(run.initial, {i: weights_for(library, g, self.spec.skill) for i, g in experts})
        self.write(run)


def playing_of(library: SkillLibrary, plan: Plan, config: RunConfig) -> Playing:
    """Prepare to play a plan.

    Raises:
        ModuleError: code that is not vouched for does not pass verification, or is a whole module.
    """
    records = library.named()
    skills = {step.skill: skill_of(library, records[step.skill]) for step in plan.steps if step.skill in records}
    skills |= interrupts_of(plan, config.env.name)
    experts = {name: record.expert_idx for name, record in records.items()}
    own = skills[plan.steps[-1].skill]
    require_module(own, shlex.join(["flowrl", "skills", "vouch", own.name]))
    used = sorted({expert for _, expert in plan.players if expert is not None})
    to_local = {g: i for i, g in enumerate(used)}
    code = own.code if own.is_module else compose_plan(plan, skills, experts)
    module = remap_network_numbers(code, to_local, dict(enumerate(used)), "the task module")
    if own.is_module:
        tasks = [TaskSpec(skill=step.skill, low=step.n, high=step.n) for step in plan.steps]
    else:
        tasks = [task.model_copy(update={"low": task.high}) for task in tasks_of(plan, skills, "")]
    spec = RunSpec(
        skill=own.name,
        spec=own.spec,
        config=config,
        tasks=tuple(tasks),
        local_to_global=tuple(used),
        trained=(),
        own=to_local[plan.steps[-1].expert or 0],
        plan=plan,
        exported={} if own.is_module else exported_for(skills, config.env.name),
        module_sha256=sha256(module.encode()),
    )
    return Playing(spec, module)


def policy_of(library: SkillLibrary, expert: int, player: str) -> SkillPaths:
    """Where the weights of an expert that ``player`` uses are stored.

    A companion in the player's own folder comes before the library's expert of the same number.

    Raises:
        LibraryError: they are in neither place.
    """
    own = library.named().get(player)
    if own is not None and expert in own.companions:
        return library.skill_paths(own).companion(expert)
    by_expert = library.by_expert()
    if expert in by_expert:
        return library.skill_paths(by_expert[expert])
    raise LibraryError(
        f"Expert {expert}, which {player} plays with, is neither among the {len(by_expert)} of {library.paths.skills} "
        f"nor a companion of {player}. Its skill's folder was removed: restore it from a copy, or train it again."
    )


def weights_for(library: SkillLibrary, expert: int, player: str) -> Expert:
    """The weights of an expert that the skill ``player`` plays with.

    Raises:
        LibraryError: they are missing or damaged.
    """
    return read_expert(policy_of(library, expert, player), library.description)
