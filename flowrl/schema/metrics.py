"""The rows of a run's `metrics.jsonl`, told apart by their `kind`."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from flowrl.schema.frozen import Frozen
from flowrl.stats import Share


class _Row(Frozen):
    """What all rows share. Fields of a later version are ignored.

    Attributes:
        frames: played by the run so far.
    """

    model_config = ConfigDict(extra="ignore")

    kind: str
    frames: int = 0


class PhaseRow(_Row):
    """A phase begins that has nothing to say but its name."""

    kind: Literal["starting", "compiling", "exploring", "keeping", "probing", "ablating"]


class CompiledRow(_Row):
    """The first update of a sitting is done, compiling included."""

    kind: Literal["compiled"] = "compiled"
    seconds: float


class SnapshotShare(Frozen):
    """Shares of ended episodes and frames begun at snapshots."""

    episodes: float
    frames: float


class UpdateRow(_Row):
    """One update: success of the run's own episodes so far, and what the learning did.

    Attributes:
        budget: frames after which the run gives up.
        fps: frames a second; None for the first update of a sitting, which compiles.
        seconds: of all sittings so far.
        causes: how failed episodes ended, by name.
        reward: mean reward a step of each task.
        finished: of the newest complete episodes that reached each task, those that finished it.
        task_steps: in this update, of all worlds.
        deaths: in this update, of each task by cause.
        policy, value, entropy, kl, grad_norm: see `flowrl.training.ppo.Losses`.
    """

    kind: Literal["update"] = "update"
    update: int
    budget: int
    fps: float | None
    seconds: float
    success: Share
    step_success: Share
    causes: dict[str, int]
    from_kept: SnapshotShare
    trained_samples: int
    reward: tuple[float, ...]
    finished: tuple[Share, ...] = ()
    task_steps: tuple[int, ...] = ()
    deaths: tuple[dict[str, int], ...] = ()
    lr: float
    policy: float
    value: float
    entropy: float
    kl: float
    grad_norm: float


class MeasuringRow(_Row):
    """A gate begins: reserved worlds are played."""

    kind: Literal["measuring"] = "measuring"
    gate: int


class GateRow(_Row):
    """What a gate measured, and whether the skill counts as learned.

    Attributes:
        again: on worlds of its own, after the gate was passed: the number that is shown.
    """

    kind: Literal["gate"] = "gate"
    gate: int
    update: int
    passed: bool
    again: bool = False
    success: Share
    step_success: Share
    causes: dict[str, int]


class PlayedRow(_Row):
    """Frames that were played for something else than learning."""

    kind: Literal["played"] = "played"
    purpose: Literal["gate", "starts"]
    played: int


class StartsRow(_Row):
    """The states that a share of the episodes begins at. A share of 0 where there are too few."""

    kind: Literal["starts"] = "starts"
    share: float
    states: int
    note: str


class PlayingRow(_Row):
    """Progress of an evaluation or analysis. Episodes or segments played, and how many are wanted."""

    kind: Literal["playing"] = "playing"
    played: int
    wanted: int


MetricsRow = PhaseRow | CompiledRow | UpdateRow | MeasuringRow | GateRow | PlayedRow | StartsRow | PlayingRow
OnRow = Callable[[MetricsRow], None]
_ADAPTER: TypeAdapter[MetricsRow] = TypeAdapter(Annotated[MetricsRow, Field(discriminator="kind")])


def parse_row(line: str | bytes) -> MetricsRow | None:
    """The row on a line. None if it is damaged or foreign."""
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError:
        return None
