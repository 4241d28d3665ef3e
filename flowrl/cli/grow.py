"""`flowrl grow`: skills of the knowledge base or of a language model."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from flowrl.cli import options
from flowrl.cli.output import DONE, FAILED, print_json, print_rich
from flowrl.cli.skills import record_row
from flowrl.paths import DEFAULT_HOME

if TYPE_CHECKING:
    from flowrl.growing.grow import GrowOutcome
    from flowrl.growing.observer import Observer

PROPOSERS = ("knowledge", "llm")


def grow(
    env: options.Env = None,
    skills: options.Skills = None,
    goals: options.Goals = None,
    apart: options.Apart = False,
    home: options.Home = DEFAULT_HOME,
    own_skills: options.OwnSkills = None,
    preset: options.Preset = "cpu",
    seed: options.Seed = 0,
    jobs: options.Jobs = 1,
    cores: options.Cores = None,
    losses: options.LossesOption = 3,
    hang_minutes: options.Hang = 30.0,
    executor: options.Engine = "local",
    address: options.Address = None,
    dependencies: options.Dependencies = None,
    start_from: options.StartFrom = None,
    start_share: options.StartShare = None,
    settings: options.Settings = None,
    proposer: Annotated[
        str, typer.Option("--proposer", help="Who names skills: knowledge (the base that ships) or llm (a model).")
    ] = "knowledge",
    model: options.Model = None,
    base_url: options.BaseUrl = None,
    key_file: options.KeyFile = None,
    manual: options.Manual = None,
    candidates: options.Candidates = 1,
    candidate_frames: options.CandidateFrames = 400_000,
    attempts: options.Attempts = 4,
    record: options.Record = None,
    replay: options.Replay = None,
    replay_strict: options.ReplayStrict = False,
    max_calls: options.MaxCalls = None,
    max_cost: options.MaxCost = None,
    prices: options.Prices = None,
    llm_timeout: options.AnswerSeconds = 300.0,
    as_json: options.Json = False,
) -> None:
    """Learn skills, several at once, until the library has the wanted size or reaches the goal."""
    from flowrl.growing.controller import GrowLimits
    from flowrl.growing.grow import grow as grow_library
    from flowrl.growing.grow import grow_chains

    asked = {
        "--model": model, "--base-url": base_url, "--key-file": key_file, "--manual": manual, "--record": record,
        "--replay": replay, "--max-calls": max_calls, "--max-cost": max_cost, "--prices": prices,
    }  # fmt: skip
    _require_fitting(proposer, [name for name, value in asked.items() if value is not None], own_skills is not None)
    goal, chains = _goal_of(goals or [], apart, proposer, skills)
    config = options.configure(home, env, preset, seed, settings, dependencies, start_from, start_share, chains)
    limits = GrowLimits(jobs=jobs, losses=losses, hang_seconds=60 * hang_minutes)
    make_executor = options.executor_fn(executor, address, cores)

    def work(observer: "Observer") -> "GrowOutcome":
        if chains:
            return grow_chains(home, config, goals or [], observer, own_skills, limits, make_executor)
        if proposer == "knowledge":
            return grow_library(home, config, skills, goal, observer, own_skills, limits, make_executor)
        from flowrl.llm.context import FlowSettings
        from flowrl.llm.grow import grow_with_model
        from flowrl.llm.transport.factory import LLMSettings

        llm = LLMSettings(
            model=model, base_url=base_url, key_file=key_file, record=record, replay=replay, strict=replay_strict,
            max_calls=max_calls, max_cost=max_cost, prices=prices, timeout=llm_timeout,
        )  # fmt: skip
        flow = FlowSettings(goal=goal, attempts=attempts, candidates=candidates, candidate_frames=candidate_frames)
        return grow_with_model(home, config, skills, flow, llm, manual, observer, limits, make_executor)

    _show(work, config.env.name if executor == "local" else None, jobs, as_json)


def _require_fitting(proposer: str, given: list[str], has_own_skills: bool) -> None:
    """Check that the options given go with the proposer.

    Args:
        given: names of the language model options that were given.
    """
    from flowrl.errors import UsageError, nearest_names

    if proposer not in PROPOSERS:
        raise UsageError(f"Unknown --proposer {proposer!r}. {nearest_names(proposer, PROPOSERS)}")
    if proposer == "knowledge" and given:
        raise UsageError(f"{given[0]} goes with --proposer llm.")
    if proposer == "llm" and has_own_skills:
        raise UsageError("--kb goes with --proposer knowledge; a model writes its skills itself.")


def _goal_of(goals: list[str], apart: bool, proposer: str, skills: int | None) -> tuple[str | None, bool]:
    """The only goal, and whether plans are trained whole.

    With a number of skills, or a model that names them, a goal only says which.
    """
    from flowrl.errors import UsageError

    if len(goals) > 1 and (apart or proposer == "llm" or skills is not None):
        raise UsageError("Several goals are learned as plans: leave out --apart, --skills and --proposer llm.")
    if apart and (not goals or proposer == "llm"):
        raise UsageError("--apart says how a --goal of the knowledge base is learned.")
    chains = bool(goals) and not apart and proposer == "knowledge" and skills is None
    return goals[0] if len(goals) == 1 else None, chains


def _show(work_fn: "Callable[[Observer], GrowOutcome]", env: str | None, jobs: int, as_json: bool) -> None:
    """Run the work under a display and print the library. `env`: warn if it needs too much memory here."""
    from flowrl.cli.live_display import Display
    from flowrl.cli.tables import library_table
    from flowrl.jobs.local import memory_warning

    with options.stoppable(), Display(sys.stderr if as_json else sys.stdout) as display:
        if env is not None and (warning := memory_warning(env, jobs)):
            display.note(warning)
        outcome = work_fn(display)
    if as_json:
        print_json([record_row(record) for record in outcome.records])
    else:
        print_rich(library_table(outcome.records))
        print(f"{'Done' if outcome.complete else 'Not done'}: {outcome.reason}.")
    raise typer.Exit(DONE if outcome.complete else FAILED)
