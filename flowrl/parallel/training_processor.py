"""After a run. Its experts get their global numbers back, and those that are better enter the library."""

from flowrl.config import GateConfig
from flowrl.errors import LibraryError
from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths, MergeVerdict
from flowrl.files import read_bytes, read_json, read_text, write_json
from flowrl.library.home import SkillLibrary, read_expert
from flowrl.library.versions import VersionCandidate, install, is_known, next_version, shelve
from flowrl.parallel.run_folder import FinishedRun
from flowrl.paths import RunPaths
from flowrl.schema.evaluation import Evaluation, is_learned
from flowrl.schema.home import SkillRecord
from flowrl.schema.plan import Plan
from flowrl.schema.run import Member
from flowrl.stats import Share
from flowrl.weights import expert_sha256, sha256


def process_completed_training(run: RunPaths | FinishedRun, library: SkillLibrary) -> SkillRecord:
    """Put a run's experts into the library and return the skill's record.

    A second call changes nothing. Frozen dependencies are not written. An expert that the library holds already is
    replaced where the run's `merge/` folder has evidence for the candidate (`flowrl.growing.merging`). A candidate
    that suits no other plan stays beside the skill as a companion; a bundle that lost goes to the skill's `history/`.

    Args:
        run: its folder, or what was read from it.

    Raises:
        TrainingError: the run failed; carries its reason.
        LibraryError: the result or the weights are missing, damaged, or not those that the result names, or candidates
            were not compared with the library's experts.
    """
    run = run if isinstance(run, FinishedRun) else FinishedRun.load(run)
    if run.paths.processed.exists():
        return library.record(run.spec.skill)
    file = ComparisonPaths.of(run.paths).result
    answer = read_json(file, ComparisonAnswer) if file.exists() else None
    if run.spec.trained_dependencies:
        _require(answer, run)
    for verdict in answer.verdicts if answer is not None else ():
        if verdict.wins:
            _replace(run, library, verdict)
    for member in run.spec.members:
        _process_member(run, library, member, answer)
    record = _process_own(run, library, answer)
    write_json(run.paths.processed, {"skill": record.name, "version": record.version})
    return record


def _replace(run: FinishedRun, library: SkillLibrary, verdict: MergeVerdict) -> None:
    """Make the candidate for another skill's expert that skill's next version."""
    held, weights = library.by_expert()[verdict.expert], run.experts[verdict.expert]
    if library.holds(held, weights) or is_known(library, held, weights):
        return
    changes = {
        "version": next_version(library, held),
        "frames": held.frames + run.result.frames,
        "evaluation": verdict.evaluation,
        "status": "learned" if is_learned(_by_step(run), verdict.evaluation) else "weak",
    }
    own = {g: read_expert(library.skill_paths(held).companion(g), library.description) for g in held.companions}
    module = read_text(library.skill_paths(held).module)
    install(library, VersionCandidate(held.model_copy(update=changes), weights, module, own))


def _by_step(run: FinishedRun) -> GateConfig:
    """What decides about a skill that is one of several steps."""
    return run.spec.config.gate.model_copy(update={"on": "step"})


def _process_member(run: FinishedRun, library: SkillLibrary, member: Member, answer: ComparisonAnswer | None) -> None:
    """Put a member into the library, unless another run has put that skill there meanwhile.

    Its plan is the run's up to its own task, and its success is that of the plan's last measurement.
    """
    if member.name in library.named():
        return
    steps, whole = run.spec.plan.steps, run.evaluation if answer is None else answer.evaluation
    tasks = [i for i, step in enumerate(steps) if step.skill == member.name]
    until = tasks[0] + 1
    wins = answer is not None and answer.bundle is not None and answer.bundle_wins
    used = {step.expert for step in steps[:until]}
    beside = [g for g in _unlike(run, library) if wins and g in used]
    evaluation = Evaluation(
        success=Share(successes=whole.finished[tasks[0]], total=whole.success.total),
        step_success=Share(successes=sum(whole.finished[i] for i in tasks), total=sum(whole.reached[i] for i in tasks)),
        reached=whole.reached[:until],
        finished=whole.finished[:until],
        causes={},
        length=whole.length,
        amount=steps[tasks[0]].n,
        worlds_seed=whole.worlds_seed,
    )
    record = SkillRecord(
        name=member.name,
        expert_idx=member.expert,
        description=member.description,
        spec=member.spec,
        status="learned" if is_learned(_by_step(run), evaluation) else "weak",
        frames=run.result.frames,
        evaluation=evaluation,
        plan=Plan(goal=member.name, steps=steps[:until]),
        companions=tuple(beside),
        path=str(library.paths.skill(member.expert, member.name).folder.relative_to(library.paths.root)),
    )
    companions = {g: run.experts[g] for g in beside}
    install(library, VersionCandidate(record, run.experts[member.expert], member.code, companions))


def _process_own(run: FinishedRun, library: SkillLibrary, answer: ComparisonAnswer | None) -> SkillRecord:
    before, wins = library.named().get(run.spec.skill), answer is None or answer.bundle_wins
    if before is None:
        # Where its bundle lost it is played with the library's experts, and the bundle is kept in its history.
        before = install(library, _candidate(run, library, answer, None, alone=not wins))
    candidate = _candidate(run, library, answer, before)
    if _is_whole(library, before, candidate):
        return before
    answer = _require(answer, run)
    if wins:
        return install(library, candidate)
    shelve(library, candidate)
    kept = before.model_copy(update={"evaluation": answer.evaluation})
    if not run.spec.trained_dependencies:
        kept = kept.model_copy(update={"status": answer.status})
    write_json(library.skill_paths(before).record, kept)
    return kept


def _is_whole(library: SkillLibrary, before: SkillRecord, candidate: VersionCandidate) -> bool:
    """Whether the library holds a candidate with all that lies beside it."""
    paths, own = library.skill_paths(before), {candidate.record.expert_idx: candidate.expert}
    held = {g: policy.params for g, policy in ((g, paths.companion(g)) for g in before.companions)}
    held |= {before.expert_idx: paths.params}
    wanted = {g: expert_sha256(weights) for g, weights in (*candidate.companions.items(), *own.items())}
    return wanted == {g: sha256(read_bytes(file)) for g, file in held.items() if file.exists()}


def _candidate(
    run: FinishedRun,
    library: SkillLibrary,
    answer: ComparisonAnswer | None,
    before: SkillRecord | None,
    alone: bool = False,
) -> VersionCandidate:
    """The run's own skill as it would stand in the library.

    Args:
        alone: without the other experts that it learned with.
    """
    spec = run.spec
    # A bundle that lost is shown with what its own run measured.
    measured = answer if answer is not None and (alone or answer.bundle_wins) else run.result
    evaluation = measured.evaluation or run.evaluation
    # A chain asks for more than a step; who has learned the step does not forget it for that.
    goes_on = before is not None and before.status == "learned" and is_learned(_by_step(run), evaluation)
    companions = {g: run.experts[g] for g in _companions(run, library, before, alone)}
    record = SkillRecord(
        name=spec.skill,
        expert_idx=spec.expert,
        description=spec.description,
        spec=spec.spec,
        status="learned" if measured.status == "learned" or goes_on else "weak",
        version=1 if before is None else next_version(library, before),
        frames=spec.frames_before + run.result.frames,
        evaluation=evaluation,
        plan=spec.plan,
        is_module=spec.is_module,
        companions=tuple(companions),
        path=str(library.paths.skill(spec.expert, spec.skill).folder.relative_to(library.paths.root)),
    )
    return VersionCandidate(record, run.experts[spec.expert], run.source, companions, run.start_states())


def _companions(run: FinishedRun, library: SkillLibrary, before: SkillRecord | None, alone: bool) -> list[int]:
    """Experts that will lie beside the skill. By number."""
    spec = run.spec
    frozen = {g for local, g in enumerate(spec.local_to_global) if local not in spec.trained}
    kept = frozen & set(before.companions if before is not None else ())
    return sorted({*spec.companions, *kept, *([] if alone else _unlike(run, library))})


def _unlike(run: FinishedRun, library: SkillLibrary) -> list[int]:
    """Other skills' experts that the library holds with other weights."""
    spec, by_expert = run.spec, library.by_expert()
    trained = {spec.local_to_global[local] for local in spec.trained} - {spec.expert}
    return [g for g in sorted(trained & by_expert.keys()) if not library.holds(by_expert[g], run.experts[g])]


def _require(answer: ComparisonAnswer | None, run: FinishedRun) -> ComparisonAnswer:
    if answer is None:
        raise LibraryError(f"The experts of {run.paths.folder} were not compared with those of the library.")
    return answer
