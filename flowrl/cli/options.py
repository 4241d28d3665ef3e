"""Options of the commands and their values."""

import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from flowrl.cli.output import STOPPED

if TYPE_CHECKING:
    from flowrl.config import RunConfig
    from flowrl.growing.controller import GrowLimits
    from flowrl.jobs.job import Executor
    from flowrl.library.home import SkillLibrary

DEFAULT_ENV = "Craftax-Classic-Symbolic-v1"
MAX_SEED = 2**32 - 1
"""As in `flowrl.config`, which takes too long to import for `--help`."""

Env = Annotated[str | None, typer.Option("--env", help=f"The game; by default the home's, else {DEFAULT_ENV}.")]
Home = Annotated[Path, typer.Option("--home", help="The folder of the library; your own skills are in its kb/.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON; progress goes to stderr.")]
WorldsSeed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of the worlds played.")]
Preset = Annotated[str, typer.Option("--preset", help="Defaults of a run: cpu or gpu.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Random seed of the run.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any option of a run, e.g. ppo.lr=3e-4; repeat.")
]
Skills = Annotated[int | None, typer.Option("--skills", min=1, help="Learned skills wanted; 3 without a goal.")]
Goals = Annotated[
    list[str] | None,
    typer.Option("--goal", help="A skill or an item: train its whole plan in one run. May be given several times."),
]
Apart = Annotated[
    bool, typer.Option("--apart", help="With --goal: train what it needs skill by skill, each in a run of its own.")
]
OwnSkills = Annotated[
    Path | None, typer.Option("--kb", help="A folder of your own skill files (flowrl kb new), besides the home's kb/.")
]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Skills trained at once.")]
Cores = Annotated[
    int | None, typer.Option("--cores", min=1, help="Processor cores of each worker; by default an even share.")
]
LossesOption = Annotated[
    int, typer.Option("--losses", min=1, help="Workers lost in a row without progress before a run is given up.")
]
Hang = Annotated[
    float, typer.Option("--hang-minutes", min=0.1, help="Minutes without a heartbeat after which a worker is killed.")
]
Engine = Annotated[
    str, typer.Option("--executor", help="Where workers run: local (this machine) or ray (a cluster; flowrl[ray]).")
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="With --executor ray: auto or HOST:PORT; by default Ray is started here."),
]
Dependencies = Annotated[
    str | None, typer.Option("--dependencies", help="frozen, or train: experts that the skill builds on keep learning.")
]
StartFrom = Annotated[
    str | None,
    typer.Option(
        "--start-from",
        help="new; frontier: a share of a run's episodes begins where its skill's preconditions hold already; ring: "
        "where its own episodes began a later task; success is measured from new worlds either way.",
    ),
]
StartShare = Annotated[
    float | None,
    typer.Option(
        "--start-share",
        metavar="P",
        help="With --start-from frontier or ring: the share of episodes that begins there, from 0 to below 1; 0.5 by "
        "default.",
    ),
]

Model = Annotated[str | None, typer.Option("--model", help="The model's name on its server.")]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="An OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1; by default OpenAI's own.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help="A file with the key; else FLOWRL_API_KEY, then OPENAI_API_KEY. Never stored."),
]
Record = Annotated[Path | None, typer.Option("--record", help="Add every exchange with the model to this transcript.")]
Replay = Annotated[Path | None, typer.Option("--replay", help="Take answers from a transcript: no network.")]
ReplayStrict = Annotated[
    bool, typer.Option("--replay-strict", help="With --replay: measured values in a prompt must match too.")
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", min=0, help="US dollars to spend on this home at most, earlier commands included."),
]
MaxCalls = Annotated[
    int | None,
    typer.Option("--max-calls", min=0, help="Model calls to make for this home at most, earlier ones included."),
]
Prices = Annotated[
    Path | None,
    typer.Option("--prices", help="A TOML table of US dollars per million tokens; by default the home's prices.toml."),
]
AnswerSeconds = Annotated[float, typer.Option("--llm-timeout", min=1, help="Seconds a model may take for one answer.")]
Manual = Annotated[Path | None, typer.Option("--manual", help="A text about the game instead of the built-in one.")]
Candidates = Annotated[int, typer.Option("--candidates", min=1, max=16, help="Rewards written and compared per skill.")]
CandidateFrames = Annotated[
    int, typer.Option("--candidate-frames", min=1, help="With --candidates: frames that each reward is trained for.")
]
Attempts = Annotated[
    int, typer.Option("--attempts", min=1, max=20, help="Answers asked for per stage before a proposal is given up.")
]


def executor_fn(name: str, address: str | None, cores: int | None) -> "Callable[[GrowLimits], Executor]":
    """The factory of the executor asked for."""
    from flowrl.errors import UsageError, nearest_names
    from flowrl.jobs.local import LocalExecutor

    if address is not None and name != "ray":
        raise UsageError("--address goes with --executor ray.")
    if name == "local":
        return lambda limits: LocalExecutor(limits.jobs, cores)
    if name == "ray":
        from flowrl.jobs.ray_executor import RayExecutor

        return lambda limits: RayExecutor(address, limits.jobs, cores or 1)
    raise UsageError(f"Unknown --executor {name!r}. {nearest_names(name, ['local', 'ray'])}")


def configure(
    home: Path,
    env: str | None,
    preset: str,
    seed: int,
    settings: list[str] | None,
    dependencies: str | None = None,
    start_from: str | None = None,
    start_share: float | None = None,
    chain: bool = False,
) -> "RunConfig":
    """The configuration of a run. An existing home gives game and network shape unless options do."""
    from flowrl.config import CHAIN, LAYOUTS, build_config, parse_settings
    from flowrl.errors import UsageError
    from flowrl.library.home import SkillLibrary

    given = parse_settings(settings or [])
    source = given.get("start.source", start_from or ("ring" if chain else "new"))
    if start_share is not None and source not in ("frontier", "ring"):
        raise UsageError("--start-share goes with --start-from frontier or ring, with --chain or with grow --goal.")
    held: dict[str, Any] = {}
    if (home / "home.json").exists():
        held = SkillLibrary.open(home).description.options()
        held = {key: value for key, value in held.items() if key.replace("__", ".") not in given}
    home_game = held.get("env__name")
    if preset != "cpu":
        held.pop("model__width", None)
    if env is not None or "env__name" not in held:
        held["env__name"] = DEFAULT_ENV if env is None else env
    game = given.get("env.name", held["env__name"])
    if game != home_game:
        held.pop("env__layout", None)
    if chain:
        held = CHAIN | {"env__layout": LAYOUTS.get(game, ("",))[-1]} | held
    asked = {"start__source": start_from, "start__share": start_share, "dependencies": dependencies}
    held |= {key: value for key, value in asked.items() if value is not None}
    return build_config(preset, settings or [], seed=seed, **held)


def command_again() -> str:
    """The command line ready to be repeated."""
    called = sys.argv[0]
    program = [sys.executable, "-m", "flowrl"] if called.endswith("__main__.py") else [called]
    return shlex.join([*program, *sys.argv[1:]])


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Make SIGTERM stop as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nStopped; nothing is lost. To continue:\n    {command_again()}\n")
        raise typer.Exit(STOPPED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def open_library(home: Path) -> "SkillLibrary":
    """Open an existing home."""
    from flowrl.library.home import SkillLibrary

    return SkillLibrary.open(home)


def library_to_read(home: Path) -> "SkillLibrary":
    """Open an existing home, or the library that comes with flowrl where there is none and none was named."""
    from flowrl.library.shipped import library_to_read

    library, shipped = library_to_read(home, DEFAULT_ENV)
    if shipped:
        sys.stderr.write(f"There is no {home} here: this is the library that comes with flowrl.\n")
    return library
