"""A training run: what is asked for, its configuration and its result."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from flowrl.config import RunConfig
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.frozen import Frozen
from flowrl.schema.plan import Plan
from flowrl.schema.skill import SkillSpec


class ArtefactRef(Frozen):
    """An exported skill, as a run refers to it.

    Attributes:
        key: its name in the cache and in the run's folder.
        sha256: the hash of the file; a worker loads no other.
    """

    key: str = Field(pattern="^[0-9a-f]{64}$")
    sha256: str


class TaskSpec(Frozen):
    """One task of a run, as the worker needs it.

    Attributes:
        seeks: the block that the task is looking for, if any.
    """

    skill: str
    low: int
    high: int
    item: str | None = None
    seeks: str | None = None


class Member(Frozen):
    """A skill that a chain run trains from nothing along with its own, and that enters the library with it."""

    name: str
    expert: int
    description: str = ""
    spec: SkillSpec
    code: str


class RunGoal(Frozen):
    """What a run trains, whichever experts it holds.

    Attributes:
        source_file: the file that a task module came from, for messages.
        trial: the run only measures one way of rewarding a skill; nothing of it enters the library.
        plan: what the run plays, for the record.
        chain: all skills of the plan learn in it.
        members: other skills of the plan that the library lacked.
        exported: the sandbox's export of each skill of the plan, run instead of the module's text; empty: all the code
            is trusted, and the module is traced.
    """

    skill: str
    description: str = ""
    spec: SkillSpec = SkillSpec()
    is_module: bool = False
    config: RunConfig
    tasks: tuple[TaskSpec, ...]
    plan: Plan
    trial: bool = False
    chain: bool = False
    members: tuple[Member, ...] = ()
    source_file: str = ""
    exported: dict[str, ArtefactRef] = Field(default_factory=dict)


class RunRequest(RunGoal):
    """A run to be set up, with the library's expert numbers.

    Attributes:
        expert: the global expert of the skill.
        dependencies: skills whose experts the run plays with.
        code: the task module, with global expert numbers.
        source: the skill's own code, as the library will hold it.
        trusted: this user wants the module to be run as text, if nothing is exported.
    """

    expert: int
    dependencies: tuple[str, ...]
    code: str
    source: str
    trusted: bool = False


CANDIDATE = " candidate "
"""Stands in the name of a run that tries one of several rewards: `SKILL candidate 2`."""


class RunSpec(RunGoal):
    """All that a worker reads, beside the module and the initial weights: `run.json`.

    Attributes:
        local_to_global: the global expert of each local index.
        trained: the local experts that learn; the others are frozen.
        own: the local index of the skill's own expert.
        seeds: the hash of the library's weights that each local expert began with, if any.
        frames_before: frames that the own expert was trained on in earlier runs.
        runs_before: earlier runs of the skill; each run trains and is measured on worlds of its own.
        random: the local experts of members, and of the skill's companions, which no skill of the library owns. They
            learn too, and start random, or in a later run from the skill's own folder.
        module_sha256: the hash of the module, the only one that a worker runs; empty: an earlier flowrl noted none.
        start_files: the hash of each file of start states that episodes may begin at, by the skill they come from.
    """

    local_to_global: tuple[int, ...]
    trained: tuple[int, ...]
    own: int
    random: tuple[int, ...] = ()
    seeds: dict[int, str] = Field(default_factory=dict)
    frames_before: int = 0
    runs_before: int = 0
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

    @property
    def world_name(self) -> str:
        """The skill whose worlds the run is trained and measured on. Candidates of one skill share theirs."""
        return self.skill.rpartition(CANDIDATE)[0] if self.trial else self.skill

    @property
    def companions(self) -> tuple[int, ...]:
        """The global indices of the skill's companions."""
        members = {member.expert for member in self.members}
        return tuple(g for local in self.random if (g := self.local_to_global[local]) not in members)

    @property
    def trained_dependencies(self) -> tuple[int, ...]:
        """The global indices of other skills' experts that learn here."""
        mine = (self.own, *self.random)
        return tuple(self.local_to_global[local] for local in self.trained if local not in mine)


Status = Literal["learned", "weak", "running"]


class TrainResult(Frozen):
    """The outcome of a run: `result.json`; there is no other sign of one.

    Attributes:
        outcome: "done" (trained and measured), "failed", or "cancelled" on request.
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
