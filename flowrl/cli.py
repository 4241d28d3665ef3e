"""The command line: flowrl grow, train, plan, eval, skills, runs, status, cost, kb, bench, doctor.

Exit codes: 0 done, 1 the work failed, 2 bad usage, 130 stopped by Ctrl-C. What is heavy is imported inside a command,
and jax by none of them: that is for worker processes.
"""

import contextlib
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from flowrl.cli_cost import cost
from flowrl.cli_runs import app as runs_app
from flowrl.cli_runs import status
from flowrl.cli_skills import app as skills_app
from flowrl.cli_skills import record_row
from flowrl.cli_words import DEFAULT_ENV, HOME, MOST_SEED, Env, Home, Json, print_json, print_rich
from flowrl.kb_cli import app as kb_app

if TYPE_CHECKING:
    from flowrl.config import RunConfig
    from flowrl.controller import Limits
    from flowrl.library import SkillLibrary
    from flowrl.parallel.executor import Executor
    from flowrl.skill import Evaluation

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130

app = typer.Typer(
    help="Grows a library of reinforcement-learning skills on Craftax.",
    epilog="Example: flowrl grow --skills 3 --home demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(skills_app, name="skills")
app.add_typer(runs_app, name="runs")
app.add_typer(kb_app, name="kb")
app.command("status", epilog="Example: flowrl status --home demo")(status)
app.command("cost", epilog="Example: flowrl cost --home demo")(cost)

Preset = Annotated[str, typer.Option("--preset", help="Starting point of the options: cpu or gpu.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="Seed of everything random.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any option of a run, e.g. ppo.lr=3e-4; repeat.")
]
OwnSkills = Annotated[
    Path | None,
    typer.Option("--kb", help="A folder of skill files of your own (flowrl kb new), besides the home's kb/."),
]

Jobs = Annotated[int, typer.Option("--jobs", min=1, help="How many skills are trained at once.")]
Cores = Annotated[
    int | None, typer.Option("--cores", min=1, help="Processor cores of each worker; an even share if left out.")
]
Losses = Annotated[
    int, typer.Option("--losses", min=1, help="Workers lost in a row without progress before a run is given up.")
]
Hang = Annotated[
    float, typer.Option("--hang-minutes", min=0.1, help="Minutes without a sign of life after which a worker is ended.")
]
Engine = Annotated[
    str, typer.Option("--executor", help="Where workers run: local (this machine) or ray (a cluster; flowrl[ray]).")
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="With --executor ray: auto or HOST:PORT; starts Ray here if left out."),
]
Dependencies = Annotated[
    str | None,
    typer.Option("--dependencies", help="frozen, or train: the experts that a skill builds on learn along."),
]


def _executor_fn(name: str, address: str | None, cores: int | None) -> "Callable[[Limits], Executor]":
    """Returns what makes the executor that was asked for."""
    from flowrl.errors import UsageError, nearest_names
    from flowrl.parallel.local import LocalExecutor

    if address is not None and name != "ray":
        raise UsageError("--address goes with --executor ray.")
    if name == "local":
        return lambda limits: LocalExecutor(limits.jobs, cores)
    if name == "ray":
        from flowrl.parallel.ray_executor import RayExecutor

        return lambda limits: RayExecutor(address, limits.jobs, cores or 1)
    raise UsageError(f"--executor {name!r} is neither of two. {nearest_names(name, ['local', 'ray'])}")


def _configure(
    home: Path,
    env: str | None,
    preset: str,
    seed: int,
    settings: list[str] | None,
    dependencies: str | None = None,
) -> "RunConfig":
    """The options of a run: those given, and for environment and shape those of a home that exists."""
    from flowrl.config import build_config, parse_settings
    from flowrl.library import SkillLibrary

    given = parse_settings(settings or [])
    held: dict[str, Any] = {}
    if (home / "home.json").exists():
        description = SkillLibrary.open(home).description
        held = {"env__name": description.env, "model__width": description.width, "model__layers": description.layers}
        held = {key: value for key, value in held.items() if key.replace("__", ".") not in given}
    if preset != "cpu":
        held.pop("model__width", None)
    if env is not None or "env__name" not in held:
        held["env__name"] = DEFAULT_ENV if env is None else env
    return build_config(preset, settings or [], seed=seed, dependencies=dependencies, **held)


def _library(home: Path) -> "SkillLibrary":
    from flowrl.library import SkillLibrary

    return SkillLibrary.open(home)


def _command_again() -> str:
    """Returns the command line as it was given, so that it can be given again from the same folder."""
    called = sys.argv[0]
    program = [sys.executable, "-m", "flowrl"] if called.endswith("__main__.py") else [called]
    return shlex.join([*program, *sys.argv[1:]])


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM stops as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nStopped; nothing is lost. This goes on:\n    {_command_again()}\n")
        raise typer.Exit(STOPPED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@app.command(
    epilog="Example: flowrl grow --env Craftax-Classic-Symbolic-v1 --skills 8 --jobs 2 --home demo --set ppo.lr=3e-4"
)
def grow(
    env: Env = None,
    skills: Annotated[
        int | None, typer.Option("--skills", min=1, help="Size of the library wanted; 3 if no goal.")
    ] = None,
    goal: Annotated[str | None, typer.Option("--goal", help="A skill or an item: learn what it needs.")] = None,
    home: Home = HOME,
    own_skills: OwnSkills = None,
    preset: Preset = "cpu",
    seed: Seed = 0,
    jobs: Jobs = 1,
    cores: Cores = None,
    losses: Losses = 3,
    hang_minutes: Hang = 30.0,
    executor: Engine = "local",
    address: Address = None,
    dependencies: Dependencies = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Learn skills of the knowledge base until the library has the size wanted, those that can be at the same time."""
    from flowrl.controller import Limits
    from flowrl.display import Display, library_table
    from flowrl.drive import grow as grow_library
    from flowrl.parallel.memory import memory_warning

    config = _configure(home, env, preset, seed, settings, dependencies)
    executor_fn = _executor_fn(executor, address, cores)
    with _stoppable(), Display(sys.stderr if as_json else sys.stdout) as display:
        if executor == "local" and (warning := memory_warning(config.env.name, jobs)):
            display.note(warning)
        limits = Limits(jobs=jobs, losses=losses, hang_seconds=60 * hang_minutes)
        outcome = grow_library(home, config, skills, goal, display, own_skills, limits, executor_fn)
    if as_json:
        print_json([record_row(record) for record in outcome.records])
    else:
        print_rich(library_table(outcome.records))
        print(f"{'Done' if outcome.complete else 'Not done'}: {outcome.reason}.")
    raise typer.Exit(DONE if outcome.complete else FAILED)


@app.command(
    epilog="Example: flowrl train 'Place Table' --home demo   or   flowrl train --module my_tasks.py --name Mine"
)
def train(
    skill: Annotated[str | None, typer.Argument(help="A skill of the knowledge base.")] = None,
    module: Annotated[Path | None, typer.Option("--module", help="A task module; its last task is trained.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The module's skill; the file's stem if left out.")] = None,
    env: Env = None,
    home: Home = HOME,
    own_skills: OwnSkills = None,
    preset: Preset = "cpu",
    seed: Seed = 0,
    cores: Cores = None,
    executor: Engine = "local",
    address: Address = None,
    dependencies: Dependencies = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Train one skill, or go on with a weak one."""
    from flowrl.display import Display, library_table
    from flowrl.drive import train as train_skill
    from flowrl.drive import train_module
    from flowrl.errors import UsageError

    if (skill is None) == (module is None):
        raise UsageError("Give either a skill or --module FILE.py. For example: flowrl train 'Collect Wood'")
    if name is not None and module is None:
        raise UsageError("--name goes with --module; a skill of the knowledge base has its name.")
    config = _configure(home, env, preset, seed, settings, dependencies)
    executor_fn = _executor_fn(executor, address, cores)
    with _stoppable(), Display(sys.stderr if as_json else sys.stdout) as display:
        if module is not None:
            record = train_module(home, config, module, name, display, executor_fn=executor_fn)
        else:
            record = train_skill(home, config, str(skill), display, own_skills, executor_fn=executor_fn)
    if as_json:
        print_json(record_row(record))
    else:
        print_rich(library_table([record]))
    raise typer.Exit(DONE if record.status == "learned" else FAILED)


@app.command(
    epilog="Example: flowrl plan 'Make Wood Pickaxe'   or   flowrl plan 'wood=5, EAT_COW' --from learned   "
    "or   flowrl plan --frontier"
)
def plan(
    goal: Annotated[
        str | None, typer.Argument(help="A skill, an item, an achievement, an amount as in wood=5, or several of them.")
    ] = None,
    known: Annotated[
        str, typer.Option("--from", help="learned: only skills of the library; nothing: all of the knowledge base.")
    ] = "nothing",
    frontier: Annotated[
        bool, typer.Option("--frontier", help="Show instead which skills can be learned next, and why others cannot.")
    ] = False,
    env: Env = None,
    home: Home = HOME,
    own_skills: OwnSkills = None,
    as_json: Json = False,
) -> None:
    """Show the steps to a goal: amounts, experts, why each is there, and what is held after it."""
    from flowrl.errors import UsageError, nearest_names
    from flowrl.knowledge.user import base_for
    from flowrl.outlook import frontier_of, plan_goal
    from flowrl.tables import frontier_table, plan_table

    if frontier == (goal is not None):
        raise UsageError("Give either a goal or --frontier. For example: flowrl plan 'Collect Wood'")
    if known not in ("learned", "nothing"):
        raise UsageError(f"--from {known!r} is neither of two. {nearest_names(known, ['learned', 'nothing'])}")
    base = base_for(_configure(home, env, "cpu", 0, None).env.name, home, own_skills)
    if goal is None:
        verdicts = frontier_of(base, home)
        if as_json:
            print_json([vars(verdict) for verdict in verdicts])
        else:
            print_rich(frontier_table(verdicts))
        return
    outlook = plan_goal(base, home, goal, only_learned=known == "learned")
    if as_json:
        print_json({"goal": outlook.plan.goal, "steps": outlook.rows()})
    else:
        print_rich(plan_table(outlook))


@app.command("eval", epilog="Example: flowrl eval 'Make Wood Pickaxe' --home demo --episodes 1024 --seed 1")
def evaluate(
    goal: Annotated[str, typer.Argument(metavar="SKILL_OR_GOAL", help="A skill of the library, or a goal for it.")],
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Worlds played, one episode each.")] = 1024,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="Which worlds.")] = 0,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Time limit of an episode.")] = None,
    home: Home = HOME,
    as_json: Json = False,
) -> None:
    """Measure success and step success on worlds that no training has used."""
    from flowrl.display import evaluation_tables
    from flowrl.outlook import plan_with_library

    library = _library(home)
    tasks = [step.skill for step in plan_with_library(library, goal)[0].steps]
    with _stoppable():
        evaluation = _play_with_bar(library, goal, episodes, seed, steps)
    if as_json:
        print_json(evaluation.model_dump() | {"tasks": tasks})
    else:
        print_rich(evaluation_tables(evaluation, tasks))


def _play_with_bar(library: "SkillLibrary", goal: str, episodes: int, seed: int, steps: int | None) -> "Evaluation":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from flowrl.evaluation import evaluate_goal

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("playing", total=episodes)
        return evaluate_goal(library, goal, episodes, seed, steps, lambda row: bar.update(task, completed=row["ended"]))


@app.command(epilog="Example: flowrl bench moe --json")
def bench(
    table: Annotated[str, typer.Argument(help="plan, env, moe, train, parallel or all.")] = "all",
    slow: Annotated[bool, typer.Option("--slow", help="With all: the rows that take many minutes as well.")] = False,
    as_json: Json = False,
) -> None:
    """Measure speed and memory, and hold them against their targets."""
    from flowrl.errors import TrainingError, UsageError, nearest_names
    from flowrl.tables import bench_table

    names = ["plan", "env", "moe", "train", "parallel", "all"]
    if table not in names:
        raise UsageError(f"No table {table!r}. {nearest_names(table, names)}")
    with _stoppable():
        command = [sys.executable, "-m", "flowrl.bench", table, *(["--slow"] if slow else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if not done.stdout.strip():
        raise TrainingError(f"Measuring {table} failed with exit code {done.returncode}; its messages are above.")
    rows = json.loads(done.stdout)
    if as_json:
        print_json(rows)
    else:
        print_rich(bench_table(rows))
    raise typer.Exit(done.returncode)


@app.command(epilog="Example: flowrl doctor --json")
def doctor(home: Home = HOME, as_json: Json = False) -> None:
    """Check Python, jax and its results, devices, memory and disk."""
    from flowrl.errors import PlatformError

    command = [sys.executable, "-m", "flowrl.doctor", str(home)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise PlatformError(
            f"The checks ended with exit code {done.returncode} and no report; their messages are above. "
            f"Run them alone: {shlex.join(command)}"
        ) from error
    if as_json:
        print_json(report)
    else:
        for check in report["checks"]:
            print(f"{'ok  ' if check['ok'] else 'BAD '} {check['name']:18} {check['found']}")
    raise typer.Exit(DONE if all(check["ok"] for check in report["checks"]) else FAILED)


def main() -> int:
    """Runs the command line and returns its exit code."""
    from flowrl.errors import FlowRLError, ModuleError, SpecError, UsageError

    try:
        app()
    except SystemExit as end:
        return int(end.code or 0)
    except (UsageError, ModuleError, SpecError) as error:
        sys.stderr.write(f"flowrl: {error}\n")
        return USAGE
    except (FlowRLError, OSError) as error:
        sys.stderr.write(f"flowrl: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("flowrl: stopped.\n")
        return STOPPED
    return DONE
