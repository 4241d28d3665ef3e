"""Merging on evidence: which of a run's experts have to be held against the library's, and the job that does it.

A candidate replaces an expert of the library only if the paired difference of plan success on common worlds has its
95 % lower bound above zero. Each contest is
decided with the winners of those before it, and the run's own skill is measured last, with what the library will hold.
"""

import shutil
from collections.abc import Mapping

from flowrl.config import RunConfig
from flowrl.errors import TrainingError
from flowrl.evaluation.comparison import ANSWER, ComparisonAnswer, ComparisonPaths, ComparisonRequest, Contest
from flowrl.evaluation.playback import playing_of, policy_of, weights_for, write_playing
from flowrl.files import pack_arrays, read_arrays, read_json, write_arrays, write_json
from flowrl.jobs.job import Job, JobEnd
from flowrl.jobs.local import is_locked
from flowrl.library.catalog import skill_of
from flowrl.library.home import SkillLibrary
from flowrl.library.trust import require_ours, vouch
from flowrl.parallel.training_processor import trained_result
from flowrl.paths import RunPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.weights import Tree, expert_of, flatten, named_state, sha256, unflatten

MODULE = "flowrl.evaluation.compare_worker"


def comparison(library: SkillLibrary, run: RunPaths, failed: JobEnd | None = None) -> Job | None:
    """Returns the job that has to be done before a run's result can be processed, None where nothing is lacking.

    Args:
        failed: how that job ended, if it was done just now.

    Raises:
        TrainingError: the run failed, or that job gave no answer; shows the end of its log.
        LibraryError: the weights are damaged or not those that the result names, or somebody else set the run up.
        ModuleError: code that nobody vouched for does not pass verification.
    """
    result = trained_result(run)
    spec = read_json(run.config, RunSpec)
    contests = _contests(library, run, spec)
    if run.processed.exists() or not (contests or _has_moved_on(library, spec)):
        return None
    paths = ComparisonPaths.of(run)
    players = _players(library, spec, contests)
    held = {g: _hash_of(library, g, player) for g, player in sorted(players.items())}
    if paths.answer.exists() and _still_holds(read_json(paths.answer, ComparisonAnswer), held, run, spec):
        return None
    job = Job(spec.skill, paths.folder, MODULE, ANSWER)
    if is_locked(job):
        # An earlier process began it, and it is not done; it would be started again if it ended in between.
        require_ours(run, spec)
        _require_our_contests(paths)
        return job
    if failed is not None:
        raise TrainingError(f"Holding {spec.skill} against the library came to nothing. {failed.why()}")
    require_ours(run, spec)
    _prepare(library, run, spec, result, contests, players, held)
    return job


def _require_our_contests(paths: ComparisonPaths) -> None:
    for contest in read_json(paths.request, ComparisonRequest).contests:
        player = paths.contest(contest.expert)
        if player.config.exists():
            require_ours(player, read_json(player.config, RunSpec))


def _contests(library: SkillLibrary, run: RunPaths, spec: RunSpec) -> tuple[Contest, ...]:
    """Returns a contest for each expert that the run trained and the library holds, the run's own last; none for an own
    expert that is the library's already, be it that it was put there and the process was killed before it noted so."""
    by_expert = {record.expert_idx: record for record in library.records()}
    trained = [spec.local_to_global[local] for local in spec.trained if local not in spec.random]
    held = [g for g in trained if g != spec.expert]
    if spec.expert in by_expert:
        named = unflatten(read_arrays(run.folder / "params.safetensors"))
        if library.weights_hash(by_expert[spec.expert]) != _digest(expert_of(named, spec.own)):
            held.append(spec.expert)
    return tuple(Contest(skill=by_expert[g].name, expert=g) for g in held)


def _has_moved_on(library: SkillLibrary, spec: RunSpec) -> bool:
    """Returns whether the library holds other weights for a frozen expert than those that the run was trained with."""
    by_expert = {record.expert_idx: record for record in library.records()}
    frozen = {local: g for local, g in enumerate(spec.local_to_global) if local not in spec.trained}
    return any(
        g in by_expert and spec.seeds.get(local, "") not in ("", library.weights_hash(by_expert[g]))
        for local, g in frozen.items()
    )


def _players(library: SkillLibrary, spec: RunSpec, contests: tuple[Contest, ...]) -> dict[int, str]:
    """Returns the library's experts that take part, those of the run's plan and of every plan that is played, each with
    a skill that plays with it."""
    records = library.named()
    known = spec.skill in records
    mine = {g for local, g in enumerate(spec.local_to_global) if known or local not in (spec.own, *spec.random)}
    players = dict.fromkeys(mine, spec.skill)
    for contest in contests:
        for step in records[contest.skill].plan.steps:
            if step.expert is not None:
                players.setdefault(step.expert, contest.skill)
    return players


def _still_holds(answer: ComparisonAnswer, held: Mapping[int, str], run: RunPaths, spec: RunSpec) -> bool:
    """Returns whether the answer is about what the library holds, or about what it held before the answer's winners
    were put there."""
    named = unflatten(read_arrays(run.folder / "params.safetensors"))
    to_local = {g: local for local, g in enumerate(spec.local_to_global)}
    for g, digest in held.items():
        if digest == answer.held.get(g):
            continue
        verdict = answer.verdict_on(g)
        if verdict is None or not verdict.wins or digest != _digest(expert_of(named, to_local[g])):
            return False
    return True


def _digest(expert: Tree) -> str:
    return sha256(pack_arrays(flatten(expert)))


def _hash_of(library: SkillLibrary, expert: int, player: str) -> str:
    return sha256(policy_of(library, expert, player).params.read_bytes())


def _prepare(
    library: SkillLibrary,
    run: RunPaths,
    spec: RunSpec,
    result: TrainResult,
    contests: tuple[Contest, ...],
    players: Mapping[int, str],
    held: Mapping[int, str],
) -> None:
    """Writes the folder of a comparison; the request is written last."""
    paths = ComparisonPaths.of(run)
    if paths.request.exists():
        shutil.rmtree(paths.folder)
    named = unflatten(read_arrays(run.folder / result.params))
    records = library.named()
    candidates = {g: expert_of(named, i) for i, g in enumerate(spec.local_to_global) if i in spec.trained}
    write_arrays(paths.candidates, flatten(named_state(candidates)))
    weights = {g: weights_for(library, g, player) for g, player in players.items()}
    write_arrays(paths.held, flatten(named_state(weights) if weights else {}))
    for contest in contests:
        if contest.expert != spec.expert:
            _write_playing(library, records[contest.skill], paths.contest(contest.expert), spec.config)
    request = ComparisonRequest(
        contests=contests,
        skill=spec.skill,
        expert=spec.expert,
        worlds=spec.config.gate.merge_worlds,
        number=(spec.frames_before + result.frames + 1_000_003 * spec.runs_before) % 2**31,
        held=dict(held),
    )
    write_json(paths.request, request)


def _write_playing(library: SkillLibrary, record: SkillRecord, paths: RunPaths, config: RunConfig) -> None:
    """Writes what it takes to play a skill's own plan, but for the weights."""
    skills = {other.name: skill_of(library, other) for other in library.records()}
    experts = {name: other.expert_idx for name, other in library.named().items()}
    playing = playing_of(record.plan, skills, experts, config)
    if not playing.spec.exported:
        vouch(playing.module, f"the module of {paths.folder}")
    write_playing(playing, paths)
