"""Measuring a skill or a goal with the library as it is, in a child process."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from flowrl.config import RunConfig, build_config
from flowrl.drive import compose_plan, tasks_of
from flowrl.errors import LibraryError, TrainingError
from flowrl.files import read_arrays, read_json, write_arrays, write_json, write_text
from flowrl.library import SkillLibrary
from flowrl.outlook import plan_with_library
from flowrl.parallel.local import follow
from flowrl.parallel.paths import RunPaths, SkillPaths
from flowrl.parallel.training_setup import inject_remapping_header
from flowrl.skill import Evaluation, Plan, RunSpec, Skill, TaskSpec
from flowrl.weights import Tree, flatten, named_state, unflatten


class EvaluationRequest(BaseModel):
    """What the child is to play: `request.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    episodes: int = Field(ge=1)
    seed: int = Field(ge=0)


def evaluate_goal(
    library: SkillLibrary,
    goal: str,
    episodes: int,
    seed: int,
    steps: int | None,
    on_row: Callable[[Mapping[str, Any]], None],
) -> Evaluation:
    """Returns what playing the plan for a skill or goal shows, on worlds that no training and no gate has used.

    Args:
        episodes: worlds played, one episode each.
        seed: which worlds; the same seed gives the same worlds and the same result.
        steps: time limit of an episode; None for the default.
        on_row: called with {"kind": "playing", "ended", "episodes", "steps"} now and then.

    Raises:
        UsageError, PlanError, LibraryError: the goal is unknown, out of reach, or an expert's weights are damaged.
        TrainingError: the child failed.
    """
    plan, skills = plan_with_library(library, goal)
    with tempfile.TemporaryDirectory(prefix="flowrl-eval-") as folder:
        paths = RunPaths(Path(folder) / "skill_0_evaluation", 0)
        _prepare(library, plan, skills, paths, _config(library, steps))
        write_json(paths.folder / "request.json", EvaluationRequest(episodes=episodes, seed=seed))
        command = [sys.executable, "-m", "flowrl.learning.evaluation_run", str(paths.folder)]
        with paths.log.open("wb") as log:
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
    held = library.description
    return build_config(
        env__name=held.env, model__width=held.width, model__layers=held.layers, env__episode_steps=steps
    )


def _prepare(
    library: SkillLibrary, plan: Plan, skills: Mapping[str, Skill], paths: RunPaths, config: RunConfig
) -> None:
    experts = {name: record.expert_idx for name, record in library.named().items()}
    own = plan.steps[-1].skill
    is_module = skills[own].is_module
    code = skills[own].code if is_module else compose_plan(plan, skills, experts)
    used = sorted({step.expert for step in plan.steps if step.expert is not None})
    to_local = {g: i for i, g in enumerate(used)}
    module = inject_remapping_header(code, to_local, dict(enumerate(used)))
    weights = {to_local[g]: _weights(library, g, own) for g in used}
    spec = RunSpec(
        skill=own,
        spec=skills[own].spec,
        config=config,
        tasks=tuple(task.model_copy(update={"low": task.high}) for task in _tasks(plan, skills, own)),
        local_to_global=tuple(used),
        trained=(),
        own=to_local[plan.steps[-1].expert or 0],
        plan=plan,
    )
    write_text(paths.module, module)
    write_arrays(paths.initial, flatten(named_state(weights)))
    write_json(paths.config, spec)


def _tasks(plan: Plan, skills: Mapping[str, Skill], own: str) -> list[TaskSpec]:
    if not skills[own].is_module:
        return tasks_of(plan, skills, "")
    return [TaskSpec(skill=step.skill, low=step.n, high=step.n) for step in plan.steps]


def _weights(library: SkillLibrary, expert: int, own: str) -> Tree:
    by_expert = {record.expert_idx: record for record in library.records()}
    if expert in by_expert:
        return unflatten(library.expert(by_expert[expert]))
    folder = library.skill_paths(library.record(own)).folder / "companions"
    companion = SkillPaths(folder, expert)
    if not companion.params.exists():
        raise LibraryError(f"Expert {expert}, which {own} plays with, is neither in the library nor in {folder}.")
    return unflatten(read_arrays(companion.params))
