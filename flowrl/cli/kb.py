"""`flowrl kb`: list, new, check, import and verify skills of a knowledge base."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowrl.cli.options import DEFAULT_ENV, Env, Home, Json, OwnSkills
from flowrl.cli.output import DONE, FAILED, print_json, print_rich
from flowrl.paths import DEFAULT_HOME, slug

if TYPE_CHECKING:
    from flowrl.knowledge.base import KnowledgeBase
    from flowrl.schema.skill import Quantity, Skill
    from flowrl.verify.verdict import Verdict

app = typer.Typer(
    help="The skills that can be learned: what ships, your own, imported ones.",
    epilog="Example: flowrl kb list --json",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _game(env: str | None, home: Path) -> str:
    """The game named, else the home's."""
    from flowrl.library.catalog import game_of

    return env if env is not None else game_of(home) or DEFAULT_ENV


@app.command("list", epilog="Example: flowrl kb list --env Craftax-Classic-Symbolic-v1 --json")
def kb_list(env: Env = None, folder: OwnSkills = None, home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List the skills that can be learned, with what each needs, spends and yields."""
    from flowrl.library.catalog import base_for

    base = base_for(_game(env, home), home, folder)
    if as_json:
        print_json([_row(skill, base.env) for skill in base.skills])
    else:
        _print_table(base)


def _standing(skill: "Skill", env: str) -> str:
    """What is known of a skill's code. Trusted, verified, refused or not verified."""
    from flowrl.verify.verdict_cache import find_verdict, verdict_key

    if skill.trusted:
        return "trusted"
    verdict = find_verdict(verdict_key(skill, env))
    return "not verified" if verdict is None else "verified" if verdict.ok else "refused"


def _row(skill: "Skill", env: str) -> dict[str, Any]:
    """A skill as `--json` shows it."""
    from flowrl.knowledge.quantities import quantity_text

    def texts(amounts: "Mapping[str, Quantity]") -> dict[str, str]:
        return {fluent: quantity_text(quantity) for fluent, quantity in amounts.items()}

    spec = skill.spec
    amounts = {part: texts(getattr(spec, part)) for part in ("requires", "consumes", "yields")}
    places = {name: getattr(spec, name) for name in ("floors", "to_floor", "n_range", "max_n", "seeks")}
    code = {"trusted": skill.trusted, "code": _standing(skill, env)}
    return {"name": skill.name, "description": skill.description, **amounts, **places, **code}


def _print_table(base: "KnowledgeBase") -> None:
    from rich.markup import escape

    from flowrl.cli.tables import plain_table

    table = plain_table("skill", "needs", "spends", "yields", "n", title=f"what can be learned in {base.env}")
    for skill in base.skills:
        row, spec = _row(skill, base.env), skill.spec
        floors = [] if spec.floors is None else [f"floor {' or '.join(map(str, spec.floors))}"]
        moves = [] if spec.to_floor is None else [f"floor {spec.to_floor}"]
        kept = {f: text for f, text in row["requires"].items() if text != row["consumes"].get(f)}
        low, high = spec.n_range or (1, 1)
        cells = (
            skill.name if skill.trusted else f"{skill.name} ({row['code']})",
            ", ".join([*_amounts(kept), *floors]) or "-",
            ", ".join(_amounts(row["consumes"])) or "-",
            ", ".join([*_amounts(row["yields"]), *moves]),
            str(low) if low == high else f"{low} to {high}",
        )
        table.add_row(*(escape(cell) for cell in cells))
    print_rich(table)
    print(f"\nWhat specs can name: {', '.join(base.vocabulary.names())}")


def _amounts(texts: Mapping[str, str]) -> list[str]:
    return [fluent if text == "1" else f"{text} {fluent}" for fluent, text in texts.items()]


@app.command("new", epilog="Example: flowrl kb new 'Collect Two' --out my_skills/collect_two.py")
def kb_new(
    name: Annotated[str, typer.Argument(help="Name of the skill.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; by default named after the skill.")
    ] = None,
    env: Env = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Write a template of a skill file. It is valid as it stands."""
    from flowrl.errors import UsageError
    from flowrl.files import write_text
    from flowrl.knowledge.base import load_base
    from flowrl.knowledge.own_skills import check_text, template
    from flowrl.knowledge.validate import name_problems

    base = load_base(_game(env, home))
    file = out or Path(f"{slug(name).lower()}.py")
    if file.suffix != ".py":
        raise UsageError(f"{file} must end in .py to be found later. For example: --out {file.stem}.py")
    if file.exists():
        raise UsageError(f"{file} already exists and is not overwritten. Name another with --out, or remove it.")
    text = template(name, base.vocabulary)
    if problems := name_problems(name) or check_text(text, str(file), base):
        raise UsageError(f"{name!r} cannot be the name of a skill. {problems[0]}")
    write_text(file, text)
    print(f"Wrote {file}. Change it, then: flowrl kb check {file}")


@app.command("check", epilog="Example: flowrl kb check my_skills/collect_two.py")
def kb_check(
    file: Annotated[Path, typer.Argument(help="A skill file.")],
    env: Env = None,
    folder: OwnSkills = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Check a skill file and print every problem. Exit code 0 if there is none."""
    from flowrl.knowledge.base import load_base
    from flowrl.knowledge.own_skills import check_file, obstacle_of, read_own_skill
    from flowrl.library.catalog import read_skill_folder

    base = load_base(_game(env, home))
    if folder is not None:
        lies_in_it = file.resolve().parent == folder.resolve()
        base = read_skill_folder(folder, base, leave_out=[file.name] if lies_in_it else [])
    problems = check_file(file, base)
    obstacle = None if problems else obstacle_of(read_own_skill(file, base.vocabulary), base)
    if as_json:
        print_json({"file": str(file), "ok": not problems, "problems": problems, "obstacle": obstacle})
    else:
        for line in problems or [f"{file} is a valid skill."]:
            print(line)
        if obstacle is not None:
            print(f"It cannot be learned yet: {obstacle}")
    raise typer.Exit(FAILED if problems else DONE)


@app.command("import", epilog="Example: flowrl kb import published.json --env Craftax-Symbolic-v1 --home demo")
def kb_import(
    file: Annotated[Path, typer.Argument(help="A published-style knowledge base in JSON.")],
    env: Env = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Import the skills of a published-style knowledge base, all or none. Their code is not run."""
    from flowrl.knowledge.import_base import import_base, write_imported
    from flowrl.library.catalog import base_without_import, home_folder

    base = base_without_import(_game(env, home), home, file)
    report = import_base(file, base.vocabulary, base)
    written = write_imported(report, home_folder(home)) if report.skills else None
    if as_json:
        names = [skill.name for skill in report.skills]
        print_json({"imported": names, "held": report.held, "notes": report.notes, "file": written and str(written)})
        return
    for note in report.notes:
        print(f"{note}.")
    if report.held:
        print(f"{len(report.held)} are already in the base and stay as they are: {', '.join(report.held)}.")
    if written is None:
        print("Nothing new was imported.")
    else:
        print(f"Imported {len(report.skills)} skills into {written}: {', '.join(s.name for s in report.skills)}.")
        print("Their code was not run; it is verified in a sandbox before training: flowrl kb verify --all")


@app.command("verify", epilog="Example: flowrl kb verify 'Collect Two' --home demo   or   flowrl kb verify --all")
def kb_verify(
    name: Annotated[str | None, typer.Argument(help="A skill of the base or of the home.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All skills with untrusted code.")] = False,
    env: Env = None,
    folder: OwnSkills = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Verify the code of skills in the sandbox, as happens before untrusted code is trained."""
    from flowrl.errors import UsageError
    from flowrl.library.catalog import base_for, spelt_as_known, with_library
    from flowrl.verify.verify import verify

    if (name is None) != every:
        raise UsageError("Give either a skill or --all. For example: flowrl kb verify 'Collect Wood'")
    base = with_library(base_for(_game(env, home), home, folder), home)
    untrusted = [skill for skill in base.skills if not skill.trusted]
    skills = untrusted if name is None else [base.skill(spelt_as_known(base, name))]
    verdicts = {}
    for skill in skills:
        # Trusted code is checked too, since the user asks for it.
        verdicts[skill.name] = verify(skill.model_copy(update={"trusted": False}), base.env)
        if not as_json:
            _print_verdict(skill.name, verdicts[skill.name])
    if as_json:
        print_json({name: verdict.model_dump() for name, verdict in verdicts.items()})
    elif not skills:
        print("The code of all skills is trusted; name one to verify it anyway.")
    raise typer.Exit(DONE if all(verdict.ok for verdict in verdicts.values()) else FAILED)


def _print_verdict(name: str, verdict: "Verdict") -> None:
    from rich.markup import escape

    from flowrl.cli.tables import plain_table

    table = plain_table("check", "", "seconds", "detail", title=name)
    for check in verdict.checks:
        passed = "ok" if check.passed else "BAD"
        table.add_row(*(escape(cell) for cell in (check.name, passed, f"{check.seconds:.2f}", check.detail)))
    print_rich(table)
    print(f"sandbox: {', '.join(verdict.enforced) or 'not used, as no code was run'}")
    outcome = "verified" if verdict.ok else f"refused: {verdict.error}"
    print(f"{name} is {outcome} ({verdict.seconds:.1f} s)\n")
