"""Playing a plan with the experts that a library holds, without training anything."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from flowrl.config import RunConfig
from flowrl.errors import LibraryError
from flowrl.files import write_json, write_text
from flowrl.library.home import SkillLibrary, read_expert
from flowrl.library.trust import exported_for, put_artefacts, require_module
from flowrl.paths import RunPaths, SkillPaths
from flowrl.schema.plan import Plan
from flowrl.schema.run import RunSpec, TaskSpec
from flowrl.schema.skill import Skill
from flowrl.skillcode.plan_module import compose_plan, tasks_of
from flowrl.skillcode.source import remap_network_numbers
from flowrl.weights import Tree, sha256, unflatten


@dataclass(frozen=True)
class Playing:
    """What is needed to play a plan with the library's experts.

    Attributes:
        experts: the global experts that it plays with, ascending; the local ones are their places.
        module: the task module, with local numbers.
    """

    spec: RunSpec
    module: str
    experts: tuple[int, ...]


def playing_of(plan: Plan, skills: Mapping[str, Skill], experts: Mapping[str, int], config: RunConfig) -> Playing:
    """Returns how a plan is played, each skill at the amount that the plan asks.

    Args:
        experts: the global expert of each skill.

    Raises:
        ModuleError: the code of a skill that nobody vouched for does not pass verification, or is a whole module.
    """
    own = plan.steps[-1].skill
    is_module = skills[own].is_module
    require_module(skills[own], shlex.join(["flowrl", "skills", "vouch", own]))
    played = {} if is_module else {step.skill: skills[step.skill] for step in plan.steps}
    exported = exported_for(played, config.env.name)
    code = skills[own].code if is_module else compose_plan(plan, skills, experts)
    used = sorted({step.expert for step in plan.steps if step.expert is not None})
    to_local = {g: i for i, g in enumerate(used)}
    module = remap_network_numbers(code, to_local, dict(enumerate(used)), "the task module")
    spec = RunSpec(
        skill=own,
        spec=skills[own].spec,
        config=config,
        tasks=tuple(task.model_copy(update={"low": task.high}) for task in _tasks(plan, skills, own)),
        local_to_global=tuple(used),
        trained=(),
        own=to_local[plan.steps[-1].expert or 0],
        plan=plan,
        exported=exported,
        module_sha256=sha256(module.encode()),
    )
    return Playing(spec, module, tuple(used))


def write_playing(playing: Playing, run: RunPaths) -> None:
    """Writes what a process needs to play a plan, but for the weights; `run.json` comes last."""
    write_text(run.module, playing.module)
    put_artefacts(run, playing.spec.exported)
    write_json(run.config, playing.spec)


def _tasks(plan: Plan, skills: Mapping[str, Skill], own: str) -> list[TaskSpec]:
    if not skills[own].is_module:
        return tasks_of(plan, skills, "")
    return [TaskSpec(skill=step.skill, low=step.n, high=step.n) for step in plan.steps]


def policy_of(library: SkillLibrary, expert: int, player: str) -> SkillPaths:
    """Returns where the weights of an expert that ``player`` plays with lie: in its own folder if it brought them
    along, whoever has that number in the library, else in the library.

    Raises:
        LibraryError: they are nowhere.
    """
    own = library.named().get(player)
    if own is not None and expert in own.companions:
        return library.skill_paths(own).companion(expert)
    by_expert = {record.expert_idx: record for record in library.records()}
    if expert in by_expert:
        return library.skill_paths(by_expert[expert])
    raise LibraryError(
        f"Expert {expert}, which {player} plays with, is neither among the {len(by_expert)} of {library.paths.skills} "
        f"nor a companion of {player}. Its skill's folder was removed: restore it from a copy, or train it again."
    )


def weights_for(library: SkillLibrary, expert: int, player: str) -> Tree:
    """Returns the weights of an expert that the skill ``player`` plays with.

    Raises:
        LibraryError: they are nowhere, or damaged.
    """
    return unflatten(read_expert(policy_of(library, expert, player), library.description))
