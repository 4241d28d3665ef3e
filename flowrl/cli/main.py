"""The command line. Flowrl grow, train, plan, eval, skills, runs, status, cost, kb, bench, doctor.

Exit codes: 0 done, 1 the work failed, 2 bad usage, 130 stopped by Ctrl-C. Heavy modules are imported inside commands;
jax is left to worker processes.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from flowrl.cli import options
from flowrl.cli.cost import cost
from flowrl.cli.grow import grow
from flowrl.cli.kb import app as kb_app
from flowrl.cli.output import DONE, FAILED, STOPPED, USAGE, print_json, progress_bar, show
from flowrl.cli.runs import app as runs_app
from flowrl.cli.runs import status
from flowrl.cli.skills import app as skills_app
from flowrl.cli.skills import record_row
from flowrl.paths import DEFAULT_HOME, PACKAGE_ROOT

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
GROW_EXAMPLES = (
    "Example: flowrl grow --env Craftax-Classic-Symbolic-v1 --skills 8 --jobs 2 --home demo --set ppo.lr=3e-4   or   "
    "flowrl grow --proposer llm --model qwen3 --base-url http://127.0.0.1:8000/v1 --goal diamond --max-calls 200   "
    "or   flowrl grow --goal diamond --home mine   or   "
    "flowrl grow --goal iron --apart --start-from frontier --start-share 0.5"
)
app.command("grow", epilog=GROW_EXAMPLES)(grow)
app.command("status", epilog="Example: flowrl status --home demo")(status)
app.command("cost", epilog="Example: flowrl cost --home demo")(cost)


@app.command(
    epilog="Example: flowrl train 'Place Table' --home demo   or   flowrl train --module my_tasks.py --name Mine   "
    "or   flowrl train 'Collect Iron' --home demo --start-from frontier --start-share 0.5"
)
def train(
    skill: Annotated[str | None, typer.Argument(help="A skill of the knowledge base.")] = None,
    module: Annotated[Path | None, typer.Option("--module", help="A task module; its last task is trained.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The module's skill; by default the file's stem.")] = None,
    chain: Annotated[
        bool, typer.Option("--chain", help="All skills of its plan learn in this one run, new ones from nothing.")
    ] = False,
    env: options.Env = None,
    home: options.Home = DEFAULT_HOME,
    own_skills: options.OwnSkills = None,
    preset: options.Preset = "cpu",
    seed: options.Seed = 0,
    cores: options.Cores = None,
    executor: options.Engine = "local",
    address: options.Address = None,
    dependencies: options.Dependencies = None,
    start_from: options.StartFrom = None,
    start_share: options.StartShare = None,
    settings: options.Settings = None,
    as_json: options.Json = False,
) -> None:
    """Train one skill, or continue a weak one."""
    from flowrl.cli.live_display import Display
    from flowrl.cli.tables import library_table
    from flowrl.errors import UsageError
    from flowrl.growing.grow import train as train_skill
    from flowrl.growing.grow import train_chain, train_module

    if (skill is None) == (module is None):
        raise UsageError("Give either a skill or --module FILE.py. For example: flowrl train 'Collect Wood'")
    if name is not None and module is None:
        raise UsageError("--name goes with --module; a skill of the knowledge base has a name.")
    if chain and module is not None:
        raise UsageError("--chain goes with a skill of the knowledge base: a module names its experts itself.")
    config = options.configure(home, env, preset, seed, settings, dependencies, start_from, start_share, chain)
    make_executor = options.executor_fn(executor, address, cores)
    with options.stoppable(), Display(sys.stderr if as_json else sys.stdout) as display:
        if module is not None:
            record = train_module(home, config, module, name, display, executor_fn=make_executor)
        elif chain:
            record = train_chain(home, config, str(skill), display, own_skills, executor_fn=make_executor)
        else:
            record = train_skill(home, config, str(skill), display, own_skills, executor_fn=make_executor)
    show(as_json, record_row(record), library_table([record]))
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
    env: options.Env = None,
    home: options.Home = DEFAULT_HOME,
    own_skills: options.OwnSkills = None,
    as_json: options.Json = False,
) -> None:
    """Show the steps to a goal: amounts, experts, why each is there, and what is held after it."""
    from flowrl.cli.tables import frontier_table, plan_table
    from flowrl.errors import UsageError, nearest_names
    from flowrl.library.catalog import base_for, frontier_of, plan_goal

    if frontier == (goal is not None):
        raise UsageError("Give either a goal or --frontier. For example: flowrl plan 'Collect Wood'")
    if known not in ("learned", "nothing"):
        raise UsageError(f"Unknown --from {known!r}. {nearest_names(known, ['learned', 'nothing'])}")
    base = base_for(options.configure(home, env, "cpu", 0, None).env.name, home, own_skills)
    if goal is None:
        verdicts = frontier_of(base, home)
        show(as_json, [vars(verdict) for verdict in verdicts], frontier_table(verdicts))
        return
    outlook = plan_goal(base, home, goal, only_learned=known == "learned")
    beside = [each.model_dump(mode="json") for each in outlook.plan.interrupts]
    show(as_json, {"goal": outlook.plan.goal, "steps": outlook.rows(), "interrupts": beside}, plan_table(outlook))


@app.command("eval", epilog="Example: flowrl eval 'Make Wood Pickaxe' --home demo --episodes 1024 --seed 1")
def evaluate(
    goal: Annotated[str, typer.Argument(metavar="SKILL_OR_GOAL", help="A skill of the library, or a goal for it.")],
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Worlds played, one episode each.")] = 1024,
    seed: options.WorldsSeed = 0,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Time limit of an episode.")] = None,
    home: options.Home = DEFAULT_HOME,
    as_json: options.Json = False,
) -> None:
    """Measure success and step success on worlds that no training has used."""
    from flowrl.cli.tables import evaluation_tables
    from flowrl.evaluation.evaluate import evaluate_goal
    from flowrl.library.catalog import plan_with_library

    library = options.library_to_read(home)
    tasks = [step.skill for step in plan_with_library(library, goal)[0].steps]
    with options.stoppable(), progress_bar(goal) as on_row:
        evaluation = evaluate_goal(library, goal, episodes, seed, steps, on_row)
    show(as_json, evaluation.model_dump() | {"tasks": tasks}, evaluation_tables(evaluation, tasks))


TABLES = "plan, env, moe, train, growth, parallel, verify, exported, learn, or all."


@app.command(epilog="Example: flowrl bench moe --json")
def bench(
    table: Annotated[str, typer.Argument(metavar="NAME", help=TABLES)] = "all",
    slow: Annotated[
        bool, typer.Option("--slow", help="With all: also the rows that take many minutes, and every hostile program.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Measure speed and memory and compare them with targets."""
    from flowrl.errors import UsageError

    if not (PACKAGE_ROOT / "benchmarks" / "tables").is_dir():
        raise UsageError(
            f"The benchmarks need a checkout of flowrl, and {PACKAGE_ROOT} is not one. Clone the repository, install "
            "it with `pip install --editable .`, and run flowrl bench there."
        )
    flags = [*(["--slow"] if slow else []), *([] if as_json else ["--text"])]
    command = [sys.executable, "-P", "-m", "benchmarks.tables", table, *flags]
    # XLA's messages about cached programs would hide those of the measurements.
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(os.environ)
    quiet["PYTHONPATH"] = os.pathsep.join([str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    stdout = subprocess.PIPE if as_json else None
    with options.stoppable(), subprocess.Popen(command, stdout=stdout, env=quiet) as process:
        try:
            printed = process.communicate()[0]
        except BaseException:
            process.send_signal(signal.SIGINT)  # so that it stops its children
            raise
    if printed:
        print_json([row for line in printed.splitlines() for row in json.loads(line)])
    raise typer.Exit(process.returncode)


@app.command(epilog="Example: flowrl doctor --json")
def doctor(home: options.Home = DEFAULT_HOME, as_json: options.Json = False) -> None:
    """Check Python, jax and its results, devices, memory and disk."""
    from flowrl.errors import PlatformError

    command = [sys.executable, "-P", "-m", "flowrl.cli.doctor", str(home)]
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
    """Run the command line and return its exit code."""
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
