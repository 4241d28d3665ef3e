"""Compare reward candidates in equally long short runs. The results go into the draft."""

from flowrl.config import RunConfig
from flowrl.errors import UsageError
from flowrl.library.drafts import Draft, Drafts
from flowrl.library.home import SkillLibrary
from flowrl.parallel.run_folder import FinishedRun, put_aside
from flowrl.paths import HomePaths
from flowrl.schema.run import CANDIDATE


def candidate_name(name: str, which: int) -> str:
    """The name of the run that tries one of a skill's candidates."""
    return f"{name}{CANDIDATE}{which + 1}"


def draft_of(home: HomePaths, run_name: str) -> tuple[Draft, int]:
    """The draft behind a candidate's run, and the index of the candidate.

    Raises:
        UsageError: there is none.
    """
    for draft in Drafts(home):
        for which in range(len(draft.candidates)):
            if candidate_name(draft.skill.name, which) == run_name:
                return draft, which
    raise UsageError(f"{run_name!r} is a candidate of no draft in {home.drafts}.")


def trial_config(config: RunConfig, frames: int) -> RunConfig:
    """A run's configuration for a trial: a fixed number of frames, no early stop, constant learning rate."""
    trial = {"ppo": {"frames": frames, "anneal": False}, "gate": {"stop_at": 1.0, "per_amount_worlds": 0}}
    held = config.model_dump()
    return RunConfig.model_validate(held | {part: held[part] | values for part, values in trial.items()})


def collect_trial(library: SkillLibrary, run: FinishedRun) -> None:
    """Note a candidate's success in its draft.

    The run's folder is put aside.

    Doing so again after a kill on the way changes nothing.

    Raises:
        UsageError: there is no such draft.
    """
    draft, which = draft_of(library.paths, run.spec.skill)
    measured = {"success": run.evaluation.step_success, "frames": run.result.frames}
    candidates = list(draft.candidates)
    candidates[which] = candidates[which].model_copy(update=measured)
    Drafts(library.paths).save(draft.model_copy(update={"candidates": tuple(candidates)}))
    put_aside(run.paths.folder)
