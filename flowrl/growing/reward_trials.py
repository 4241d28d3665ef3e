"""Rewards tried against each other: a short run for each, all of one length; what they measure goes into the draft."""

from flowrl.config import RunConfig
from flowrl.errors import UsageError
from flowrl.files import read_json
from flowrl.library.drafts import Draft, Drafts
from flowrl.library.home import SkillLibrary
from flowrl.parallel.training_processor import trained_result
from flowrl.parallel.training_setup import put_aside
from flowrl.paths import HomePaths, RunPaths
from flowrl.schema.run import RunSpec


def candidate_name(name: str, which: int) -> str:
    """Returns what the run of one of a skill's candidates is called."""
    return f"{name} candidate {which + 1}"


def draft_of(home: HomePaths, run_name: str) -> tuple[Draft, int]:
    """Returns the draft that a candidate's run is about, and which of its candidates it tries.

    Raises:
        UsageError: there is none.
    """
    for draft in Drafts(home):
        for which in range(len(draft.candidates)):
            if candidate_name(draft.skill.name, which) == run_name:
                return draft, which
    raise UsageError(f"{run_name!r} is a candidate of no draft in {home.drafts}.")


def trial_config(config: RunConfig, frames: int) -> RunConfig:
    """Returns a run's configuration for a trial: so many frames whatever is reached, the learning rate as it begins."""
    trial = {"ppo": {"frames": frames, "anneal": False}, "gate": {"stop_at": 1.0, "per_amount_worlds": 0}}
    held = config.model_dump()
    return RunConfig.model_validate(held | {part: held[part] | values for part, values in trial.items()})


def collect_trial(library: SkillLibrary, run: RunPaths) -> None:
    """Notes in its draft what a candidate's run measured, and puts the run's folder aside; twice is as good as once.

    Raises:
        TrainingError: the run failed; carries its reason.
        LibraryError: its weights are not those that its result names.
    """
    name = read_json(run.config, RunSpec).skill
    result = trained_result(run)
    draft, which = draft_of(library.paths, name)
    assert result.evaluation is not None
    measured = {"success": result.evaluation.step_success, "frames": result.frames}
    candidates = list(draft.candidates)
    candidates[which] = candidates[which].model_copy(update=measured)
    Drafts(library.paths).save(draft.model_copy(update={"candidates": tuple(candidates)}))
    put_aside(run.folder)
