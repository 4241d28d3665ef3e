"""The options that growing and training share, and what becomes of them."""

import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from flowrl.cli.output import DEFAULT_ENV, MAX_SEED, STOPPED

if TYPE_CHECKING:
    from flowrl.config import RunConfig
    from flowrl.growing.controller import GrowLimits
    from flowrl.jobs.job import Executor

Preset = Annotated[str, typer.Option("--preset", help="Starting point of the options: cpu or gpu.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of everything random.")]
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
LossesOption = Annotated[
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
StartFrom = Annotated[
    str | None,
    typer.Option(
        "--start-from",
        help="new, or frontier: a share of a run's episodes begins where its skill's preconditions hold already; "
        "success is measured from new worlds either way.",
    ),
]
StartShare = Annotated[
    float | None,
    typer.Option(
        "--start-share",
        metavar="P",
        help="With --start-from frontier: the share of episodes that begins there, from 0 to below 1; 0.5 if left out.",
    ),
]


def executor_fn(name: str, address: str | None, cores: int | None) -> "Callable[[GrowLimits], Executor]":
    """Returns what makes the executor that was asked for."""
    from flowrl.errors import UsageError, nearest_names
    from flowrl.jobs.local import LocalExecutor

    if address is not None and name != "ray":
        raise UsageError("--address goes with --executor ray.")
    if name == "local":
        return lambda limits: LocalExecutor(limits.jobs, cores)
    if name == "ray":
        from flowrl.jobs.ray_executor import RayExecutor

        return lambda limits: RayExecutor(address, limits.jobs, cores or 1)
    raise UsageError(f"--executor {name!r} is neither of two. {nearest_names(name, ['local', 'ray'])}")


def configure(
    home: Path,
    env: str | None,
    preset: str,
    seed: int,
    settings: list[str] | None,
    dependencies: str | None = None,
    start_from: str | None = None,
    start_share: float | None = None,
) -> "RunConfig":
    """The options of a run: those given, and for environment and shape those of a home that exists."""
    from flowrl.config import build_config, parse_settings
    from flowrl.errors import UsageError
    from flowrl.library.home import SkillLibrary

    given = parse_settings(settings or [])
    if start_share is not None and given.get("start.source", start_from) != "frontier":
        raise UsageError("--start-share goes with --start-from frontier.")
    held: dict[str, Any] = {}
    if (home / "home.json").exists():
        held = SkillLibrary.open(home).description.options()
        held = {key: value for key, value in held.items() if key.replace("__", ".") not in given}
    if preset != "cpu":
        held.pop("model__width", None)
    if env is not None or "env__name" not in held:
        held["env__name"] = DEFAULT_ENV if env is None else env
    held |= {"start__source": start_from, "start__share": start_share}
    return build_config(preset, settings or [], seed=seed, dependencies=dependencies, **held)


def command_again() -> str:
    """Returns the command line as it was given, so that it can be given again from the same folder."""
    called = sys.argv[0]
    program = [sys.executable, "-m", "flowrl"] if called.endswith("__main__.py") else [called]
    return shlex.join([*program, *sys.argv[1:]])


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM stops as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nStopped; nothing is lost. This goes on:\n    {command_again()}\n")
        raise typer.Exit(STOPPED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
