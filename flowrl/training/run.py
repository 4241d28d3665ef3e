"""One training run from its folder. Set up, resume from the newest checkpoint, train, measure."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np
from jax.tree_util import tree_leaves_with_path as leaves_with_path

from flowrl.env.dry_run import try_tasks
from flowrl.env.flow_env import StepResult
from flowrl.errors import TrainingError
from flowrl.files import append_line, read_json, read_text, write_text
from flowrl.jobs.worker import beat
from flowrl.models.experts import put, take, unstack
from flowrl.paths import RunPaths
from flowrl.rollout.run_env import build_env, task_names
from flowrl.rollout.world_seeds import TRAINING, skill_key
from flowrl.schema.evaluation import Evaluation, is_learned
from flowrl.schema.metrics import (
    CompiledRow,
    GateRow,
    MeasuringRow,
    MetricsRow,
    PhaseRow,
    PlayedRow,
    SnapshotShare,
    UpdateRow,
    parse_row,
)
from flowrl.schema.run import RunSpec, Status, TrainResult
from flowrl.training.checkpoints import load_newest, save_checkpoint
from flowrl.training.episode_stats import Progress, TrainingSuccess, deaths_by_cause
from flowrl.training.gates import asks_for_gate, gate_number, measure
from flowrl.training.precision import check_bfloat16
from flowrl.training.programs import Programs
from flowrl.training.run_start_states import find_starts, keep_final_states
from flowrl.training.state import TrainState, UpdateStats
from flowrl.training.trainer import Trainer
from flowrl.weights import load_experts, named_state, save_experts, sha256

logger = logging.getLogger(__name__)
PARAMS_FILE = "params.safetensors"


@dataclass
class TrainingRun:
    """A run under way: its files, its compiled update, its progress.

    Attributes:
        stop_requested: asked between updates; a true answer saves a checkpoint and ends the sitting.
    """

    paths: RunPaths
    stop_requested: Callable[[], bool]
    began: float = field(default_factory=time.monotonic)
    clock: float | None = None

    def __post_init__(self) -> None:
        self.spec = read_json(self.paths.config, RunSpec)
        self.config = self.spec.config
        self.env = build_env(self.spec, self.paths)
        self.key = skill_key(TRAINING, self.config.seed, self.spec.runs_before, self.spec.world_name)
        self.trainer = Trainer(self.env, self.config, len(self.spec.local_to_global), self.spec.trained)
        self.programs = Programs(self.trainer)
        self.progress = Progress()
        random = set(self.spec.trained) - self.spec.seeds.keys()
        self.warm_start = self.trainer.warm_start(random)

    def execute(self) -> TrainResult | None:
        """Train to the result. None if the run was asked to stop."""
        try_tasks(self.env, task_names(self.spec, self.paths), self.key)
        state = self._restore()
        if self.config.ppo.bfloat16:
            check_bfloat16(self.trainer, state, self.programs.groups.devices[0])
        self._use_start_states(state)
        budget = self.config.ppo.frames // self.trainer.frames_per_update
        while int(state.update) < budget:
            if self.stop_requested():
                self._save(state)
                return None
            self._draw_starts(int(state.update) / budget)
            state = self._copy_experts(state)
            state, recent = self._advance(state)
            update = int(state.update)
            if asks_for_gate(self.config.gate, self.progress, recent, update):
                evaluation = self._gate(state.params, update)
                if is_learned(self.config.gate, evaluation):
                    return self._finish(state.params, evaluation)
                self.progress.next_gate_update = update + max(5, budget // 20)
            if update % self.config.checkpoint.every == 0:
                self._save(state)
        best = self._best_params(state)
        return self._finish(best, self._gate(best, int(state.update)))

    def _use_start_states(self, state: TrainState) -> None:
        """Find the snapshots that a share of the episodes begins at."""
        if self.config.start.source != "frontier":
            return
        with self._played_for("starts"):
            starts = find_starts(self.paths, self.spec, self.programs, state.params, self._write_row)
        if starts is not None:
            self.programs.start_from(starts)

    def _draw_starts(self, gone: float) -> None:
        """Let practice follow the failures: each task by the share of episodes that fail in it, of those that reach it.

        In the last quarter of the budget practice fades, so that the end is trained on whole episodes.
        """
        recent = self.progress.recent(self.config.gate.episodes)
        shares = recent.per_task(len(self.spec.tasks))
        weights = [1.0 - share.successes / share.total if share.total else 1.0 for share in shares]
        self.programs.draw_starts(weights, self.config.start.share * min(1.0, 4 * (1 - gone)))

    def _copy_experts(self, state: TrainState) -> TrainState:
        """Let experts that seek begin as copies."""
        shares = self.progress.recent(self.config.gate.episodes).per_task(len(self.spec.tasks))
        state, copies = self.warm_start.begin(state, shares, self.progress.settled)
        names = [skill for skill, _ in self.spec.plan.players]
        for copy in copies:
            logger.info("%s begins as a copy of expert %d", names[copy.task], copy.of)
        return state

    def _best_params(self, state: TrainState) -> Any:
        """The trained experts at their best. The latest without a measurement."""
        return put(state.params, self.spec.trained, state.best) if self.progress.best >= 0 else state.params

    def _restore(self) -> TrainState:
        init_key, _ = jax.random.split(self.key)
        initial = named_state(load_experts(self.paths.initial))
        template = self.trainer.state_shape(initial)
        restored = load_newest(self.paths, template)
        if restored is None:
            self.progress.begin(self.config.env.worlds)
            return self.programs.init(init_key, initial)
        state, self.progress = restored
        logger.info("goes on from update %d", int(state.update))
        self._drop_rows_after(self.progress.frames)
        return state

    def _drop_rows_after(self, frames: int) -> None:
        """Rows written after the checkpoint will be written again."""
        lines = read_text(self.paths.metrics).splitlines()
        kept = [line for line in lines if (row := parse_row(line)) is not None and row.frames <= frames]
        write_text(self.paths.metrics, "".join(f"{line}\n" for line in kept))

    def _write_row(self, row: MetricsRow) -> None:
        append_line(self.paths.metrics, row.model_copy(update={"frames": self.progress.frames}))

    def _advance(self, state: TrainState) -> tuple[TrainState, TrainingSuccess]:
        state, stats = self._timed_update(state)
        host: UpdateStats = jax.tree.map(np.asarray, stats)
        update = int(state.update)
        self._require_finite(host, state, update)
        last_task = len(self.spec.tasks) - 1
        from_snapshot = np.asarray(state.flow.from_snapshot)
        self.progress.count(host.results, update, self.env.domain.causes, last_task, from_snapshot)
        self.progress.frames += self.trainer.frames_per_update
        recent = self.progress.recent(self.config.gate.episodes)
        deciding = recent.deciding(self.config.gate)
        if deciding.total >= self.config.gate.min_episodes and deciding.low > self.progress.best:
            self.progress.best = deciding.low
            # A copy: the update gives its inputs' memory away, and no array may be given twice.
            state = state._replace(best=jax.tree.map(lambda x: x.copy(), take(state.params, self.spec.trained)))
        self.progress.forget(update - 2 * self.config.env.episode_steps // self.config.ppo.steps - 2)
        self._report(host, recent, update)
        return state, recent

    def _timed_update(self, state: TrainState) -> tuple[TrainState, UpdateStats]:
        """Update; the first one of a sitting compiles. The clock of the frames a second starts after it."""
        if self.clock is not None:
            return self.programs.update(state)
        start = time.monotonic()
        self._write_row(PhaseRow(kind="compiling"))
        done = jax.block_until_ready(self.programs.update(state))
        seconds = time.monotonic() - start
        self.progress.compile_seconds += seconds
        self._write_row(CompiledRow(seconds=round(seconds, 2)))
        return done

    def _require_finite(self, stats: UpdateStats, state: TrainState, update: int) -> None:
        for i, value in enumerate(stats.metrics.reward):
            if not np.isfinite(value):
                where = task_names(self.spec, self.paths)[i].reward
                raise TrainingError(f"{where} returned NaN or infinity in update {update}; {self._last_good()}.")
        bad = [name for name, value in stats.metrics.losses._asdict().items() if not np.isfinite(value)]
        leaves = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves_with_path(state.params)]
        bad += [f"params.{name}" for name, finite in zip(leaves, stats.metrics.finite, strict=True) if not finite]
        if bad:
            raise TrainingError(
                f"NaN or infinity in {', '.join(bad[:3])} after update {update} of {self.spec.skill}; "
                f"{self._last_good()}. Begin anew with a lower learning rate: "
                f"--set ppo.lr={min(1e-4, self.config.ppo.lr / 10):.0e}"
            )

    def _last_good(self) -> str:
        saved = self.paths.checkpoint_updates
        if not saved:
            return "no checkpoint had been saved yet"
        return f"the last good checkpoint, of update {saved[-1]}, stays in {self.paths.checkpoints}"

    def _report(self, stats: UpdateStats, recent: TrainingSuccess, update: int) -> None:
        now = time.monotonic()
        tasks, results = len(self.spec.tasks), stats.results
        row = UpdateRow(
            update=update,
            budget=self.config.ppo.frames,
            fps=round(self.trainer.frames_per_update / (now - self.clock), 1) if self.clock else None,
            seconds=round(self._seconds(), 2),
            success=recent.success,
            step_success=recent.step_success,
            causes=recent.causes,
            from_kept=_share_from_snapshots(stats.results),
            trained_samples=int(stats.metrics.trained_samples),
            reward=tuple(round(float(r), 5) for r in stats.metrics.reward),
            finished=tuple(recent.per_task(tasks)),
            task_steps=tuple(np.bincount(results.task.reshape(-1), minlength=tasks).tolist()),
            deaths=tuple(deaths_by_cause(results, tasks, self.env.domain.causes)),
            lr=float(stats.metrics.lr),
            **{name: round(float(value), 6) for name, value in stats.metrics.losses._asdict().items()},
        )
        self.clock = now
        self._write_row(row)
        beat(self.paths)

    def _gate(self, params: Any, update: int) -> Evaluation:
        """Measure the skill. What passes is measured again on other worlds.

        The first look was one of several and taken for being good, so its number is too high.
        """
        evaluation = self._measure(params, update, False)
        if is_learned(self.config.gate, evaluation):
            evaluation = self._measure(params, update, True)
        self.progress.gates += 1
        self.clock = time.monotonic()
        return evaluation

    def _measure(self, params: Any, update: int, again: bool) -> Evaluation:
        gate = self.progress.gates
        self._write_row(MeasuringRow(gate=gate))
        number = gate_number(self.spec.runs_before, gate, again)
        with self._played_for("gate"):
            evaluation = measure(self.programs, params, self.spec, number)
        self._write_row(
            GateRow(
                gate=gate,
                update=update,
                passed=is_learned(self.config.gate, evaluation),
                again=again,
                success=evaluation.success,
                step_success=evaluation.step_success,
                causes=evaluation.causes,
            )
        )
        return evaluation

    @contextlib.contextmanager
    def _played_for(self, purpose: Literal["gate", "starts"]) -> Iterator[None]:
        """Note the frames that are played meanwhile."""
        before = self.programs.frames_played
        yield
        if (played := self.programs.frames_played - before) > 0:
            self._write_row(PlayedRow(purpose=purpose, played=played))

    def _seconds(self) -> float:
        return self.progress.seconds + time.monotonic() - self.began

    def _save(self, state: TrainState) -> None:
        saved = self.progress.model_copy(update={"seconds": self._seconds()})
        save_checkpoint(self.paths, int(state.update), state, saved)

    def _finish(self, params: Any, evaluation: Evaluation) -> TrainResult:
        status: Status = "learned" if is_learned(self.config.gate, evaluation) else "weak"
        start_states, start_states_sha256 = self._keep_final_states(params) if status == "learned" else ("", "")
        path = self.paths.folder / PARAMS_FILE
        save_experts(path, unstack(params))
        return TrainResult(
            outcome="done",
            params=PARAMS_FILE,
            params_sha256=sha256(path.read_bytes()),
            start_states=start_states,
            start_states_sha256=start_states_sha256,
            frames=self.progress.frames,
            seconds=round(self._seconds(), 2),
            compile_seconds=round(self.progress.compile_seconds, 2),
            status=status,
            evaluation=evaluation,
        )

    def _keep_final_states(self, params: Any) -> tuple[str, str]:
        self._write_row(PhaseRow(kind="keeping"))
        with self._played_for("starts"):
            return keep_final_states(self.paths, self.spec, self.programs, params)


def _share_from_snapshots(results: StepResult) -> SnapshotShare:
    """Share of the ended episodes, and of the frames, begun at snapshots."""
    from_snapshot, ended = np.asarray(results.from_snapshot), np.asarray(results.ended)
    episodes = float((from_snapshot & ended).sum() / max(1, ended.sum()))
    return SnapshotShare(episodes=round(episodes, 4), frames=round(float(from_snapshot.mean()), 4))
