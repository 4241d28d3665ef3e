"""Merging on evidence. Which of a run's experts are compared with the library's, and the job that plays both.

A candidate replaces an expert of the library only if the paired difference of plan success on common worlds has its
95 % lower bound above zero. Each contest is decided with the winners of those before it, and the run's own skill is
measured last, with what the library will hold.
"""

import shutil
from collections.abc import Mapping

from flowrl.errors import TrainingError
from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths, ComparisonRequest, Contest
from flowrl.evaluation.playback import playing_of, policy_of, weights_for
from flowrl.files import read_bytes, read_json, write_json
from flowrl.jobs.job import Job, JobEnd
from flowrl.jobs.local import is_locked
from flowrl.library.home import SkillLibrary
from flowrl.library.trust import require_ours, vouch
from flowrl.parallel.run_folder import FinishedRun
from flowrl.schema.run import RunSpec
from flowrl.weights import expert_sha256, save_experts, sha256

MODULE = "flowrl.evaluation.compare_worker"


def comparison(library: SkillLibrary, run: FinishedRun, failed: JobEnd | None = None) -> Job | None:
    """The job that a run's result has to wait for.

    None where there is none.

    Args:
        failed: how that job ended, if it was done just now.

    Raises:
        TrainingError: that job gave no answer; shows the end of its log.
        LibraryError: an expert is damaged, or another user set the run up.
        ModuleError: code that is not vouched for does not pass verification.
    """
    contests = _contests(library, run)
    if run.paths.processed.exists() or not (contests or _has_moved_on(library, run.spec)):
        return None
    paths = ComparisonPaths.of(run.paths)
    players = _players(library, run.spec, contests)
    held = {g: sha256(read_bytes(policy_of(library, g, players[g]).params)) for g in sorted(players)}
    if paths.result.exists() and _still_holds(read_json(paths.result, ComparisonAnswer), held, run):
        return None
    job = Job(paths.folder, run.spec.skill, MODULE)
    require_ours(run.paths, run.spec)
    if is_locked(job):
        # An earlier process began it, and it is not done; it would be started again if it ended in between.
        for contest in read_json(paths.request, ComparisonRequest).contests:
            player = paths.contest(contest.expert)
            if player.config.exists():
                require_ours(player, read_json(player.config, RunSpec))
        return job
    if failed is not None:
        raise TrainingError(f"Comparing {run.spec.skill} with the library failed. {failed.why()}")
    _prepare(library, run, contests, players, held)
    return job


def _contests(library: SkillLibrary, run: FinishedRun) -> tuple[Contest, ...]:
    """A contest for each trained expert that the library holds.

    The run's own expert comes last.

    There is none for an own expert whose weights the library holds already: an earlier process may have been killed
    just after it installed them.
    """
    by_expert = library.by_expert()
    own = run.spec.expert
    contested = list(run.spec.trained_dependencies)
    if own in by_expert and library.weights_hash(by_expert[own]) != expert_sha256(run.experts[own]):
        contested.append(own)
    return tuple(Contest(skill=by_expert[g].name, expert=g) for g in contested)


def _has_moved_on(library: SkillLibrary, spec: RunSpec) -> bool:
    """Whether a frozen expert of the library changed during training."""
    by_expert = library.by_expert()
    frozen = {local: g for local, g in enumerate(spec.local_to_global) if local not in spec.trained}
    return any(
        g in by_expert and spec.seeds.get(local, "") not in ("", library.weights_hash(by_expert[g]))
        for local, g in frozen.items()
    )


def _players(library: SkillLibrary, spec: RunSpec, contests: tuple[Contest, ...]) -> dict[int, str]:
    """The library's experts in all plans that are played. Each with a skill that plays with it."""
    records = library.named()
    new = [] if spec.skill in records else [spec.expert, *spec.companions]
    new += [member.expert for member in spec.members if member.name not in records]
    players = {g: spec.skill for g in spec.local_to_global if g not in new}
    for contest in contests:
        for step in records[contest.skill].plan.steps:
            if step.expert is not None and step.expert not in new:
                players.setdefault(step.expert, contest.skill)
    return players


def _still_holds(answer: ComparisonAnswer, held: Mapping[int, str], run: FinishedRun) -> bool:
    """Whether the answer is about the library's present experts. The winners may have been installed already."""
    for g, digest in held.items():
        verdict = answer.verdict_on(g)
        is_new = g not in answer.held
        wins = is_new if verdict is None else verdict.wins
        is_winner = wins and g in run.experts and digest == expert_sha256(run.experts[g])
        if digest != answer.held.get(g) and not is_winner:
            return False
    return True


def _prepare(
    library: SkillLibrary,
    run: FinishedRun,
    contests: tuple[Contest, ...],
    players: Mapping[int, str],
    held: Mapping[int, str],
) -> None:
    """Write the folder of a comparison; the request comes last."""
    paths, spec = ComparisonPaths.of(run.paths), run.spec
    if paths.request.exists():
        shutil.rmtree(paths.folder)
    trained = [spec.local_to_global[local] for local in spec.trained]
    save_experts(paths.candidates, {g: run.experts[g] for g in trained})
    save_experts(paths.held, {g: weights_for(library, g, player) for g, player in players.items()})
    records = library.named()
    for contest in contests:
        if contest.expert != spec.expert:
            player = paths.contest(contest.expert)
            playing = playing_of(library, records[contest.skill].plan, spec.config)
            if not playing.spec.exported:
                vouch(playing.module, f"the module of {player.folder}")
            playing.write(player)
    request = ComparisonRequest(
        contests=contests,
        skill=spec.skill,
        expert=spec.expert,
        worlds=spec.config.gate.merge_worlds,
        number=(spec.frames_before + run.result.frames + 1_000_003 * spec.runs_before) % 2**31,
        held=dict(held),
    )
    write_json(paths.request, request)
