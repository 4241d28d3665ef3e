"""After a run: its result is checked, its own expert mapped back to its global number and put into the library."""

import shutil
from pathlib import Path

from flowrl.errors import LibraryError, TrainingError
from flowrl.files import read_arrays, read_json, write_json, write_text
from flowrl.library import SkillLibrary
from flowrl.parallel.paths import RunPaths, SkillPaths
from flowrl.parallel.training_setup import SOURCE_FILE
from flowrl.skill import RunSpec, SkillRecord, TrainResult
from flowrl.weights import Tree, expert_of, flatten, sha256, unflatten


def process_completed_training(run: RunPaths, library: SkillLibrary) -> SkillRecord:
    """Returns the library's record of a skill after one of its runs ended; processing twice changes nothing.

    Frozen dependencies are not written. A skill that was there already is replaced only by a better one: learned
    beats weak, then the higher step success; the loser goes to `history/`.

    Raises:
        TrainingError: the run failed; carries its reason.
        LibraryError: the result or the weights are missing, damaged, or not those that the result names.
    """
    spec = read_json(run.config, RunSpec)
    if run.processed.exists():
        return library.record(spec.skill)
    record = _process(run, spec, library)
    write_json(run.processed, {"skill": record.name, "version": record.version})
    return record


def _process(run: RunPaths, spec: RunSpec, library: SkillLibrary) -> SkillRecord:
    result = read_json(run.result, TrainResult)
    if result.outcome == "failed" or result.evaluation is None:
        raise TrainingError(f"Training {spec.skill} failed: {result.error} See {run.log}")
    file = run.folder / result.params
    if sha256(file.read_bytes()) != result.params_sha256:
        raise LibraryError(f"{file} is not the file that {run.result} names: it was changed since.")
    folder = library.paths.skill(spec.expert, spec.skill)
    before = library.named().get(spec.skill)
    record = SkillRecord(
        name=spec.skill,
        expert_idx=spec.expert,
        description=spec.description,
        spec=spec.spec,
        status="learned" if result.status == "learned" else "weak",
        version=before.version + 1 if before else 1,
        frames=spec.frames_before + result.frames,
        evaluation=result.evaluation,
        plan=spec.plan,
        is_module=spec.is_module,
        companions=tuple(spec.local_to_global[i] for i in spec.random),
        path=str(folder.folder.relative_to(library.paths.root)),
    )
    if before is not None and _same_run(before, record):
        return before
    named = unflatten(read_arrays(file))
    if before is not None and _score(before) > _score(record):
        _store(library, folder, folder.history / f"version_{record.version}", record, named, spec, run)
        kept = before.model_copy(update={"version": record.version, "frames": record.frames})
        write_json(folder.record, kept)
        return kept
    if before is not None:
        _keep_in_history(folder, before)
    _store(library, folder, folder.folder, record, named, spec, run)
    return record


def _same_run(before: SkillRecord, record: SkillRecord) -> bool:
    return before.frames == record.frames and before.evaluation == record.evaluation


def _score(record: SkillRecord) -> tuple[bool, float]:
    return record.status == "learned", record.evaluation.step_success.value or 0.0


def _keep_in_history(folder: SkillPaths, before: SkillRecord) -> None:
    old = folder.history / f"version_{before.version}"
    if old.exists():
        return
    old.mkdir(parents=True)
    shutil.copytree(folder.policy, old / folder.policy.name)
    shutil.copy2(folder.module, old / folder.module.name)
    shutil.copy2(folder.record, old / folder.record.name)


def _store(
    library: SkillLibrary,
    folder: SkillPaths,
    at: Path,
    record: SkillRecord,
    named: Tree,
    spec: RunSpec,
    run: RunPaths,
) -> None:
    """The record is written last: until then the skill is as it was before."""
    target = SkillPaths(at, folder.expert)
    library.store_expert(target, flatten(expert_of(named, spec.own)), record.frames)
    for local in spec.random:
        companion = SkillPaths(target.folder / "companions", spec.local_to_global[local])
        library.store_expert(companion, flatten(expert_of(named, local)), record.frames)
    write_text(target.module, (run.folder / SOURCE_FILE).read_text(encoding="utf-8"))
    write_json(target.record, record)
