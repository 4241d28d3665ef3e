"""The whole configuration of a run. Typed, frozen, saved beside the run, and the only thing the worker reads."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flowrl.errors import UsageError, nearest_names

LAYOUTS: dict[str, tuple[str, ...]] = {
    "Craftax-Classic-Symbolic-v1": ("classic-1", "classic-2", "classic-3", "classic-4"),
    "Craftax-Symbolic-v1": ("craftax-1",),
    "Tiny-Grid-v1": ("tiny-1",),
}
"""The environments, and the observation layouts of each, the one of new homes first."""
ENVIRONMENTS: tuple[str, ...] = tuple(LAYOUTS)


MAX_GATES = 499
"""The most gates of a run; its reserved worlds are numbered accordingly."""
MAX_SEED = 2**32 - 1
"""The largest seed that jax tells from others."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EnvConfig(_Frozen):
    """The game and its batch."""

    name: str = "Craftax-Classic-Symbolic-v1"
    layout: str = Field("", description="what the policy sees; empty: the environment's first layout")
    worlds: int = Field(256, ge=1, description="worlds stepped side by side")
    fresh_worlds: int = Field(96, ge=1, description="new worlds generated each rollout, for the episodes that end")
    groups: int = Field(
        2, ge=1, description="groups of worlds that play and learn side by side, on as many cores or cards as there are"
    )
    episode_steps: int = Field(1000, ge=1, description="time limit of an episode, in steps")
    fast: bool = Field(True, description="rewrite the games' steps for CPUs; without it the results are the same")


class ModelConfig(_Frozen):
    """The shape of every expert. A home keeps the one it began with."""

    width: int = Field(128, ge=1)
    layers: int = Field(3, ge=2, description="dense layers of a tower, the output layer included")
    shared: bool = Field(True, description="an expert's critic sees through the first layer of its actor")


class PPOConfig(_Frozen):
    """Proximal policy optimisation (Schulman et al. 2017), with routing by expert."""

    frames: int = Field(8_000_000, ge=0, description="frames after which a run gives up")
    steps: int = Field(64, ge=1, description="steps of each world per rollout")
    epochs: int = Field(2, ge=1, description="times that an update goes over its samples")
    min_gradient_steps: int = Field(
        12, ge=1, description="gradient steps of an update, for which it goes over few samples more often"
    )
    max_epochs: int = Field(8, ge=1, description="but no more often than this")
    minibatch_size: int = Field(2048, ge=1, description="samples of the trained experts per gradient step")
    lr: float = Field(1e-3, gt=0)
    anneal: bool = Field(True, description="learning rate falls linearly to zero over `frames`")
    gamma: float = Field(0.99, ge=0, le=1)
    credit: Literal["task", "plan"] = Field(
        "task", description="how far value flows back: to the end of a task, or over all tasks of the plan"
    )
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip_eps: float = Field(0.2, gt=0)
    value_clip_eps: float = Field(0.2, gt=0)
    value_coef: float = Field(0.5, ge=0)
    entropy_coef: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(0.5, gt=0, description="largest gradient norm of one expert")
    bfloat16: bool = Field(
        False,
        description="products behind the first layer in bfloat16, for graphics cards; compared with float32 first",
    )
    advantage_floor: float = Field(0.05, gt=0, description="least standard deviation that advantages are divided by")
    death_penalty: float = Field(0.0, ge=0, description="taken from the reward of the step in which the player dies")
    vitals_reward: float = Field(
        0.0, ge=0, description="for each point that health, food, drink and energy rise; taken back as they fall"
    )
    discovery_reward: float = Field(
        0.0, ge=0, description="for each cell seen for the first time while what a task seeks is not yet known"
    )
    found_reward: float = Field(0.0, ge=0, description="for the step that first shows what a task seeks")


class GateConfig(_Frozen):
    """When training stops and what counts as learned."""

    on: Literal["step", "plan"] = Field(
        "step", description="what decides: success in the skill's own task, or in the whole plan"
    )
    stop_at: float = Field(0.9, ge=0, le=1, description="lower bound of the training success that asks for a gate")
    episodes: int = Field(400, ge=1, description="newest complete episodes that the training success is taken from")
    worlds: int = Field(500, ge=1, description="reserved worlds played at a gate")
    per_amount_worlds: int = Field(100, ge=0, description="reserved worlds for each smaller amount of the range")
    learned_at: float = Field(0.8, ge=0, le=1, description="a skill is learned at this lower bound of success")
    min_episodes: int = Field(200, ge=1, description="episodes that must reach the skill's task for it to be learned")
    max_gates: int = Field(4, ge=1, le=MAX_GATES, description="gates asked for before the budget ends")
    merge_worlds: int = Field(
        1000, ge=1000, description="common worlds on which a candidate is compared with the library's expert"
    )


class StartConfig(_Frozen):
    """Where a run's episodes begin, and what it keeps for later ones."""

    source: Literal["new", "frontier", "ring"] = Field(
        "new",
        description="new: in new worlds; frontier: a share where the skill's preconditions hold already; ring: a share "
        "where other episodes of the run began one of its tasks",
    )
    share: float = Field(0.5, ge=0, lt=1, description="with frontier or ring: share of the episodes that begin there")
    copy_at: float = Field(
        0.0,
        ge=0,
        le=1,
        description="an expert that seeks a block begins as a copy of the one that sought before it, once that one "
        "succeeds this often; 0: never",
    )
    ring: int = Field(64, ge=1, description="with ring: places for each task in each group of worlds")
    keep: int = Field(
        256, ge=0, le=1024, description="final states kept of a skill that is learned, and start states looked for"
    )


class CheckpointConfig(_Frozen):
    """How often a run saves what it needs to go on."""

    every: int = Field(10, ge=1, description="updates between two checkpoints")


class RunConfig(_Frozen):
    """Every option of a run; nothing else reaches the worker."""

    env: EnvConfig = EnvConfig()
    model: ModelConfig = ModelConfig()
    ppo: PPOConfig = PPOConfig()
    gate: GateConfig = GateConfig()
    start: StartConfig = StartConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    interrupts: bool = Field(False, description="chain runs learn skills that pre-empt their plans, such as Rest, too")
    dependencies: Literal["frozen", "train"] = Field(
        "frozen", description="whether the experts that a skill builds on learn in its run too"
    )
    seed: int = Field(0, ge=0, le=MAX_SEED)
    gpu_memory: float = Field(0.9, gt=0, le=1, description="share of a card's memory that one worker may take")

    @property
    def layout(self) -> str:
        """The observation's layout."""
        return self.env.layout or LAYOUTS[self.env.name][0]

    @property
    def groups(self) -> int:
        """The groups that there are: at most `env.groups`, as many as divide worlds and minibatches evenly."""
        return math.gcd(self.env.groups, self.env.worlds, self.env.fresh_worlds, self.ppo.minibatch_size)


PRESETS: dict[str, dict[str, Any]] = {
    "cpu": {},
    "gpu": {
        "env.worlds": 1024,
        "env.fresh_worlds": 512,
        "model.width": 512,
        "ppo.minibatch_size": 8192,
        "ppo.frames": 50_000_000,
    },
}
"""Starting points; `--set` is applied on top."""


CHAIN: dict[str, Any] = {
    "dependencies": "train",
    "start__source": "ring",
    "start__copy_at": 0.6,
    "gate__on": "plan",
    "ppo__credit": "plan",
    "ppo__gamma": 0.997,
    "ppo__discovery_reward": 0.004,
    "ppo__found_reward": 3.0,
    "ppo__vitals_reward": 0.05,
    "ppo__frames": 100_000_000,
}
"""What a chain run has otherwise than a single skill's, as arguments of `build_config`."""


def option_names(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[str]:
    """Every option as `group.name`, e.g. `ppo.lr`."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from option_names(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _nested(options: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in options.items():
        *groups, name = key.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[name] = value
    return tree


RENAMED = {
    "ppo.least_steps": "ppo.min_gradient_steps",
    "ppo.most_epochs": "ppo.max_epochs",
    "ppo.minibatch": "ppo.minibatch_size",
    "ppo.clip": "ppo.clip_eps",
    "ppo.value_clip": "ppo.value_clip_eps",
    "ppo.value_weight": "ppo.value_coef",
    "ppo.entropy": "ppo.entropy_coef",
    "ppo.grad_norm": "ppo.max_grad_norm",
    "ppo.death_price": "ppo.death_penalty",
    "gate.least_episodes": "gate.min_episodes",
    "gate.most_gates": "gate.max_gates",
}
"""Options of flowrl 0.1 that have another name now: only to say so."""


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """Returns `--set` arguments as options by name.

    Raises:
        UsageError: one is not KEY=VALUE, or its key does not exist; the nearest keys are named.
    """
    options: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes KEY=VALUE, not {setting!r}; for example --set ppo.lr=3e-4")
        if key in RENAMED:
            raise UsageError(f"The option {key!r} is called {RENAMED[key]!r} now: --set {RENAMED[key]}={value}")
        if key not in set(option_names()):
            raise UsageError(f"No option {key!r}. {nearest_names(key, option_names())}")
        options[key] = value
    return options


def build_config(preset: str = "cpu", settings: Sequence[str] = (), **options: Any) -> RunConfig:
    """A preset's configuration with ``options`` and then ``--set`` settings on top.

    Args:
        preset: a name of `PRESETS`.
        settings: `group.name=value` texts.
        options: values by name with two underscores for the dot, e.g. ``env__name``.

    Raises:
        UsageError: an unknown preset, environment or key (the nearest are named), or a value out of range, or more
            minibatches than can be counted.
    """
    if preset not in PRESETS:
        raise UsageError(f"No preset {preset!r}. {nearest_names(preset, PRESETS)}")
    given = {key.replace("__", "."): value for key, value in options.items() if value is not None}
    merged = PRESETS[preset] | given | parse_settings(settings)
    try:
        config = RunConfig.model_validate(_nested(merged))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{where} cannot be {first['input']!r}: {first['msg']}.") from error
    if config.env.name not in ENVIRONMENTS:
        raise UsageError(f"No environment {config.env.name!r}. {nearest_names(config.env.name, ENVIRONMENTS)}")
    layouts = LAYOUTS[config.env.name]
    if config.layout not in layouts:
        raise UsageError(
            f"{config.env.name} has no layout {config.env.layout!r}. {nearest_names(config.env.layout, layouts)}"
        )
    # Said in full: a run that began before there was a home is resumed with the layout that the home names.
    config = config.model_copy(update={"env": config.env.model_copy(update={"layout": config.layout})})
    samples = config.env.worlds * config.ppo.steps
    minibatches = -(-samples // config.ppo.minibatch_size)
    if samples // config.groups * minibatches >= 2**31:
        raise UsageError(
            f"A rollout of {samples:,} frames makes {minibatches:,} minibatches, too many to count their samples in 32 "
            f"bits. Raise ppo.minibatch_size, which is {config.ppo.minibatch_size:,}, or take fewer worlds or steps."
        )
    return config
