"""What the learning of a skill owes to each ingredient: one left out at a time, several seeds each.

    .venv/bin/python benchmarks/what_matters.py --seeds 3 --frames 500000 --skill "Collect Drink" --only "epoch|batch"

Prints, as Markdown, the step success of the training's own episodes (of wood 1 to 3, of other skills one) half-way and
at the end, and the frames and seconds to a success of 80 %; median and range over seeds. Frames are the same for all,
nothing stops early. The skill needs nothing that another one brings.
"""

import argparse
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.tables.setup import plan_env
from flowrl.config import RunConfig, build_config
from flowrl.env.block_memory import UNKNOWN
from flowrl.env.domain import Observation
from flowrl.env.flow_env import FlowEnv, FlowState
from flowrl.jax_runtime import configure_jax
from flowrl.training.episode_stats import Progress
from flowrl.training.programs import Programs
from flowrl.training.trainer import Trainer

NAME = "Craftax-Classic-Symbolic-v1"
MOST = {"Collect Wood": 3}
"""The highest amount that a skill is trained for; one where nothing is said."""


class WithoutNearest(FlowEnv):
    """The policy sees upstream's observation and the amounts, not where the nearest things are."""

    def observe(self, state: FlowState) -> Observation:
        """Returns the observation with the offsets blanked out."""
        seen = super().observe(state)
        own = jnp.arange(seen.levels.shape[1]) < self.domain.levels
        return seen._replace(levels=jnp.where(own, seen.levels, jnp.int8(UNKNOWN)))


def without_approach(env: FlowEnv) -> FlowEnv:
    """Returns the environment with wood alone rewarded."""
    skill = env.tasks.skills[0]

    def reward(inventory: Any, inventory_diff: Any, n: Any) -> Any:
        return (jnp.minimum(inventory.wood, n) - jnp.minimum(inventory.wood - inventory_diff.wood, n)) / n

    bare = replace(skill, reward=reward, reward_arguments=("inventory", "inventory_diff", "n"))
    return replace(env, tasks=replace(env.tasks, skills=(bare,)))


def same(env: FlowEnv) -> FlowEnv:
    """Returns the environment as it is."""
    return env


@dataclass(frozen=True)
class Variant:
    """One thing changed; ``{frames}`` in a setting stands for the frames that are run."""

    name: str
    settings: tuple[str, ...] = ()
    change: Callable[[FlowEnv], FlowEnv] = same


VARIANTS = (
    Variant("as it is"),
    Variant("without nearest-object inputs", change=lambda env: WithoutNearest(**vars(env))),
    Variant("without the approach term", change=without_approach),
    Variant("without annealing", ("ppo.anneal=false",)),
    Variant("annealed to zero over these frames", ("ppo.frames={frames}",)),
    Variant("advantage floor 1e-8 for 0.05", ("ppo.advantage_floor=1e-8",)),
    Variant("price of dying 1", ("ppo.death_penalty=1",)),
    Variant("width 64", ("model.width=64",)),
    Variant("actor and critic share no layer", ("model.shared=false",)),
    Variant("1 epoch for 2", ("ppo.epochs=1",)),
    Variant("4 epochs for 2", ("ppo.epochs=4",)),
    Variant("minibatches of 1024 for 2048", ("ppo.minibatch_size=1024",)),
    Variant("minibatches of 4096 for 2048", ("ppo.minibatch_size=4096", "ppo.min_gradient_steps=1")),
    Variant(
        "minibatches of 4096, learning rate 2e-3",
        ("ppo.minibatch_size=4096", "ppo.min_gradient_steps=1", "ppo.lr=2e-3"),
    ),
    Variant("32 steps a rollout for 64", ("ppo.steps=32",)),
    Variant("128 worlds for 256", ("env.worlds=128", "env.fresh_worlds=64")),
    Variant("64 new worlds a rollout for 96", ("env.fresh_worlds=64",)),
    Variant("128 new worlds a rollout for 96", ("env.fresh_worlds=128",)),
    Variant("learning rate 5e-4 for 1e-3", ("ppo.lr=5e-4",)),
    Variant("learning rate 2.5e-4 for 1e-3", ("ppo.lr=2.5e-4",)),
    Variant("gamma 0.98 for 0.99", ("ppo.gamma=0.98",)),
    Variant("entropy 0.003 for 0.01", ("ppo.entropy_coef=0.003",)),
)


def compiled(config: RunConfig, variant: Variant, skill: str) -> Programs:
    """Returns a variant's programs; all its seeds run on them."""
    env = plan_env(NAME, skill)
    env = variant.change(replace(env, amounts=replace(env.amounts, low=(1,), high=(MOST.get(skill, 1),))))
    return Programs(Trainer(env, config, 1, (0,)))


def learn(programs: Programs, seed: int, frames: int) -> tuple[list[float], float]:
    """Returns the training success after every update, and the frames a second of all updates but the first."""
    config, env = programs.trainer.config, programs.trainer.env
    state = programs.init(jax.random.PRNGKey(seed), {})
    progress, curve, start = Progress(), [], 0.0
    progress.begin(config.env.worlds)
    for update in range(1, frames // programs.trainer.frames_per_update + 1):
        state, stats = jax.block_until_ready(programs.update(state))
        start = time.perf_counter() if update == 1 else start
        progress.count(jax.tree.map(np.asarray, stats.results), update, env.domain.causes, 0)
        curve.append(progress.recent(config.gate.episodes).step_success.value or 0.0)
    seconds = time.perf_counter() - start
    return curve, (len(curve) - 1) * programs.trainer.frames_per_update / seconds


def cell(values: list[float], scale: float = 100, unit: str = " %") -> str:
    """Returns median and range."""
    shown = sorted(value * scale for value in values)
    return f"{statistics.median(shown):.0f}{unit} ({shown[0]:.0f} to {shown[-1]:.0f})"


def main() -> None:
    """Runs every variant and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=600_000)
    parser.add_argument("--skill", default="Collect Wood", help="a skill that needs nothing")
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="variants in whose name this is found, a regular expression"
    )
    arguments = parser.parse_args()
    configure_jax(0.9, groups=2)
    print("| variant | success half-way | at the end | thousand frames to 80 % | seconds to 80 % | frames/s |")
    print("|---|---|---|---|---|---|", flush=True)
    for variant in VARIANTS:
        if not re.search(arguments.only, variant.name):
            continue
        half, end, reached, rates = [], [], [], []
        settings = [setting.format(frames=arguments.frames) for setting in variant.settings]
        programs = compiled(build_config(settings=settings), variant, arguments.skill)
        for seed in range(arguments.seeds):
            curve, rate = learn(programs, seed, arguments.frames)
            rates.append(rate)
            half.append(curve[len(curve) // 2])
            end.append(curve[-1])
            first = next((i + 1 for i, value in enumerate(curve) if value >= 0.8), None)
            reached.append((first or float("inf")) * programs.trainer.frames_per_update)
        seconds = [frames / rate for frames, rate in zip(reached, rates, strict=True)]
        columns = [cell(half), cell(end), cell(reached, 1e-3, ""), cell(seconds, 1, ""), cell(rates, 1, "")]
        print(f"| {' | '.join([variant.name, *columns])} |", flush=True)


if __name__ == "__main__":
    main()
