"""After a run. Its experts get their global numbers back, and those that are better enter the library."""

from flowrl.errors import LibraryError
from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths
from flowrl.files import read_json, read_text, write_json
from flowrl.library.home import SkillLibrary
from flowrl.library.versions import VersionCandidate, install, is_known, next_version, shelve
from flowrl.parallel.run_folder import FinishedRun
from flowrl.paths import RunPaths
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.home import SkillRecord
from flowrl.schema.plan import Plan
from flowrl.schema.run import Member
from flowrl.stats import Share
from flowrl.weights import Expert, expert_sha256


def process_completed_training(run: RunPaths | FinishedRun, library: SkillLibrary) -> SkillRecord:
    """Put a run's experts into the library and return the skill's record.

    A second call changes nothing. Frozen dependencies are not written. An expert that the library holds already is
    replaced where the run's `merge/` folder has evidence for the candidate (`flowrl.growing.merging`); the loser goes
    to `history/`.

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
    for expert in run.spec.trained_dependencies:
        _process_dependency(run, library, expert, answer)
    for member in run.spec.members:
        _process_member(run, library, member, answer)
    record = _process_own(run, library, answer)
    write_json(run.paths.processed, {"skill": record.name, "version": record.version})
    return record


def _process_dependency(run: FinishedRun, library: SkillLibrary, expert: int, answer: ComparisonAnswer | None) -> None:
    held = library.by_expert()[expert]
    weights = run.experts[expert]
    verdict = _require(answer, run).verdict_on(expert)
    if verdict is None:
        raise LibraryError(f"{run.paths.merge} has no verdict on expert {expert}, which {run.paths.folder} trained.")
    if _is_held(library, held, weights) or is_known(library, held, weights):
        return
    version, frames = next_version(library, held), held.frames + run.result.frames
    changes = {"version": version, "frames": frames, "evaluation": verdict.evaluation}
    module = read_text(library.skill_paths(held).module)
    candidate = VersionCandidate(held.model_copy(update=changes), weights, module, {})
    (install if verdict.wins else shelve)(library, candidate)


def _process_member(run: FinishedRun, library: SkillLibrary, member: Member, answer: ComparisonAnswer | None) -> None:
    """Put a member into the library, unless another run has put that skill there meanwhile.

    Its plan is the run's up to its own task, and its success is that of the plan's last measurement.
    """
    if member.name in library.named():
        return
    steps, whole = run.spec.plan.steps, run.evaluation if answer is None else answer.evaluation
    tasks = [i for i, step in enumerate(steps) if step.skill == member.name]
    until = tasks[0] + 1
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
    gate = run.spec.config.gate
    is_learned = evaluation.step_success.total >= gate.min_episodes and evaluation.step_success.low >= gate.learned_at
    record = SkillRecord(
        name=member.name,
        expert_idx=member.expert,
        description=member.description,
        spec=member.spec,
        status="learned" if is_learned else "weak",
        frames=run.result.frames,
        evaluation=evaluation,
        plan=Plan(goal=member.name, steps=steps[:until]),
        path=str(library.paths.skill(member.expert, member.name).folder.relative_to(library.paths.root)),
    )
    install(library, VersionCandidate(record, run.experts[member.expert], member.code, {}))


def _process_own(run: FinishedRun, library: SkillLibrary, answer: ComparisonAnswer | None) -> SkillRecord:
    weights = run.experts[run.spec.expert]
    before = library.named().get(run.spec.skill)
    if before is None:
        return install(library, _candidate(run, library, answer, 1))
    if _is_held(library, before, weights):
        return before
    answer = _require(answer, run)
    verdict = answer.verdict_on(run.spec.expert)
    candidate = _candidate(run, library, answer, next_version(library, before))
    if verdict is not None and verdict.wins:
        return install(library, candidate)
    if not is_known(library, before, weights):
        shelve(library, candidate)
    kept = before.model_copy(update={"evaluation": answer.evaluation, "status": answer.status})
    write_json(library.skill_paths(before).record, kept)
    return kept


def _candidate(
    run: FinishedRun, library: SkillLibrary, answer: ComparisonAnswer | None, version: int
) -> VersionCandidate:
    spec = run.spec
    measured = answer or run.result
    folder = library.paths.skill(spec.expert, spec.skill).folder
    record = SkillRecord(
        name=spec.skill,
        expert_idx=spec.expert,
        description=spec.description,
        spec=spec.spec,
        status="learned" if measured.status == "learned" else "weak",
        version=version,
        frames=spec.frames_before + run.result.frames,
        evaluation=measured.evaluation or run.evaluation,
        plan=spec.plan,
        is_module=spec.is_module,
        companions=spec.companions,
        path=str(folder.relative_to(library.paths.root)),
    )
    companions = {g: run.experts[g] for g in spec.companions}
    return VersionCandidate(record, run.experts[spec.expert], run.source, companions, run.start_states())


def _require(answer: ComparisonAnswer | None, run: FinishedRun) -> ComparisonAnswer:
    if answer is None:
        raise LibraryError(f"The experts of {run.paths.folder} were not compared with those of the library.")
    return answer


def _is_held(library: SkillLibrary, record: SkillRecord, weights: Expert) -> bool:
    return library.weights_hash(record) == expert_sha256(weights)
