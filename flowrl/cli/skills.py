"""`flowrl skills`: skills of a home and their versions."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowrl.cli.options import Home, Json, WorldsSeed, library_to_read, open_library
from flowrl.cli.output import print_json, print_rich, progress_bar, show, warn
from flowrl.paths import DEFAULT_HOME

if TYPE_CHECKING:
    from flowrl.schema.home import SkillRecord
    from flowrl.schema.run import RunSpec

app = typer.Typer(help="The skills of a home.", rich_markup_mode=None)
Name = Annotated[str, typer.Argument(help="A skill of the library.")]


def record_row(record: "SkillRecord") -> dict[str, Any]:
    """A skill as `--json` shows it."""
    from flowrl.parallel.run_reports import share_fields

    evaluation = record.evaluation
    return {
        "name": record.name,
        "status": record.status,
        "expert": record.expert_idx,
        "frames": record.frames,
        **share_fields("success", evaluation.success),
        **share_fields("step_success", evaluation.step_success),
        "episodes": evaluation.success.total,
        "path": record.path,
    }


def _running_row(spec: "RunSpec") -> dict[str, Any]:
    from flowrl.parallel.run_reports import share_fields

    nothing = share_fields("success", None) | share_fields("step_success", None)
    row = {"name": spec.skill, "status": "running", "expert": spec.expert, "frames": None, **nothing}
    return row | {"episodes": None, "path": None}


@app.callback(invoke_without_command=True, epilog="Example: flowrl skills list --home demo --json")
def skills_default(context: typer.Context, home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List the skills of a home, or show one."""
    if context.invoked_subcommand is None:
        skills_list(home, as_json)


@app.command("list", epilog="Example: flowrl skills list --home demo --json")
def skills_list(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List the skills of a home with their measured success, and the frames played for all of it."""
    from flowrl.cli.tables import library_table
    from flowrl.parallel.run_reports import frames_played

    library = library_to_read(home)
    records = library.records(warn)
    running = [spec for paths, spec in library.runs(warn) if not paths.result.exists()]
    busy, known = {spec.skill for spec in running}, {record.name for record in records}
    rows = [record_row(r) | ({"status": "running"} if r.name in busy else {}) for r in records]
    rows += [_running_row(spec) for spec in running if spec.skill not in known]
    show(as_json, rows, library_table(records, running, frames_played(library)))


@app.command("show", epilog="Example: flowrl skills show 'Collect Wood' --home demo")
def skills_show(name: Name, home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Show one skill: what it needs and yields, its plan, its measured success."""
    from flowrl.cli.tables import evaluation_tables, library_table
    from flowrl.knowledge.quantities import quantity_text

    record = library_to_read(home).record(name)
    if as_json:
        print_json(record.model_dump())
        return
    print_rich(library_table([record]))
    print(f"\n{record.description}\n")
    for label in ("requires", "consumes", "yields"):
        amounts = getattr(record.spec, label)
        shown = ", ".join(f"{quantity_text(quantity)} {fluent}" for fluent, quantity in amounts.items())
        print(f"{label:14} {shown or 'nothing'}")
    print(f"{'range of n':14} {record.spec.n_range or 1}\n")
    print_rich(evaluation_tables(record.evaluation, [step.skill for step in record.plan.steps]))


@app.command("history", epilog="Example: flowrl skills history 'Collect Wood' --home demo")
def skills_history(name: Name, home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List the versions of a skill: the current one, earlier ones and rejected candidates."""
    from flowrl.cli.tables import history_table
    from flowrl.library.versions import history

    versions = history(open_library(home), name)
    rows = [record_row(v.record) | {"version": v.record.version, "current": v.current} for v in versions]
    show(as_json, rows, history_table(versions))


@app.command("vouch", epilog="Example: flowrl skills vouch 'Mine' --home demo")
def skills_vouch(name: Name, home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Approve a skill's code, after reading it, to run outside the sandbox on this machine."""
    from flowrl.files import read_text
    from flowrl.library.trust import vouch

    library = open_library(home)
    record = library.record(name)
    file = library.skill_paths(record).module
    vouch(read_text(file), f"the skill {record.name!r}")
    if as_json:
        print_json({"name": record.name, "vouched": str(file)})
    else:
        print(f"The code of {record.name!r}, {file}, runs outside the sandbox from now on.")


@app.command("restore", epilog="Example: flowrl skills restore 'Collect Wood' 2 --home demo")
def skills_restore(
    name: Name,
    version: Annotated[int, typer.Argument(min=1, help="A version in its history.")],
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Restore an old version of a skill. The current one goes to the history."""
    from flowrl.cli.tables import library_table
    from flowrl.library.versions import restore

    library = open_library(home)
    with library.lock():
        record = restore(library, name, version)
    if as_json:
        print_json(record_row(record) | {"version": record.version})
    else:
        print_rich(library_table([record]))
        print(f"{record.name} is now version {record.version}, a copy of version {version}.")


@app.command("analyse", epilog="Example: flowrl skills analyse 'Place Table' --home demo")
def skills_analyse(
    name: Name,
    home: Home = DEFAULT_HOME,
    apply: Annotated[bool, typer.Option("--apply", help="Write the corrected specification to the record.")] = False,
    seed: WorldsSeed = 0,
    as_json: Json = False,
) -> None:
    """Measure what a skill needs, spends and yields, and compare it with its specification."""
    from flowrl.analysis.job import analyse_skill
    from flowrl.analysis.repair import repair
    from flowrl.cli.tables import analysis_report
    from flowrl.library.versions import respecify

    library = open_library(home)
    record = library.record(name)
    with progress_bar(record.name) as on_row:
        findings = analyse_skill(library, record.name, library.skill_paths(record).analysis, on_row, seed=seed)
    found = repair(record.spec, findings)
    if apply and found.changes:
        with library.lock():
            respecify(library, record.name, found.spec)
    if as_json:
        print_json({"findings": findings.model_dump(), "repair": found.model_dump(), "applied": apply})
        return
    print_rich(analysis_report(findings, found))
    if found.changes:
        way = library.command("skills", "analyse", record.name, "--apply")
        print("\nThe specification was corrected." if apply else f"\nTo correct the specification: {way}")
