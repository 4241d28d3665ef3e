"""The child that plays an evaluation: `python -m flowrl.evaluation.evaluate_worker FOLDER` writes `evaluation.json`."""

import sys
from pathlib import Path

from flowrl.errors import FlowRLError
from flowrl.evaluation.evaluate import EvaluationRequest
from flowrl.files import append_line, read_json, write_json
from flowrl.jax_runtime import check_jax_results, check_jax_version, configure_jax
from flowrl.paths import RunPaths
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.metrics import PlayingRow
from flowrl.schema.run import RunSpec
from flowrl.weights import load_experts


def evaluate_folder(paths: RunPaths) -> Evaluation:
    """Returns what playing the folder's tasks with its weights shows."""
    check_jax_version()
    spec = read_json(paths.config, RunSpec)
    request = read_json(paths.folder / "request.json", EvaluationRequest)
    configure_jax(spec.config.gpu_memory, spec.config.groups)
    check_jax_results()
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

    outcome = play_worlds(programs, params, world_key(EVALUATION, request.seed), amounts, report)
    return summarise(env, outcome, amounts, env.domain.causes, request.seed)


def main() -> int:
    """Runs the child from the command line."""
    paths = RunPaths(Path(sys.argv[1]), 0)
    try:
        evaluation = evaluate_folder(paths)
    except FlowRLError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    write_json(paths.folder / "evaluation.json", evaluation)
    return 0


if __name__ == "__main__":
    sys.exit(main())
