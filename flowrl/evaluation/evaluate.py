"""Measuring a skill or a goal of a library in a worker: `python -m flowrl.evaluation.evaluate FOLDER`."""

import sys
import tempfile
from pathlib import Path

from pydantic import Field

from flowrl.config import MAX_SEED, build_config
from flowrl.evaluation.playback import playing_of
from flowrl.files import append_line, read_json, write_json
from flowrl.jax_runtime import start_jax
from flowrl.jobs.job import Job
from flowrl.jobs.local import run_job
from flowrl.jobs.worker import beat, run_worker
from flowrl.library.catalog import plan_with_library
from flowrl.library.home import SkillLibrary, description_of
from flowrl.paths import PlayPaths
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.frozen import Frozen
from flowrl.schema.metrics import OnRow, PlayingRow
from flowrl.schema.run import RunSpec
from flowrl.weights import load_experts

MODULE = "flowrl.evaluation.evaluate"


class EvaluationRequest(Frozen):
    """What the child is to play: `request.json`."""

    episodes: int = Field(ge=1)
    seed: int = Field(ge=0, le=MAX_SEED)


def evaluate_goal(
    library: SkillLibrary, goal: str, episodes: int, seed: int, steps: int | None, on_row: OnRow
) -> Evaluation:
    """Play the plan for a skill or goal. On worlds that no training and no gate has used.

    Args:
        episodes: worlds played, one episode each.
        seed: which worlds; the same seed gives the same worlds and the same result.
        steps: time limit of an episode; None for the default.
        on_row: called with a `PlayingRow` now and then.

    Raises:
        UsageError, PlanError, LibraryError: the goal is unknown, out of reach, or an expert's weights are damaged or
            made for another observation.
        ModuleError: untrusted code does not pass verification.
        TrainingError: the child failed.
    """
    config = build_config(**library.description.options(), env__episode_steps=steps)
    library.require(description_of(config))
    plan, _ = plan_with_library(library, goal)
    with tempfile.TemporaryDirectory(prefix="flowrl-eval-") as folder:
        paths = PlayPaths(Path(folder))
        playing_of(library, plan, config).write_with_weights(library, paths)
        write_json(paths.request, EvaluationRequest(episodes=episodes, seed=seed))
        return run_job(Job(paths.folder, f"evaluation of {goal}", MODULE), Evaluation, on_row)


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
