"""Setting up a run. Global experts become contiguous local ones, module and weights follow.

`set_up_run` takes a `RunRequest`, which `prepare_training_run` makes of the seed's arguments. The functions with the
seed's names keep its signatures: a completed skill may be a record or any mapping with its fields.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowrl.config import RunConfig
from flowrl.errors import UsageError, nearest_names
from flowrl.files import read_arrays, read_json, write_bytes, write_json, write_text
from flowrl.library.home import companion_name, read_description, read_expert
from flowrl.library.trust import put_artefacts, vouch
from flowrl.parallel.run_folder import SOURCE_FILE, put_aside_other_numbers, resumes
from flowrl.paths import DEFAULT_HOME, HomePaths, RunPaths, SkillPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.plan import Plan
from flowrl.schema.run import RunGoal, RunRequest, RunSpec, TaskSpec
from flowrl.schema.skill import SkillSpec
from flowrl.skillcode.source import network_numbers, remap_network_numbers
from flowrl.weights import Expert, Tree, expert_sha256, experts_of, named_state, save_experts, sha256


def prepare_training_run(
    skill_name: str,
    skill_data: Mapping[str, Any],
    dependencies: Sequence[str],
    global_expert_idx: int,
    completed_skills: Mapping[str, Any],
    *,
    home: Path = DEFAULT_HOME,
    config: RunConfig | None = None,
) -> RunPaths:
    """Set up a run from the seed's arguments. The paths unpack into (run_folder, module_path).

    Args:
        skill_data: ``code``, the task module with global numbers; and, where known, other fields of a `RunRequest`.
        dependencies: skills that the run plays with.
        global_expert_idx: the skill's expert.
        completed_skills: name -> an entry with ``expert_idx`` and ``path``, the skill's folder (below ``home``).
        config: the run's configuration; the defaults if None.

    Raises:
        ModuleError, UsageError, LibraryError: see `set_up_run`.
    """
    code = str(skill_data["code"])
    count = len(network_numbers(code, f"the module of {skill_name}"))
    names = [*(f"task {i}" for i in range(count - 1)), skill_name]
    tasks = [TaskSpec(skill=name, low=1, high=1) for name in names]
    assumed = {"source": code, "plan": Plan(goal=skill_name, steps=()), "tasks": tasks}
    told = {field: skill_data[field] for field in RunRequest.model_fields if skill_data.get(field)}
    given = {"skill": skill_name, "expert": global_expert_idx, "dependencies": dependencies}
    request = {**assumed, **told, **given, "config": config or RunConfig()}
    return set_up_run(RunRequest.model_validate(request), completed_skills, home)


def build_remapping(
    dependencies: Sequence[str], global_expert_idx: int, completed_skills: Mapping[str, Any]
) -> tuple[dict[int, int], dict[int, int]]:
    """Number a run's experts in ascending global order. Gives (global_to_local, local_to_global).

    Args:
        dependencies: names of skills whose experts the run holds.
        global_expert_idx: the new skill's expert.
        completed_skills: name -> an entry with its ``expert_idx``.

    Raises:
        UsageError: a dependency is not among the completed skills.
    """
    needed = {int(_entry(name, completed_skills)["expert_idx"]) for name in dependencies}
    ordered = sorted(needed | {global_expert_idx})
    return {g: i for i, g in enumerate(ordered)}, dict(enumerate(ordered))


def inject_remapping_header(code: str, global_to_local: Mapping[int, int], local_to_global: Mapping[int, int]) -> str:
    """Make every `task_i_network_number` of a task module return the local expert.

    GLOBAL_TO_LOCAL and LOCAL_TO_GLOBAL stand at its top; the author's own functions stay as
    `_original_task_i_network_number`.

    Raises:
        ModuleError: the module is unusable, remapped already, or names an expert that the maps lack.
    """
    return remap_network_numbers(code, global_to_local, local_to_global, "the task module")


def build_moe_checkpoint(
    dependencies: Sequence[str],
    global_to_local: Mapping[int, int],
    completed_skills: Mapping[str, Any],
    *,
    home: Path | None = None,
) -> Tree:
    """Read the dependencies' weights under local numbers. In the form of the seed's named state.

    The new expert is left out: the worker's `param_updater` initialises it. Weights in a home, and those with a
    `meta.json` beside them, must be the ones that were stored there.

    Args:
        completed_skills: name -> an entry with ``expert_idx`` and ``path``, the skill's folder (below ``home``).

    Raises:
        UsageError: a dependency is unknown.
        LibraryError: a dependency's weights are missing or damaged, were changed, or are of another shape.
    """
    is_home = home is not None and HomePaths(home).description.exists()
    fits = read_description(HomePaths(home)) if home is not None and is_home else None
    experts = {}
    for name in dependencies:
        policy = _paths_of(_entry(name, completed_skills), home or Path())
        checked = fits is not None or policy.meta.exists()
        experts[global_to_local[policy.expert]] = read_expert(policy, fits) if checked else read_arrays(policy.params)
    return named_state(experts)


def set_up_run(request: RunRequest, completed_skills: Mapping[str, Any], home: Path) -> RunPaths:
    """Write a run's folder. The same run is resumed instead where it is there already.

    A completed skill goes on from its weights, and from those that lie beside it. Experts of its module that no
    dependency holds learn too: from the weights in the skill's own folder if an earlier run left some, else from random
    ones.

    Args:
        completed_skills: as the seed has them; start states are taken from records only.

    Raises:
        ModuleError, UsageError, LibraryError: the module, a dependency or its weights cannot be used; nothing is left,
            as `run.json` is written last.
    """
    skill, config = request.skill, request.config
    numbers = network_numbers(request.code, f"the module of {skill}")
    before = _entry(skill, completed_skills) if skill in completed_skills else {}
    held, _ = build_remapping(request.dependencies, request.expert, completed_skills)
    # A module that plays with 0, 7 and its own 50, and needs the skill of expert 0, lacks 7: its companion.
    lacking = sorted(set(numbers) - held.keys())
    folder = str(Path(before.get("path", "")) / "companions")
    companions = {companion_name(skill, g): {"expert_idx": g, "path": folder} for g in lacking}
    known = {**completed_skills, **companions}

    to_local, to_global = build_remapping([*request.dependencies, *companions], request.expert, known)
    module = inject_remapping_header(request.code, to_local, to_global)
    brought = [companion_name(skill, g) for g in lacking if g in before.get("companions", ())]
    seeded = [*request.dependencies, *([skill] if before else []), *brought]
    initial = experts_of(build_moe_checkpoint(seeded, to_local, known, home=home))
    # The skill plays with its own of these, not with the library's.
    beside = {
        companion_name(skill, g): {"expert_idx": g, "path": folder} for g in before.get("companions", ()) if g in held
    }
    initial |= experts_of(build_moe_checkpoint(list(beside), to_local, beside, home=home))
    needs = request.spec if config.start.source == "frontier" else SkillSpec()
    starts = start_files(skill, needs, completed_skills, home)

    own, random = to_local[request.expert], tuple(to_local[g] for g in lacking)
    spec = RunSpec(
        **{field: getattr(request, field) for field in RunGoal.model_fields},
        local_to_global=tuple(to_local),
        trained=tuple(range(len(to_local)) if config.dependencies == "train" else sorted({own, *random})),
        own=own,
        random=random,
        seeds={local: expert_sha256(expert) for local, expert in initial.items()},
        frames_before=int(before.get("frames", 0)),
        runs_before=_runs_before(before, home) if before else 0,
        module_sha256=sha256(module.encode()),
        start_files={name: sha256(data) for name, data in starts.items()},
    )
    paths = HomePaths(home).run(request.expert, skill)
    if resumes(paths, spec, module):
        # It runs the code that is wanted now: another jax has other exports.
        code = {"exported": spec.exported, "module_sha256": spec.module_sha256}
        spec = read_json(paths.config, RunSpec).model_copy(update=code)
    else:
        put_aside_other_numbers(paths, skill)
        _write_inputs(paths, module, request.source, initial, starts.values())
    put_artefacts(paths, spec.exported)
    write_json(paths.config, spec)
    if request.trusted and not spec.exported:
        # Vouched for is the text made here: what lies in the folder may have been changed.
        vouch(module, f"the module of {paths.folder}")
    return paths


def _write_inputs(
    paths: RunPaths, module: str, source: str, initial: Mapping[int, Expert], starts: Iterable[bytes]
) -> None:
    paths.frontier.unlink(missing_ok=True)
    for data in starts:
        write_bytes(paths.start_states(sha256(data)), data)
    write_text(paths.module, module)
    write_text(paths.folder / SOURCE_FILE, source)
    save_experts(paths.initial, initial)


def _entry(name: str, completed_skills: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a completed skill. It may be a record or a mapping."""
    if name not in completed_skills:
        raise UsageError(f"No completed skill {name!r} to depend on. {nearest_names(name, completed_skills)}")
    entry = completed_skills[name]
    return entry if isinstance(entry, Mapping) else vars(entry)


def _paths_of(entry: Mapping[str, Any], home: Path) -> SkillPaths:
    return SkillPaths(home / str(entry["path"]), int(entry["expert_idx"]))


def _runs_before(before: Mapping[str, Any], home: Path) -> int:
    """Number of a skill's earlier runs. Its highest version, rejected candidates included."""
    shelf = _paths_of(before, home).history.glob("version_*")
    return max([int(before.get("version", 1)), *(int(path.name.removeprefix("version_")) for path in shelf)])


def start_files(skill_name: str, spec: SkillSpec, completed_skills: Mapping[str, Any], home: Path) -> dict[str, bytes]:
    """Start states that may meet a skill's requirements. By the skill that they come from.

    The plan behind the states must yield each required fluent; whether a state really has them is for the worker to
    see. A skill that requires nothing begins in new worlds.
    """
    needed = {fluent for fluent, amount in spec.needed(1).items() if amount > 0}
    found: dict[str, bytes] = {}
    for name, record in sorted(completed_skills.items()):
        if name == skill_name or not needed or not isinstance(record, SkillRecord) or record.status != "learned":
            continue
        file = SkillPaths(home / record.path, record.expert_idx).start_states
        played = {step.skill for step in record.plan.steps} | {record.name}
        specs = [completed_skills[skill].spec for skill in played & completed_skills.keys()]
        yielded = {fluent for each in specs for fluent in each.yields}
        if needed <= yielded and file.exists():
            found[name] = file.read_bytes()
    return found
