"""The words of flowrl: amounts, specifications, skills, plans and what was measured of them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flowrl.config import RunConfig
from flowrl.stats import Share


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(_Value):
    """An amount that grows with n: ``per_n * n + base``. Data, never code."""

    per_n: int = 0
    base: int = 0

    def at(self, n: int) -> int:
        """Returns the amount for ``n``."""
        return self.per_n * n + self.base


class SkillSpec(_Value):
    """What a skill needs, spends and yields, in fluents.

    See `fluents.py` for the names. Whatever is required or yielded holds *at least* so much.

    Attributes:
        requires: what must hold at the start, at least.
        consumes: what is gone afterwards.
        yields: what holds at the end, at least: an absolute amount in hand, as `n` is.
        floors: the floors on which it can be done; None: any.
        to_floor: the floor that it ends on; None: the one that it began on.
        stays: the player stays where it stands, so that stations within reach stay so.
        practice: what is played before it in its own run, beyond what it needs: (skill, n), so that it has something
            to learn (going back to a table is learned from afar).
        item: the item whose amount in hand the policy is shown, if any.
        n_range: least and largest n that the skill trains on; None: 1 to the largest that a plan of its base asks.
        n_most: the largest n that the game allows at all, trained on or not; None: as much as fits in hand.
    """

    requires: dict[str, Quantity] = Field(default_factory=dict)
    consumes: dict[str, Quantity] = Field(default_factory=dict)
    yields: dict[str, Quantity] = Field(default_factory=dict)
    floors: tuple[int, ...] | None = None
    to_floor: int | None = None
    stays: bool = False
    practice: tuple[tuple[str, int], ...] = ()
    item: str | None = None
    n_range: tuple[int, int] | None = None
    n_most: int | None = None

    def needed(self, n: int) -> dict[str, int]:
        """Returns the least amounts that must hold at the start to make ``n``."""
        names = self.requires.keys() | self.consumes.keys()
        none = Quantity()
        return {f: max(self.requires.get(f, none).at(n), self.consumes.get(f, none).at(n)) for f in sorted(names)}

    @property
    def scales(self) -> bool:
        """Whether n makes a difference to what is yielded."""
        return any(quantity.per_n for quantity in self.yields.values())


class Skill(_Value):
    """A skill as a knowledge base or a proposer states it: a specification and its code.

    Attributes:
        code: the text of a skill file (`is_done` and `reward`) or of a whole task module, see ``is_module``.
        is_module: ``code`` is a task module in the seed's format, the last task being the skill's own.
        trusted: the code ships with the package or was passed by hand, so that a worker may run it. Any other code is
            verified in a sandbox, and workers run what that exports.
    """

    name: str
    description: str = ""
    spec: SkillSpec
    code: str
    is_module: bool = False
    trusted: bool = True


class ArtefactRef(_Value):
    """An exported skill, as a run refers to it.

    Attributes:
        key: its name in the cache and in the run's folder.
        sha256: the hash of the file; a worker loads no other.
    """

    key: str = Field(pattern="^[0-9a-f]{64}$")
    sha256: str


class GameSignature(_Value):
    """What skill code of a game may see.

    Attributes:
        leaves: shape and type of each argument, a struct's fields as `inventory.wood`.
        blocks: names of the rows of `closest_blocks`.
        achievements, actions: names, in order.
    """

    leaves: dict[str, tuple[tuple[int, ...], str]]
    blocks: tuple[str, ...]
    achievements: tuple[str, ...]
    actions: tuple[str, ...]


class PlanStep(_Value):
    """One skill execution of a plan: do ``skill`` until ``n`` is reached, by global expert ``expert``."""

    skill: str
    n: int
    expert: int | None = None
    why: str = ""


class Plan(_Value):
    """Skill executions in order, from a new world to the goal."""

    goal: str
    steps: tuple[PlanStep, ...]


class TaskSpec(_Value):
    """One task of a run, as the worker needs it."""

    skill: str
    low: int
    high: int
    item: str | None = None


class RunSpec(_Value):
    """All that a worker reads, beside the module and the initial weights: `run.json`.

    Attributes:
        local_to_global: the global expert of each local index.
        trained: the local experts that learn; the others are frozen.
        own: the local index of the skill's own expert.
        seeds: the hash of the weights in the library that each local expert began with, where it had any.
        frames_before: frames that the own expert was trained on in earlier runs.
        runs_before: earlier runs of the skill; each run trains and is measured on worlds of its own.
        source_file: the file that a task module came from, for messages.
        random: the local experts, apart from a new ``own``, that are of no skill of the library: the companions of
            this one. They learn too, and start random, or in a later run from the skill's own folder.
        trial: the run only measures one way of rewarding a skill; nothing of it enters the library.
        plan: what the run plays, for the record.
        exported: for each skill of the plan, what the sandbox exported of it. A worker then runs that, and no text;
            empty: all the code is trusted, and the run's module is traced.
        module_sha256: the hash of the module, the only one that a worker runs; empty: an earlier flowrl noted none.
        start_files: for each skill of the library whose final states the run may begin at, the hash of their file.
    """

    skill: str
    description: str = ""
    spec: SkillSpec = SkillSpec()
    is_module: bool = False
    config: RunConfig
    tasks: tuple[TaskSpec, ...]
    local_to_global: tuple[int, ...]
    trained: tuple[int, ...]
    own: int
    random: tuple[int, ...] = ()
    trial: bool = False
    seeds: dict[int, str] = Field(default_factory=dict)
    frames_before: int = 0
    runs_before: int = 0
    source_file: str = ""
    plan: Plan
    exported: dict[str, ArtefactRef] = Field(default_factory=dict)
    module_sha256: str = ""
    start_files: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> "RunSpec":
        count = len(self.local_to_global)
        if not all(0 <= local < count for local in (*self.trained, self.own, *self.random)):
            raise ValueError(f"local experts must lie in 0..{count - 1}")
        if list(self.local_to_global) != sorted(set(self.local_to_global)):
            raise ValueError("local experts must be in ascending global order, each once")
        return self

    @property
    def expert(self) -> int:
        """The global index of the skill's own expert."""
        return self.local_to_global[self.own]


class Evaluation(_Value):
    """What playing a run's tasks on new worlds showed; every episode is counted to its end.

    Attributes:
        success: episodes that finish the whole plan, of all.
        step_success: episodes that finish the skill's own task, of those that reach it.
        reached: for each task, the episodes that reached it.
        finished: for each task, the episodes that finished it.
        causes: how the failed episodes ended, by name ("timeout" for the time limit).
        length: mean steps of an episode.
        amount: the n of the skill's own task.
        per_amount: step success for each other n of the range.
        held: for each fluent that the skill promises, in what share of the episodes that finished the plan with
            ``amount`` it really held at that moment.
        worlds_seed: which reserved worlds were played.
    """

    success: Share
    step_success: Share
    reached: tuple[int, ...]
    finished: tuple[int, ...]
    causes: dict[str, int]
    length: float
    amount: int
    per_amount: dict[int, Share] = Field(default_factory=dict)
    held: dict[str, Share] = Field(default_factory=dict)
    worlds_seed: int


Status = Literal["learned", "weak", "running"]


class TrainResult(_Value):
    """The outcome of a run: `result.json`; there is no other sign of one.

    Attributes:
        outcome: "done" (trained and measured), "failed", or "cancelled" by somebody.
        error: why it failed.
        params: the file with the trained experts, relative to the run's folder.
        params_sha256: its hash.
        start_states: the file with states in which episodes ended in success, relative to the run's folder, if any.
        start_states_sha256: its hash.
        seconds: wall time over all sittings; ``compile_seconds`` of it before the first update was done.
    """

    outcome: Literal["done", "failed", "cancelled"]
    error: str = ""
    params: str = ""
    params_sha256: str = ""
    start_states: str = ""
    start_states_sha256: str = ""
    frames: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    status: Status = "weak"
    evaluation: Evaluation | None = None


class HomeDescription(_Value):
    """What a home holds: `home.json`. Fixed at first use; anything else is refused by name.

    Attributes:
        shared: as `ModelConfig` has it; homes made before it could be chosen do not say it, and share nothing.
    """

    format: Literal[1] = 1
    env: str
    layout: str
    width: int
    layers: int
    shared: bool = False

    def options(self) -> dict[str, Any]:
        """Returns what a configuration for this home says of game and network, as `build_config` takes it."""
        model = {f"model__{name}": getattr(self, name) for name in ("width", "layers", "shared")}
        return {"env__name": self.env, **model}


class ExpertMeta(_Value):
    """What an expert's weights are for; kept beside them.

    Attributes:
        sha256: the hash of the weights' file.
        replaces: the hash of the file that stood there before: a process that is killed between writing this and the
            weights leaves that one.
    """

    expert: int
    frames: int
    sha256: str
    replaces: str = ""
    fits: HomeDescription


class SkillRecord(_Value):
    """A skill of the library: `skill.json`.

    Attributes:
        version: rises by one each time the record is replaced.
        frames: frames that the expert was trained on, all runs together.
        is_module: the skill came as a task module of its own.
        companions: global experts that the skill plays with but that the library lacks; they lie in its own folder.
        weights: the hash of the weights that it was measured with; "" where nobody noted it.
    """

    name: str
    expert_idx: int
    description: str = ""
    spec: SkillSpec
    status: Literal["learned", "weak"]
    version: int = 1
    frames: int
    evaluation: Evaluation
    plan: Plan
    is_module: bool = False
    companions: tuple[int, ...] = ()
    path: str = ""
    weights: str = ""
