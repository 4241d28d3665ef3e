"""Measured success: a policy played on reserved worlds, one episode a world, every episode counted to its end."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.env.flow_env import FlowEnv, StepResult
from flowrl.learning.programs import Programs
from flowrl.models.experts import Params
from flowrl.skill import Evaluation
from flowrl.stats import Share

TRAINING, GATE, EVALUATION, MERGE, ANALYSIS, STARTS = 0, 1, 2, 3, 4, 5
"""What worlds are for; each purpose has a stream of random keys of its own."""


def world_key(purpose: int, seed: int, number: int = 0) -> jax.Array:
    """Returns the key that the worlds of one purpose grow from; streams of different purposes share no world."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.PRNGKey(seed), 1_000_003 + purpose), number)


def training_key(seed: int, run: int) -> jax.Array:
    """Returns the key that a skill's training grows from; each of its runs, the first being 0, has a stream of its
    own."""
    return jax.random.PRNGKey(seed) if run == 0 else world_key(TRAINING, seed, run)


class Outcome(NamedTuple):
    """How the one episode of each of W worlds went, as numpy arrays.

    Attributes:
        ended, success, timeout: [W] bool.
        cause: [W] index into the domain's causes, meaningful where the player died.
        task: [W] the task that it ended in.
        length: [W] steps.
        held: [W, promises] whether each of the environment's promises held, where it ended in success.
    """

    ended: np.ndarray
    success: np.ndarray
    timeout: np.ndarray
    cause: np.ndarray
    task: np.ndarray
    length: np.ndarray
    held: np.ndarray


def play_worlds(
    programs: Programs,
    params: Params,
    key: jax.Array,
    amounts: np.ndarray,
    on_rollout: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Returns how each world's first episode went.

    The worlds are played in batches by the very program that training runs; an episode that begins where one ended
    is played along and not counted.

    Args:
        amounts: [W, N] what each task wants in each world.
        on_rollout: called with (episodes ended, steps made by the present batch) from time to time.
    """
    batch = programs.trainer.config.env.worlds
    parts: list[Outcome] = []
    for first in range(0, len(amounts), batch):
        wanted = amounts[first : first + batch]
        rows = np.concatenate([wanted, np.repeat(amounts[:1], batch - len(wanted), axis=0)])
        before = sum(int(part.ended.sum()) for part in parts)

        def report(ended: int, steps: int, before: int = before) -> None:
            if on_rollout is not None:
                on_rollout(before + ended, steps)

        outcome = _play_batch(programs, params, jax.random.fold_in(key, first), rows, len(wanted), report)
        parts.append(Outcome(*(leaf[: len(wanted)] for leaf in outcome)))
    return Outcome(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


def _play_batch(
    programs: Programs,
    params: Params,
    key: jax.Array,
    amounts: np.ndarray,
    wanted: int,
    report: Callable[[int, int], None],
) -> Outcome:
    env = programs.trainer.env
    worlds_key, fresh_key, play_key = jax.random.split(key, 3)
    flow = env.start(programs.players(worlds_key), jnp.asarray(amounts))
    fresh = programs.fresh(fresh_key)
    worlds = len(amounts)
    outcome = _nothing_played(worlds, len(env.promises))
    for steps in range(0, env.episode_steps, programs.trainer.config.ppo.steps):
        flow, _, results = programs.play(params, flow, jax.random.fold_in(play_key, steps), fresh, 1)
        _record(outcome, jax.tree.map(np.asarray, results))
        ended = int(outcome.ended[:wanted].sum())
        report(ended, steps + programs.trainer.config.ppo.steps)
        if ended == wanted:
            break
    return outcome


def _nothing_played(worlds: int, promises: int) -> Outcome:
    def zeros(dtype: type) -> np.ndarray:
        return np.zeros(worlds, dtype)

    return Outcome(
        ended=zeros(bool),
        success=zeros(bool),
        timeout=zeros(bool),
        cause=zeros(np.int32),
        task=zeros(np.int32),
        length=zeros(np.int32),
        held=np.zeros((worlds, promises), bool),
    )


def _record(outcome: Outcome, results: StepResult) -> None:
    """Notes the episodes that ended and had begun with the batch; each world has one such episode."""
    ended = np.asarray(results.ended)
    step, world = np.nonzero(ended & (results.started == 0))
    outcome.ended[world] = True
    for name in ("success", "timeout", "cause", "task", "length", "held"):
        getattr(outcome, name)[world] = np.asarray(getattr(results, name))[step, world]


def amounts_to_play(env: FlowEnv, worlds: int, per_amount_worlds: int) -> np.ndarray:
    """Returns the amounts of each world, [W, N]: the top of the own task's range first, then its smaller amounts."""
    low, high = env.amounts.low, env.amounts.high
    rows = [list(high) for _ in range(worlds)]
    for amount in range(low[-1], high[-1]):
        rows += [[*high[:-1], amount]] * per_amount_worlds
    return np.array(rows, dtype=np.int32)


def summarise(env: FlowEnv, outcome: Outcome, amounts: np.ndarray, causes: Sequence[str], seed: int) -> Evaluation:
    """Returns the shares of an `Outcome`; the worlds with the top amount make up all but ``per_amount``."""
    top = amounts[:, -1] == env.amounts.high[-1]
    tasks = amounts.shape[1]
    at_top = Outcome(*(np.asarray(leaf)[top] for leaf in outcome))
    finished = [int((at_top.task > i).sum() + (at_top.success & (at_top.task == i)).sum()) for i in range(tasks)]
    return Evaluation(
        success=Share(successes=int(at_top.success.sum()), total=int(top.sum())),
        step_success=_step_share(outcome, top, tasks),
        reached=tuple(int((at_top.task >= i).sum()) for i in range(tasks)),
        finished=tuple(finished),
        causes=_causes(at_top, causes),
        length=float(at_top.length.mean()),
        amount=env.amounts.high[-1],
        per_amount={int(n): _step_share(outcome, amounts[:, -1] == n, tasks) for n in np.unique(amounts[:, -1][~top])},
        held=_held(env.promises, at_top),
        worlds_seed=seed,
    )


def _held(promises: Sequence[tuple[str, int]], at_top: Outcome) -> dict[str, Share]:
    kept = np.asarray(at_top.held)[np.asarray(at_top.success)]
    return {fluent: Share(successes=int(kept[:, i].sum()), total=len(kept)) for i, (fluent, _) in enumerate(promises)}


def _step_share(outcome: Outcome, of: np.ndarray, tasks: int) -> Share:
    reached = of & (np.asarray(outcome.task) == tasks - 1)
    return Share(successes=int((reached & np.asarray(outcome.success)).sum()), total=int(reached.sum()))


def _causes(outcome: Outcome, names: Sequence[str]) -> dict[str, int]:
    failed = ~outcome.success & outcome.ended
    died = outcome.cause[failed & ~outcome.timeout]
    counts = {names[i]: int((died == i).sum()) for i in np.unique(died)}
    if (timeouts := int((failed & outcome.timeout).sum())) > 0:
        counts["timeout"] = timeouts
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
