"""Measure a skill or a goal of a library in a child process."""

import tempfile
from pathlib import Path

from pydantic import Field

from flowrl.config import MAX_SEED, build_config
from flowrl.evaluation.playback import playing_of
from flowrl.files import write_json
from flowrl.jobs.job import Job
from flowrl.jobs.run_job import run_job
from flowrl.library.goal_plans import plan_with_library
from flowrl.library.home import SkillLibrary, description_of
from flowrl.paths import PlayPaths
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.frozen import Frozen
from flowrl.schema.metrics import OnRow

MODULE = "flowrl.evaluation.evaluate_worker"


class EvaluationRequest(Frozen):
    """What the child is to play: `request.json`."""

    episodes: int = Field(ge=1)
    seed: int = Field(ge=0, le=MAX_SEED)


def evaluate_goal(
    library: SkillLibrary, goal: str, episodes: int, seed: int, steps: int | None, on_row: OnRow
) -> Evaluation:
    """Play the plan for a skill or goal.

    On worlds that no training and no gate has used.

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
