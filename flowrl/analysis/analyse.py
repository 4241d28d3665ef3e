"""The analysis of one skill. Segments played with the library's experts, their statistics, then what ablation shows."""

import time

import jax
import numpy as np

from flowrl.analysis.ablation import Start
from flowrl.analysis.findings import AnalysisRequest, Findings, Way
from flowrl.analysis.probing import Probing, segment_attempt
from flowrl.analysis.recorder import Recorded, SegmentRecorder, shown
from flowrl.analysis.scripted_play import Stepper
from flowrl.analysis.segments import ENOUGH, Statistics, statistics_of
from flowrl.env.flow_env import FlowEnv
from flowrl.env.staging.scenes import AS_IT_IS, Stage
from flowrl.files import read_json
from flowrl.fluents import NEAR, PLACED
from flowrl.models.experts import stack
from flowrl.paths import PlayPaths
from flowrl.rollout.policy_runner import PolicyRunner
from flowrl.rollout.rollout import Policy
from flowrl.rollout.run_env import build_env
from flowrl.rollout.world_seeds import ANALYSIS, world_key
from flowrl.schema.metrics import OnRow, PhaseRow, PlayingRow
from flowrl.schema.run import RunSpec
from flowrl.weights import load_experts

_MAX_AMOUNTS, _MAX_BASES = 3, 24


def analyse(paths: PlayPaths, on_row: OnRow) -> Findings:
    """Analyse the skill of a folder.

    Args:
        on_row: called with the progress: "playing", then "probing", then "ablating".
    """
    begin = time.monotonic()
    spec, request = read_json(paths.config, RunSpec), read_json(paths.request, AnalysisRequest)
    env = build_env(spec, paths)
    play_key, stage_key = jax.random.split(world_key(ANALYSIS, request.seed))
    recorded = _recorded(env, spec, paths, request, play_key, on_row)
    enough = len(recorded.segments) >= ENOUGH
    found = statistics_of(spec.skill, recorded.segments) if enough else None
    too_few = (
        f"{spec.skill} succeeded in {len(recorded.segments)} segments within {recorded.frames:,} frames; {ENOUGH} are "
        f"needed for statistics. What follows is from staged worlds alone."
    )
    notes = [] if enough else [too_few]
    on_row(PhaseRow(kind="probing"))
    floor = spec.spec.floors[0] if spec.spec.floors else 0
    stepper = Stepper(Stage.of(env.domain, floor))
    functions = env.tasks.skills[env.tasks.skill_of_task[env.plan_tasks - 1]]
    probing = Probing(stepper, functions, request.vocabulary, spec.spec, stage_key)
    ways = probing.ways()
    on_row(PhaseRow(kind="ablating"))
    again = _last_step_again(probing, recorded, found) if found is not None else None
    return Findings(
        skill=spec.skill,
        env=spec.config.env.name,
        statistics=found,
        ways=tuple(way for way in (again, *ways) if way is not None),
        trajectories=shown(recorded.trajectories),
        notes=(*notes, *probing.notes),
        frames=recorded.frames,
        seconds=round(time.monotonic() - begin, 2),
    )


def _recorded(
    env: FlowEnv, spec: RunSpec, paths: PlayPaths, request: AnalysisRequest, key: jax.Array, on_row: OnRow
) -> Recorded:
    low, high = spec.spec.n_range or (env.amounts.high[-1],) * 2
    amounts = sorted({round(n) for n in np.linspace(low, high, min(_MAX_AMOUNTS, high - low + 1))})
    experts = len(spec.local_to_global)
    params = stack(list(load_experts(paths.initial).values()))
    policy = Policy(PolicyRunner(env, spec.config, experts).network(experts), params)

    def tell(segments: int, frames: int) -> None:
        on_row(PlayingRow(played=segments, wanted=request.segments, frames=frames))

    tell(0, 0)
    return SegmentRecorder(env, policy, amounts).record(key, request.segments, request.frames, tell)


def _last_step_again(probing: Probing, recorded: Recorded, found: Statistics) -> Way | None:
    """The segments' last step repeated in the worlds before."""
    rich = probing.rich()
    if rich is None or recorded.bases is None:
        return None
    segments = recorded.segments[:_MAX_BASES]
    bases = jax.tree.map(lambda leaf: leaf[:_MAX_BASES], recorded.bases)
    rose = {f for f in segments[0].end if all(s.end.get(f, 0) > s.before.get(f, 0) for s in segments)}
    kept = _as_they_were(probing, rich, {*rose, *probing.spec.yields})
    spent = {each.fluent: each.spent_before for each in found.fluents if each.fluent in rich}
    attempt = segment_attempt(segments, bases, probing.stepper, kept, spent)
    return probing.ablation.way_of(attempt) if attempt is not None else None


def _as_they_were(probing: Probing, rich: Start, yielded: set[str]) -> dict[str, int]:
    """The rich start with the segments' own amounts of what is yielded."""
    everything = probing.everything()
    names = {PLACED + f.removeprefix(NEAR) if f.startswith(NEAR) else f for f in yielded}
    return {name: AS_IT_IS if name in names or most < everything[name] else most for name, most in rich.items()}
