"""`flowrl runs` and `flowrl status`: training runs of a home."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flowrl.cli.options import Home, Json, open_library
from flowrl.cli.output import print_json, print_rich, show, warn
from flowrl.paths import DEFAULT_HOME

if TYPE_CHECKING:
    from flowrl.library.home import SkillLibrary

app = typer.Typer(help="The training runs of a home.", rich_markup_mode=None)
SkillName = Annotated[str, typer.Argument(help="The skill whose run it is.")]


@app.callback(invoke_without_command=True, epilog="Example: flowrl runs list --home demo --json")
def runs_default(context: typer.Context, home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List the runs of a home. Show, stop or retry one."""
    if context.invoked_subcommand is None:
        runs_list(home, as_json)


@app.command("list", epilog="Example: flowrl runs list --home demo --json")
def runs_list(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List the runs of a home: state, frames, success so far."""
    from flowrl.cli.tables import runs_table
    from flowrl.parallel.run_reports import reports

    found = reports(open_library(home), warn)
    show(as_json, [report.row() for report in found], runs_table(found))


@app.command("show", epilog="Example: flowrl runs show 'Collect Wood' --home demo")
def runs_show(skill: SkillName, home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Show one run: plan, experts, progress, error."""
    from flowrl.cli.live_display import steps_text
    from flowrl.cli.tables import runs_table
    from flowrl.parallel.run_reports import report_on, run_of

    paths, spec = run_of(open_library(home), skill)
    report = report_on(paths, spec)
    if as_json:
        print_json(report.row() | {"run": spec.model_dump(mode="json")})
        return
    print_rich(runs_table([report]))
    experts = ", ".join(f"{g} as {local}" for local, g in enumerate(spec.local_to_global))
    trained = ", ".join(str(spec.local_to_global[local]) for local in spec.trained)
    print(f"\nplan     {steps_text(spec)}\nexperts  {experts} (global as local); {trained} learns")
    print(f"folder   {paths.folder}\nlog      {paths.log}")
    if report.error:
        print(f"\n{report.error}")


@app.command("logs", epilog="Example: flowrl runs logs 'Collect Wood' --home demo --follow")
def runs_logs(
    skill: SkillName,
    home: Home = DEFAULT_HOME,
    lines: Annotated[int, typer.Option("--lines", min=1, help="Number of lines.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", help="Keep printing new lines; Ctrl-C ends it.")] = False,
) -> None:
    """Print the end of a run's log."""
    from flowrl.parallel.run_reports import run_of

    paths, _ = run_of(open_library(home), skill)
    text = paths.log.read_text(errors="replace") if paths.log.exists() else ""
    print("\n".join(text.splitlines()[-lines:]))
    seen = len(text)
    while follow and not paths.result.exists():
        time.sleep(0.5)
        text = paths.log.read_text(errors="replace") if paths.log.exists() else ""
        sys.stdout.write(text[seen:])
        sys.stdout.flush()
        seen = len(text)


@app.command("cancel", epilog="Example: flowrl runs cancel 'Collect Wood' --home demo")
def runs_cancel(skill: SkillName, home: Home = DEFAULT_HOME) -> None:
    """Stop a run or take a skill out of the queue; `flowrl runs retry` continues from its checkpoints."""
    from flowrl.parallel.run_reports import cancel_run

    library = open_library(home)
    if _was_asked(library, "cancel", skill):
        return
    with library.lock():
        cancel_run(library, skill)
    print(f"{skill} is cancelled. To retry: {library.command('runs', 'retry', skill)}")


@app.command("retry", epilog="Example: flowrl runs retry 'Collect Wood' --home demo")
def runs_retry(skill: SkillName, home: Home = DEFAULT_HOME) -> None:
    """Retry a skill whose run failed or was cancelled, from its last checkpoint."""
    from flowrl.parallel.run_reports import retry_run

    library = open_library(home)
    if _was_asked(library, "retry", skill):
        return
    with library.lock():
        retry_run(library, skill)
    print(f"The next {library.command('grow')} retries {skill}.")


def _was_asked(library: "SkillLibrary", what: Literal["cancel", "retry"], skill: str) -> bool:
    """Leave a request if a process grows the home. False if none does."""
    from flowrl.parallel.controller_files import HomeRequest, leave_request
    from flowrl.parallel.run_reports import is_grown, run_of, snapshot_of

    if not is_grown(library):
        return False
    snapshot = snapshot_of(library)
    waiting = {name.casefold(): name for name in ((*snapshot.queue, *snapshot.ended) if snapshot else ())}
    known = waiting.get(skill.casefold()) or run_of(library, skill)[1].skill
    leave_request(library.paths, HomeRequest(what=what, skill=known))
    print(f"Asked the process that grows {library.paths.root} to {what} {skill}.")
    return True


def status(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Show a home on one screen: skills, running jobs with their success so far, queue, failures."""
    from flowrl.cli.tables import status_view
    from flowrl.parallel.run_reports import status_of

    found = status_of(open_library(home), warn)
    show(as_json, found.row(), status_view(found))
