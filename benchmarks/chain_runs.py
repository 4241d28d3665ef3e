"""Trains all experts of a goal's plan in one run and prints how far its episodes come: ablations of chain runs.

    .venv/bin/python benchmarks/chain_runs.py --frames 10e6 --out runs/plain
    .venv/bin/python benchmarks/chain_runs.py --frames 10e6 --out runs/map --set env.layout=classic-2 --seed 1

Without any library: experts begin random. Success is measured on worlds of the EVALUATION stream, sampled actions, one
episode a world. A run that is stopped goes on where it last saved (--save-every). Rows: JSON lines in OUT/rows.jsonl.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from flowrl.config import RunConfig, build_config
from flowrl.jax_runtime import start_jax
from flowrl.knowledge.base import load_base

DEFAULTS = (
    "ppo.credit=plan", "ppo.gamma=0.997", "ppo.lr=1e-3", "start.source=ring", "start.copy_at=0.6",
    "env.layout=classic-3", "ppo.discovery_reward=0.004", "ppo.found_reward=3",
)  # fmt: skip
GOAL = "Collect Diamond"
BY_NIGHT = (60, 120, 180, 240, 300, 1000, 10_000)
"""Ends of the spans of an episode that deaths are told by, in steps; deep night is around step 240."""


def arguments() -> argparse.Namespace:
    """Returns what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--goal", default=GOAL)
    parser.add_argument("--steps", help="the plan as skill:n,skill:n,...; the planner's if left out")
    parser.add_argument("--frames", type=float, default=10e6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--measure-every", type=float, default=5e6, help="frames")
    parser.add_argument("--save-every", type=float, default=2e6, help="frames")
    parser.add_argument("--begin", type=Path, help="OUT of a run of the same plan, whose experts go on")
    parser.add_argument("--worlds", type=int, default=512, help="worlds of a measurement; twice as many at the end")
    return parser.parse_args()


class ChainRun:
    """A chain run under way.

    Args:
        asked: the command line.
    """

    def __init__(self, asked: argparse.Namespace, config: RunConfig):
        from benchmarks.tables.setup import plan_steps, plan_trainer, run_env
        from flowrl.training.episode_stats import Progress
        from flowrl.training.programs import Programs

        self.asked, self.config, self.began = asked, config, time.monotonic()
        if asked.steps:
            parts = (part.rpartition(":") for part in asked.steps.split(","))
            self.steps = [(skill.strip(), int(n)) for skill, _, n in parts]
        else:
            self.steps = plan_steps(config.env.name, asked.goal)
        env = run_env(config, self.steps)
        experts = max(env.tasks.expert_of_task) + 1
        trained = tuple(range(experts))
        self.programs = Programs(plan_trainer(env, config, trained))
        self.warm_start = self.programs.trainer.warm_start(trained)
        self.env, self.progress = env, Progress()
        self.per_update = self.programs.trainer.frames_per_update

    def run(self) -> None:
        """Train to the end of the budget."""
        state = self._restore()
        budget, spans = int(self.asked.frames) // self.per_update, []
        clock = time.monotonic()
        while int(state.update) < budget:
            self._practise(int(state.update) / budget)
            state = self._copy(state)
            state, stats = self.programs.update(state)
            update = int(state.update)
            results = type(stats.results)(*(np.asarray(leaf) for leaf in stats.results))
            causes, from_snapshot = self.env.domain.causes, np.asarray(state.flow.from_snapshot)
            self.progress.count(results, update, causes, len(self.steps) - 1, from_snapshot)
            self.progress.forget(update - 2 * self.config.env.episode_steps // self.config.ppo.steps - 2)
            spans.append(time.monotonic() - clock)
            clock = time.monotonic()
            if update % max(1, int(1e6) // self.per_update) == 0:
                self._tell_training(update, stats, results, spans)
                spans = []
            if self._due(update, self.asked.measure_every) and update < budget:
                self._measure(state, self.asked.worlds)
                clock = time.monotonic()
            if self._due(update, self.asked.save_every):
                self._save(state)
        self._save(state)
        self._measure(state, 2 * self.asked.worlds)

    def _due(self, update: int, frames: float) -> bool:
        return update % max(1, int(frames) // self.per_update) == 0

    def _practise(self, gone: float) -> None:
        recent = self.progress.recent(self.config.gate.episodes)
        shares = recent.per_task(len(self.steps))
        weights = [1.0 - share.successes / share.total if share.total else 1.0 for share in shares]
        self.programs.draw_starts(weights, self.config.start.share * min(1.0, 4 * (1 - gone)))

    def _copy(self, state: Any) -> Any:
        shares = self.progress.recent(self.config.gate.episodes).per_task(len(self.steps))
        state, copies = self.warm_start.begin(state, shares, self.progress.settled)
        beside = load_base(self.config.env.name).interrupts
        names = [*(skill for skill, _ in self.steps), *(skill.name for skill in beside)]
        for copy in copies:
            self._tell(kind="copied", frames=int(state.update) * self.per_update, task=names[copy.task])
        return state

    def _restore(self) -> Any:
        import jax

        key = jax.random.PRNGKey(self.asked.seed)
        file = self.asked.out / "state.npz"
        if not file.exists():
            self.progress.begin(self.config.env.worlds)
            state = self.programs.init(key, {})
            return state if self.asked.begin is None else self._going_on(state)
        held = np.load(file)
        template = self.programs.trainer.state_shape({})
        leaves = [jax.numpy.asarray(held[f"leaf_{i}"]) for i in range(len(jax.tree.leaves(template)))]
        self.progress = type(self.progress).model_validate_json((self.asked.out / "progress.json").read_text())
        return jax.tree.unflatten(jax.tree.structure(template), leaves)

    def _going_on(self, state: Any) -> Any:
        """Take over another run's experts. Those of what pre-empts the plan come last, and may be new here."""
        import jax

        held = np.load(self.asked.begin / "state.npz")
        # The parameters are the first leaves of the state.
        leaves, structure = jax.tree.flatten(state.params)
        for place, leaf in enumerate(leaves):
            before = held[f"leaf_{place}"]
            leaves[place] = leaf.at[: len(before)].set(before)
        # What these experts have learned is not to be overwritten.
        self.progress.settled |= set(range(len(self.steps)))
        return state._replace(params=jax.tree.unflatten(structure, leaves))

    def _save(self, state: Any) -> None:
        import jax

        self.asked.out.mkdir(parents=True, exist_ok=True)
        leaves = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        np.savez(self.asked.out / "state.npz", **leaves)
        (self.asked.out / "progress.json").write_text(self.progress.model_dump_json())

    def _tell_training(self, update: int, stats: Any, results: Any, spans: list[float]) -> None:
        recent = self.progress.recent(self.config.gate.episodes)
        losses = stats.metrics.losses
        kept = results.from_snapshot & results.ended
        self._tell(
            kind="train",
            frames=update * self.per_update,
            fps=round(self.per_update * len(spans) / max(1e-9, sum(spans))),
            success=round(recent.success.value or 0.0, 3),
            tasks=[round(share.value or 0.0, 2) for share in recent.per_task(len(self.steps))],
            practised=[int(kept.sum()), int((results.success & kept).sum())],
            entropy=round(float(losses.entropy), 3),
            kl=round(float(losses.kl), 5),
            lr=float(stats.metrics.lr),
        )

    def _measure(self, state: Any, worlds: int) -> None:
        from flowrl.evaluation.play import play_worlds
        from flowrl.evaluation.summary import amounts_to_play, summarise
        from flowrl.rollout.world_seeds import EVALUATION, world_key

        amounts = amounts_to_play(self.env, worlds, 0)
        outcome = play_worlds(self.programs, state.params, world_key(EVALUATION, 0), amounts)
        found = summarise(self.env, outcome, amounts, self.env.domain.causes, 0)
        dead = outcome.ended & ~outcome.success & ~outcome.timeout
        spans = np.searchsorted(BY_NIGHT, outcome.length[dead])
        self._tell(
            kind="measured",
            frames=int(state.update) * self.per_update,
            success=str(found.success),
            reached=[round(count / worlds, 3) for count in found.reached],
            causes=found.causes,
            steps=round(found.length, 1),
            deaths_per_1000_steps=round(1000 * float(dead.sum() / outcome.length.sum()), 3),
            died_in={f"{i} {self.steps[i][0]}": n for i, n in sorted(Counter(outcome.task[dead].tolist()).items())},
            died_before={BY_NIGHT[i]: n for i, n in sorted(Counter(spans.tolist()).items())},
        )

    def _tell(self, **row: Any) -> None:
        row["seconds"] = round(time.monotonic() - self.began)
        self.asked.out.mkdir(parents=True, exist_ok=True)
        with (self.asked.out / "rows.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def main() -> int:
    """Runs the command line."""
    asked = arguments()
    settings = [f"ppo.frames={int(asked.frames)}", *DEFAULTS, *asked.settings]
    config = build_config(asked.preset, settings, seed=asked.seed)
    start_jax(config.gpu_memory, config.groups)
    ChainRun(asked, config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
