"""Measuring a skill or a goal with the library as it is, in a child process."""

import subprocess
import sys
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from flowrl.config import MAX_SEED, RunConfig, build_config
from flowrl.errors import TrainingError
from flowrl.evaluation.playback import playing_of
from flowrl.files import open_to_append, read_json, write_json
from flowrl.jobs.local import follow
from flowrl.library.goal_plans import plan_with_library
from flowrl.library.home import SkillLibrary, description_of
from flowrl.paths import RunPaths
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.metrics import OnRow


class EvaluationRequest(BaseModel):
    """What the child is to play: `request.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    episodes: int = Field(ge=1)
    seed: int = Field(ge=0, le=MAX_SEED)


def evaluate_goal(
    library: SkillLibrary,
    goal: str,
    episodes: int,
    seed: int,
    steps: int | None,
    on_row: OnRow,
) -> Evaluation:
    """Returns what playing the plan for a skill or goal shows, on worlds that no training and no gate has used.

    Args:
        episodes: worlds played, one episode each.
        seed: which worlds; the same seed gives the same worlds and the same result.
        steps: time limit of an episode; None for the default.
        on_row: called with a `PlayingRow` now and then.

    Raises:
        UsageError, PlanError, LibraryError: the goal is unknown, out of reach, or an expert's weights are damaged or
            made for another observation.
        ModuleError: code that nobody vouched for does not pass verification.
        TrainingError: the child failed.
    """
    config = _config(library, steps)
    library.require(description_of(config))
    plan, _ = plan_with_library(library, goal)
    with tempfile.TemporaryDirectory(prefix="flowrl-eval-") as folder:
        paths = RunPaths(Path(folder) / "skill_0_evaluation", 0)
        playing_of(library, plan, config).write_with_weights(library, paths)
        write_json(paths.folder / "request.json", EvaluationRequest(episodes=episodes, seed=seed))
        command = [sys.executable, "-P", "-m", "flowrl.evaluation.evaluate_worker", str(paths.folder)]
        with open_to_append(paths.log, anew=True) as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            for row in follow(paths, lambda: process.poll() is None):
                on_row(row)
        finally:
            process.terminate()
            process.wait()
        answer = paths.folder / "evaluation.json"
        if not answer.exists():
            tail = "\n".join(paths.log.read_text(errors="replace").splitlines()[-20:])
            raise TrainingError(f"Evaluating {goal} failed. The log ends:\n{tail}")
        return read_json(answer, Evaluation)


def _config(library: SkillLibrary, steps: int | None) -> RunConfig:
    return build_config(**library.description.options(), env__episode_steps=steps)
