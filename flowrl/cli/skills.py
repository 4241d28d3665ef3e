"""`flowrl skills`: what a home has learned, and the versions of it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowrl.cli.output import HOME, MAX_SEED, Home, Json, print_json, print_rich, progress_bar, warn

if TYPE_CHECKING:
    from pathlib import Path

    from flowrl.library.home import SkillLibrary
    from flowrl.schema.home import SkillRecord
    from flowrl.schema.run import RunSpec

app = typer.Typer(help="The skills of a home.", rich_markup_mode=None)
Name = Annotated[str, typer.Argument(help="A skill of the library.")]


def _library(home: "Path") -> "SkillLibrary":
    from flowrl.library.home import SkillLibrary

    return SkillLibrary.open(home)


def _running(library: "SkillLibrary") -> "list[RunSpec]":
    return [spec for paths, spec in library.runs(warn) if not paths.result.exists()]


def _share_fields(prefix: str, share: Any) -> dict[str, Any]:
    known = share is not None and share.total > 0
    return {
        prefix: share.value if known else None,
        f"{prefix}_low": share.low if known else None,
        f"{prefix}_high": share.high if known else None,
    }


def record_row(record: "SkillRecord") -> dict[str, Any]:
    """Returns what scripts read of a skill."""
    evaluation = record.evaluation
    return {
        "name": record.name,
        "status": record.status,
        "expert": record.expert_idx,
        "frames": record.frames,
        **_share_fields("success", evaluation.success),
        **_share_fields("step_success", evaluation.step_success),
        "episodes": evaluation.success.total,
        "path": record.path,
    }


def _running_row(spec: "RunSpec") -> dict[str, Any]:
    nothing = _share_fields("success", None) | _share_fields("step_success", None)
    row = {"name": spec.skill, "status": "running", "expert": spec.expert, "frames": None, **nothing}
    return row | {"episodes": None, "path": None}


def _list_skills(home: "Path", as_json: bool) -> None:
    from flowrl.cli.live_display import library_table

    library = _library(home)
    records, running = library.records(warn), _running(library)
    if as_json:
        busy = {spec.skill for spec in running}
        rows = [record_row(r) | ({"status": "running"} if r.name in busy else {}) for r in records]
        known = {record.name for record in records}
        print_json(rows + [_running_row(spec) for spec in running if spec.skill not in known])
    else:
        print_rich(library_table(records, running))


@app.callback(invoke_without_command=True, epilog="Example: flowrl skills list --home demo --json")
def skills_default(context: typer.Context, home: Home = HOME, as_json: Json = False) -> None:
    """List the skills of a home, or show one."""
    if context.invoked_subcommand is None:
        _list_skills(home, as_json)


@app.command("list", epilog="Example: flowrl skills list --home demo --json")
def skills_list(home: Home = HOME, as_json: Json = False) -> None:
    """List the skills of a home with what was measured of them."""
    _list_skills(home, as_json)


@app.command("show", epilog="Example: flowrl skills show 'Collect Wood' --home demo")
def skills_show(name: Name, home: Home = HOME, as_json: Json = False) -> None:
    """Show one skill: what it needs and yields, its plan, and what was measured."""
    from flowrl.cli.live_display import evaluation_tables, library_table

    record = _library(home).record(name)
    if as_json:
        print_json(record.model_dump())
        return
    print_rich(library_table([record]))
    print(f"\n{record.description}\n")
    for label in ("requires", "consumes", "yields"):
        amounts = getattr(record.spec, label)
        shown = ", ".join(f"{_quantity(quantity)} {fluent}" for fluent, quantity in amounts.items())
        print(f"{label:14} {shown or 'nothing'}")
    print(f"{'range of n':14} {record.spec.n_range or 1}\n")
    print_rich(evaluation_tables(record.evaluation, [step.skill for step in record.plan.steps]))


def _quantity(quantity: Any) -> str:
    if not quantity.per_n:
        return str(quantity.base)
    per_n = "n" if quantity.per_n == 1 else f"{quantity.per_n} n"
    return f"{per_n} + {quantity.base}" if quantity.base else per_n


@app.command("history", epilog="Example: flowrl skills history 'Collect Wood' --home demo")
def skills_history(name: Name, home: Home = HOME, as_json: Json = False) -> None:
    """List the versions of a skill: the one that the library holds, and those that it held or that lost against it."""
    from flowrl.cli.tables import history_table
    from flowrl.library.versions import history

    versions = history(_library(home), name)
    if as_json:
        rows = [record_row(v.record) | {"version": v.record.version, "current": v.current} for v in versions]
        print_json(rows)
    else:
        print_rich(history_table(versions))


@app.command("vouch", epilog="Example: flowrl skills vouch 'Mine' --home demo")
def skills_vouch(name: Name, home: Home = HOME, as_json: Json = False) -> None:
    """Say that you have read a skill's code and want it to be run as it is, without the sandbox, on this machine."""
    from flowrl.files import read_text
    from flowrl.library.trust import vouch

    library = _library(home)
    record = library.record(name)
    file = library.skill_paths(record).module
    vouch(read_text(file), f"the skill {record.name!r}")
    if as_json:
        print_json({"name": record.name, "vouched": str(file)})
    else:
        print(f"The code of {record.name!r}, {file}, is run as it is from now on.")


@app.command("restore", epilog="Example: flowrl skills restore 'Collect Wood' 2 --home demo")
def skills_restore(
    name: Name,
    version: Annotated[int, typer.Argument(min=1, help="A version of its history.")],
    home: Home = HOME,
    as_json: Json = False,
) -> None:
    """Make an old version of a skill the library's again; the present one goes to the history."""
    from flowrl.cli.live_display import library_table
    from flowrl.library.versions import restore

    library = _library(home)
    with library.lock():
        record = restore(library, name, version)
    if as_json:
        print_json(record_row(record) | {"version": record.version})
    else:
        print_rich(library_table([record]))
        print(f"{record.name} is version {record.version} now, as version {version} was.")


@app.command("analyse", epilog="Example: flowrl skills analyse 'Place Table' --home demo")
def skills_analyse(
    name: Name,
    home: Home = HOME,
    apply: Annotated[bool, typer.Option("--apply", help="Write the corrected specification to the record.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Which worlds are played.")] = 0,
    as_json: Json = False,
) -> None:
    """Find out what a skill really needs, spends and yields, and hold its specification against that."""
    from flowrl.analysis.job import analyse_skill
    from flowrl.analysis.repair import repair
    from flowrl.cli.tables import analysis_report
    from flowrl.library.versions import respecify

    library = _library(home)
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
