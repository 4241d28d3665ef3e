"""Setting up a run: global experts become contiguous local ones, module and weights follow.

Names and arguments are the seed's; keyword extras say where the home is and what else the run should know.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowrl.config import RunConfig
from flowrl.errors import LibraryError, UsageError, nearest_names
from flowrl.files import read_arrays, read_json, read_text, write_arrays, write_bytes, write_json, write_text
from flowrl.jobs.job import Job
from flowrl.jobs.local import is_locked
from flowrl.library.home import read_expert
from flowrl.library.trust import put_artefacts, vouch
from flowrl.parallel.start_state_files import start_files
from flowrl.paths import DEFAULT_HOME, HomePaths, RunPaths, SkillPaths, slug
from flowrl.schema.home import HomeDescription
from flowrl.schema.plan import Plan
from flowrl.schema.run import RunSpec, TaskSpec, TrainResult
from flowrl.schema.skill import SkillSpec
from flowrl.skillcode.source import outline, remap_network_numbers
from flowrl.weights import Tree, flatten, named_state, sha256, unflatten

_WORDS = {"description", "source_file", "runs_before", "exported", "module_sha256", "start_files"}
"""What a `RunSpec` says that makes no other run of it; that traced and exported code train alike is tested, modules
are compared by their text, and a run that goes on begins at the states that it had when it began."""
SOURCE_FILE = "source.py"
"""The skill's own code in a run's folder, as it will stand in the library."""


def _field(entry: Any, name: str, default: Any = None) -> Any:
    return entry.get(name, default) if isinstance(entry, Mapping) else getattr(entry, name, default)


def _entry(name: str, completed_skills: Mapping[str, Any]) -> Any:
    if name not in completed_skills:
        raise UsageError(f"No completed skill {name!r} to depend on. {nearest_names(name, completed_skills)}")
    return completed_skills[name]


def _place(entry: Any, home: Path) -> tuple[int, Path]:
    """Returns an entry's global expert and the folder of its skill."""
    return int(_field(entry, "expert_idx")), home / str(_field(entry, "path", ""))


def build_remapping(
    dependencies: Sequence[str], global_expert_idx: int, completed_skills: Mapping[str, Any]
) -> tuple[dict[int, int], dict[int, int]]:
    """Returns (global_to_local, local_to_global): contiguous local indices in ascending global order.

    Args:
        dependencies: names of skills whose experts the run holds.
        global_expert_idx: the new skill's expert.
        completed_skills: name -> an entry with its ``expert_idx``.

    Raises:
        UsageError: a dependency is not among the completed skills.
    """
    needed = {int(_field(_entry(name, completed_skills), "expert_idx")) for name in dependencies}
    ordered = sorted(needed | {global_expert_idx})
    return {g: i for i, g in enumerate(ordered)}, dict(enumerate(ordered))


def inject_remapping_header(code: str, global_to_local: Mapping[int, int], local_to_global: Mapping[int, int]) -> str:
    """Returns a task module whose `task_i_network_number` give local experts.

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
    """Returns the dependencies' weights under the run's local numbers, as the seed's named state.

    The new expert is left out: the worker's `param_updater` initialises it.

    Args:
        completed_skills: name -> an entry with ``expert_idx`` and ``path``, the skill's folder (below ``home``).

    Weights in a home, and those with a `meta.json` beside them, must be the ones that were stored there.

    Raises:
        UsageError: a dependency is unknown.
        LibraryError: a dependency's weights are missing or damaged, were changed, or are of another shape.
    """
    policies = _policies(dependencies, global_to_local, completed_skills, home or Path())
    return _named(policies, _description(home))


def _policies(
    skills: Sequence[str], global_to_local: Mapping[int, int], completed_skills: Mapping[str, Any], home: Path
) -> dict[int, SkillPaths]:
    """Returns where the expert of each skill lies, by the run's local numbers."""
    found = {}
    for name in skills:
        index, folder = _place(_entry(name, completed_skills), home)
        found[global_to_local[index]] = SkillPaths(folder, index)
    return found


def _companions(before: Any, lacking: Sequence[int], home: Path) -> dict[int, SkillPaths]:
    """Returns where the experts lie that the skill brought along in an earlier run, by global number."""
    if before is None:
        return {}
    index, folder = _place(before, home)
    brought = set(_field(before, "companions", ()))
    return {g: SkillPaths(folder, index).companion(g) for g in lacking if g in brought}


def _runs_before(before: Any, home: Path) -> int:
    """Returns how many runs of the skill have ended: as many as it has versions, be it that they won or lost."""
    if before is None:
        return 0
    index, folder = _place(before, home)
    shelf = SkillPaths(folder, index).history.glob("version_*")
    return max([int(_field(before, "version", 1)), *(int(path.name.removeprefix("version_")) for path in shelf)])


def _description(home: Path | None) -> HomeDescription | None:
    """Returns what the experts of a home are for; None where the folder is no home: entries may be anywhere."""
    file = HomePaths(home or Path()).description
    return read_json(file, HomeDescription) if home is not None and file.exists() else None


def _named(policies: Mapping[int, SkillPaths], fits: HomeDescription | None) -> Tree:
    """Returns the weights as a named state, checked."""
    return named_state({local: unflatten(_checked(policy, fits)) for local, policy in policies.items()})


def _checked(policy: SkillPaths, fits: HomeDescription | None) -> dict[str, Any]:
    """Returns an expert's arrays; outside of a home nothing need be known of them but the arrays."""
    if fits is None and not policy.meta.exists():
        return read_arrays(policy.params)
    return read_expert(policy, fits)


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
    """Sets up a run's folder and returns its paths, which unpack into (run_folder, module_path).

    Experts that the module plays with and that no dependency holds learn in the run too. They start from the weights
    that the skill brought along if it is completed, else random.

    Args:
        skill_data: ``code``, the task module with global numbers; and, where known, ``tasks`` (a `TaskSpec` each),
            ``plan``, ``spec``, ``description``, ``source`` (the skill's own code), ``source_file`` (where that came
            from, for messages), ``is_module``, ``trial``, ``exported`` (what the worker is to run instead of the
            module), ``trusted`` (the module, if it is to be run, is this user's: noted of the text made here, as the
            folder may be changed by others).
        dependencies: skills that the run plays with, which learn along if the configuration says so. A skill that is
            itself completed goes on from its weights.
        config: the run's configuration; the defaults if None.

    Raises:
        ModuleError, UsageError, LibraryError: the module, a dependency or its weights cannot be used. The folder is
            written last, so a refused run leaves nothing.
    """
    paths = HomePaths(home).run(global_expert_idx, skill_name)
    seeded = [*dependencies, *([skill_name] if skill_name in completed_skills else [])]
    code = str(skill_data["code"])
    numbers = outline(code, f"the module of {skill_name}").network_numbers
    to_local, to_global = build_remapping(dependencies, global_expert_idx, completed_skills)
    lacking = sorted(set(numbers) - to_local.keys())
    if lacking:
        ordered = sorted({*to_local, *lacking})
        to_local, to_global = {g: i for i, g in enumerate(ordered)}, dict(enumerate(ordered))
    module = inject_remapping_header(code, to_local, to_global)
    random = tuple(to_local[g] for g in lacking)
    own = to_local[global_expert_idx]
    before = completed_skills.get(skill_name)
    policies = _policies(seeded, to_local, completed_skills, home)
    policies |= {to_local[g]: policy for g, policy in _companions(before, lacking, home).items()}
    named = _named(policies, _description(home))
    config = config or RunConfig()
    learn = range(len(to_global)) if config.dependencies == "train" else (own, *random)
    starts = start_files(skill_name, _begins_with(skill_data, config), completed_skills, home)
    spec = RunSpec(
        skill=skill_name,
        config=config,
        local_to_global=tuple(to_global[i] for i in range(len(to_global))),
        trained=tuple(sorted(set(learn))),
        own=own,
        random=random,
        seeds={local: sha256(policy.params.read_bytes()) for local, policy in sorted(policies.items())},
        frames_before=int(_field(before, "frames", 0)) if before is not None else 0,
        runs_before=_runs_before(before, home),
        module_sha256=sha256(module.encode()),
        start_files={name: sha256(data) for name, data in starts.items()},
        **_as_told(skill_name, skill_data, len(numbers)),
    )
    if _goes_on(paths, spec, module):
        _exchange_code(paths, spec)
    else:
        _put_aside_others(paths, skill_name)
        _write(paths, spec, module, str(skill_data.get("source", code)), named, starts.values())
    if skill_data.get("trusted", False) and not spec.exported:
        vouch(module, f"the module of {paths.folder}")
    return paths


def _begins_with(skill_data: Mapping[str, Any], config: RunConfig) -> SkillSpec:
    """Returns what says where episodes may begin: the skill's specification, or one that needs nothing."""
    wanted: SkillSpec = skill_data.get("spec", SkillSpec())
    return wanted if config.start.source == "frontier" else SkillSpec()


def _as_told(skill_name: str, skill_data: Mapping[str, Any], tasks: int) -> dict[str, Any]:
    """Returns those fields of a `RunSpec` that the skill's data say, or what they are where it says nothing."""
    return {
        "description": skill_data.get("description", ""),
        "spec": skill_data.get("spec", SkillSpec()),
        "is_module": bool(skill_data.get("is_module", False)),
        "source_file": str(skill_data.get("source_file", "")),
        "tasks": tuple(skill_data.get("tasks") or _plain_tasks(skill_name, tasks)),
        "plan": skill_data.get("plan") or Plan(goal=skill_name, steps=()),
        "trial": bool(skill_data.get("trial", False)),
        "exported": dict(skill_data.get("exported", {})),
    }


def _write(
    paths: RunPaths, spec: RunSpec, module: str, source: str, named: Tree, start_states: Iterable[bytes]
) -> None:
    """Writes a run's folder; its `run.json` comes last and makes it whole."""
    paths.frontier.unlink(missing_ok=True)
    for data in start_states:
        write_bytes(paths.start_states(sha256(data)), data)
    write_text(paths.module, module)
    write_text(paths.folder / SOURCE_FILE, source)
    write_arrays(paths.initial, flatten(named))
    put_artefacts(paths, spec.exported)
    write_json(paths.config, spec)


def _exchange_code(paths: RunPaths, wanted: RunSpec) -> None:
    """What a run that goes on executes is what is wanted now, whatever its folder held: another jax has others."""
    put_artefacts(paths, wanted.exported)
    held = read_json(paths.config, RunSpec)
    code = {"exported": wanted.exported, "module_sha256": wanted.module_sha256}
    if held != (changed := held.model_copy(update=code)):
        write_json(paths.config, changed)


def _plain_tasks(skill_name: str, count: int) -> list[TaskSpec]:
    names = [f"task {i}" for i in range(count - 1)] + [skill_name]
    return [TaskSpec(skill=name, low=1, high=1) for name in names]


def _goes_on(paths: RunPaths, spec: RunSpec, module: str) -> bool:
    """Returns whether the folder holds this very run, unfinished.

    A run that is done makes room for the next, and one that failed for one with other settings.

    Raises:
        LibraryError: the folder holds another run that is not over: it has trained, or a worker is at it.
    """
    outcome = read_json(paths.result, TrainResult).outcome if paths.result.exists() else None
    if outcome == "done":
        put_aside(paths.folder)
        return False
    has_worker = paths.config.exists() and paths.lock.exists() and is_locked(Job(spec.skill, paths.folder))
    has_trained = paths.config.exists() and paths.has_trained
    if has_worker or has_trained:
        different = _differences(paths, spec, module)
        if different and outcome == "failed" and not has_worker:
            put_aside(paths.folder)
            return False
        if different:
            raise LibraryError(
                f"{paths.folder} holds an unfinished run with other settings ({different}). Give the settings that it "
                f"began with to go on, or {_way_out(has_worker)} to begin anew."
            )
    paths.result.unlink(missing_ok=True)
    return has_worker or has_trained


def _way_out(has_worker: bool) -> str:
    return "stop its worker and delete that folder" if has_worker else "delete that folder"


def put_aside(folder: Path) -> None:
    """Renames a run's folder, which is the run of no skill from then on."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(aside)


def _put_aside_others(paths: RunPaths, skill_name: str) -> None:
    """An earlier try under another number, which came to nothing, is not the skill's run any more."""
    for folder in paths.folder.parent.glob(f"skill_*_{slug(skill_name)}"):
        if folder != paths.folder and re.fullmatch(rf"skill_\d+_{slug(skill_name)}", folder.name):
            put_aside(folder)


def _differences(paths: RunPaths, wanted: RunSpec, module: str) -> str:
    """Returns in what a run differs from the one that is wanted, nothing where they are the same."""
    held = read_json(paths.config, RunSpec)
    differing = [f for f in RunSpec.model_fields.keys() - _WORDS if getattr(held, f) != getattr(wanted, f)]
    if read_text(paths.module) != module:
        differing.append("module")
    return _config_differences(held.config, wanted.config) or ", ".join(sorted(differing))


def _config_differences(held: RunConfig, wanted: RunConfig) -> str:
    old, new = flatten_values(held.model_dump()), flatten_values(wanted.model_dump())
    return ", ".join(f"{key}: {old[key]} there, {new[key]} asked" for key in old if old[key] != new[key])


def flatten_values(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a nested configuration's values by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten_values(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
