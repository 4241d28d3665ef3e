"""Merging on evidence. Which of a run's experts are compared with the library's, and the job that plays both.

A run's experts learned together, so they are judged together first, on the run's own plan, against what the library has
for it. If they are not worse there, each expert of another skill replaces the library's where that skill's own plan
does not suffer; one that suits no other plan stays beside the run's skill as its companion.
"""

import shutil
import zlib
from collections.abc import Collection, Mapping

from flowrl.errors import TrainingError
from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths, ComparisonRequest, Contest
from flowrl.evaluation.playback import playing_of, policy_of, weights_for
from flowrl.files import read_bytes, read_json, write_json
from flowrl.jobs.job import Job, JobEnd
from flowrl.jobs.local import is_locked
from flowrl.library.home import SkillLibrary
from flowrl.library.trust import require_ours, vouch
from flowrl.parallel.run_folder import FinishedRun
from flowrl.paths import SkillPaths
from flowrl.schema.home import SkillRecord
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
    if run.paths.processed.exists() or not (
        contests or _is_contested(library, run) or _has_moved_on(library, run.spec)
    ):
        return None
    paths = ComparisonPaths.of(run.paths)
    held = {g: _digest(library.skill_paths(record)) for g, record in _held(library, run.spec, contests).items()}
    companions = {
        g: _digest(paths) for g, paths in _companions(library, run.spec.skill, run.spec.local_to_global).items()
    }
    if paths.result.exists() and _still_holds(read_json(paths.result, ComparisonAnswer), held, companions, run):
        return None
    job = Job(paths.folder, run.spec.skill, MODULE)
    require_ours(run.paths, run.spec)
    if is_locked(job):
        # An earlier process began it, and it is not done; it would be started again if it ended in between.
        contested = read_json(paths.request, ComparisonRequest).contests
        for player in (paths.contest(g) for g in (run.spec.expert, *(contest.expert for contest in contested))):
            if player.config.exists():
                require_ours(player, read_json(player.config, RunSpec))
        return job
    if failed is not None:
        raise TrainingError(f"Comparing {run.spec.skill} with the library failed. {failed.why()}")
    _prepare(library, run, contests, held, companions)
    return job


def _contests(library: SkillLibrary, run: FinishedRun) -> tuple[Contest, ...]:
    """A contest for each other expert that the library holds, in plan order.

    There is none for a new skill whose weights the library holds already: an earlier process may have been killed just
    after it installed them.
    """
    by_expert, spec = library.by_expert(), run.spec
    members = {member.expert for member in spec.members}
    contested = []
    for g in dict.fromkeys([*(step.expert for step in spec.plan.steps), *spec.trained_dependencies]):
        if g is None:
            continue
        new = g in members and (g not in by_expert or library.holds(by_expert[g], run.experts[g]))
        if (g in spec.trained_dependencies or g in members) and not new:
            contested.append(g)
    return tuple(Contest(skill=by_expert[g].name, expert=g) for g in contested)


def _is_contested(library: SkillLibrary, run: FinishedRun) -> bool:
    """Whether the library holds the run's own skill with other weights."""
    own = library.named().get(run.spec.skill)
    return own is not None and not library.holds(own, run.experts[run.spec.expert])


def _has_moved_on(library: SkillLibrary, spec: RunSpec) -> bool:
    """Whether a frozen expert of the library changed during training."""
    by_expert, companions = library.by_expert(), _companions(library, spec.skill, spec.local_to_global)
    frozen = {local: g for local, g in enumerate(spec.local_to_global) if local not in spec.trained}
    return any(
        g in by_expert
        and g not in companions
        and spec.seeds.get(local, "") not in ("", library.weights_hash(by_expert[g]))
        for local, g in frozen.items()
    )


def _held(library: SkillLibrary, spec: RunSpec, contests: tuple[Contest, ...]) -> dict[int, SkillRecord]:
    """The library's skills whose experts are played in any plan, by expert."""
    records, by_expert = library.named(), library.by_expert()
    played = set(spec.local_to_global)
    for contest in contests:
        played |= {step.expert for step in records[contest.skill].plan.steps if step.expert is not None}
    new = {spec.expert, *(member.expert for member in spec.members)} | set(spec.companions)
    beside = _companions(library, spec.skill, spec.local_to_global)
    for g in sorted(played - by_expert.keys() - new - beside.keys()):
        policy_of(library, g, spec.skill)  # says whose folder is gone
    return {g: by_expert[g] for g in sorted(played & by_expert.keys())}


def _companions(library: SkillLibrary, skill: str, played: Collection[int | None]) -> dict[int, SkillPaths]:
    """Where the experts beside a skill lie. By number."""
    record = library.named().get(skill)
    return {} if record is None else {g: policy_of(library, g, skill) for g in record.companions if g in played}


def _digest(policy: SkillPaths) -> str:
    return sha256(read_bytes(policy.params))


def _still_holds(
    answer: ComparisonAnswer, held: Mapping[int, str], companions: Mapping[int, str], run: FinishedRun
) -> bool:
    """Whether the answer is about the library's present experts. The winners may have been installed already."""

    def unchanged(now: Mapping[int, str], before: Mapping[int, str]) -> bool:
        ours = {g: expert_sha256(run.experts[g]) for g in now.keys() & run.experts.keys()}
        return all(digest in (before.get(g), ours.get(g)) for g, digest in now.items())

    return unchanged(held, answer.held) and unchanged(companions, answer.companions)


def _prepare(
    library: SkillLibrary,
    run: FinishedRun,
    contests: tuple[Contest, ...],
    held: Mapping[int, str],
    companions: Mapping[int, str],
) -> None:
    """Write the folder of a comparison; the request comes last."""
    paths, spec = ComparisonPaths.of(run.paths), run.spec
    if paths.request.exists():
        shutil.rmtree(paths.folder)
    records, by_expert = library.named(), library.by_expert()
    save_experts(
        paths.candidates, {spec.local_to_global[i]: run.experts[spec.local_to_global[i]] for i in spec.trained}
    )
    save_experts(paths.held, {g: library.expert(by_expert[g]) for g in held})
    save_experts(paths.companions, {g: weights_for(library, g, spec.skill) for g in companions})
    apart = [records[contest.skill] for contest in contests]
    if spec.skill in records and records[spec.skill].plan.interrupts != spec.plan.interrupts:
        # What the library holds is played as it was trained: what now pre-empts the plan is none of its own.
        apart.append(records[spec.skill])
    for record in apart:
        player, playing = paths.contest(record.expert_idx), playing_of(library, record.plan, spec.config)
        if not playing.spec.exported:
            vouch(playing.module, f"the module of {player.folder}")
        own = _companions(library, record.name, [expert for _, expert in record.plan.players])
        save_experts(player.initial, {g: weights_for(library, g, record.name) for g in own})
        playing.write(player)
    request = ComparisonRequest(
        contests=contests,
        skill=spec.skill,
        expert=spec.expert,
        worlds=spec.config.gate.merge_worlds,
        # Of its own for each run and goal: what won on some worlds is not judged on the same ones again.
        number=(spec.frames_before + run.result.frames + 1_000_003 * spec.runs_before + zlib.crc32(spec.skill.encode()))
        % 2**31,
        held=dict(held),
        companions=dict(companions),
    )
    write_json(paths.request, request)
