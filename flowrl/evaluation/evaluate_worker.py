"""The worker that plays an evaluation: `python -m flowrl.evaluation.evaluate_worker FOLDER`."""

import sys
from pathlib import Path

from flowrl.evaluation.evaluate import EvaluationRequest
from flowrl.files import append_line, read_json
from flowrl.jax_runtime import start_jax
from flowrl.jobs.worker import beat, run_worker
from flowrl.paths import PlayPaths
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.metrics import PlayingRow
from flowrl.schema.run import RunSpec
from flowrl.weights import load_experts


def work(folder: Path) -> Evaluation:
    """Play the folder's tasks with its weights."""
    paths = PlayPaths(folder)
    spec, request = read_json(paths.config, RunSpec), read_json(paths.request, EvaluationRequest)
    start_jax(spec.config.gpu_memory, spec.config.groups)
    from flowrl.evaluation.play import play_worlds
    from flowrl.evaluation.summary import amounts_to_play, summarise
    from flowrl.models.experts import stack
    from flowrl.rollout.policy_runner import PolicyRunner
    from flowrl.rollout.programs import PlayPrograms
    from flowrl.rollout.run_env import build_env
    from flowrl.rollout.world_seeds import EVALUATION, world_key

    env = build_env(spec, paths)
    programs = PlayPrograms(PolicyRunner(env, spec.config, len(spec.local_to_global)))
    params = stack(list(load_experts(paths.initial).values()))
    amounts = amounts_to_play(env, request.episodes, 0)

    def report(ended: int, _steps: int) -> None:
        append_line(paths.metrics, PlayingRow(played=ended, wanted=request.episodes))
        beat(paths)

    outcome = play_worlds(programs, params, world_key(EVALUATION, request.seed), amounts, report)
    return summarise(env, outcome, amounts, env.domain.causes, request.seed)


if __name__ == "__main__":
    sys.exit(run_worker(work))
