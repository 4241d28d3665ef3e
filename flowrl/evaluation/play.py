"""Play of reserved worlds for one episode each."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.env.flow_env import StepResult
from flowrl.models.experts import Params
from flowrl.rollout.programs import PlayPrograms


class EpisodeOutcomes(NamedTuple):
    """Outcomes of one episode in each of W worlds.

    Attributes:
        ended, success, timeout: [W] bool.
        cause: [W] index into the domain's causes, meaningful where the player died.
        task: [W] the task that it ended in.
        length: [W] steps.
        postconditions_met: [W, P] whether each postcondition of the environment held where it ended in success.
    """

    ended: np.ndarray
    success: np.ndarray
    timeout: np.ndarray
    cause: np.ndarray
    task: np.ndarray
    length: np.ndarray
    postconditions_met: np.ndarray


def play_worlds(
    programs: PlayPrograms,
    params: Params,
    key: jax.Array,
    amounts: np.ndarray,
    on_rollout: Callable[[int, int], None] | None = None,
) -> EpisodeOutcomes:
    """Play each world's first episode.

    The worlds are played in batches by the very program that training runs; an episode that begins where one ended is
    played along and not counted.

    Args:
        amounts: [W, N] what each task wants in each world.
        on_rollout: called with (episodes ended, steps made by the present batch) from time to time.
    """
    batch = programs.runner.config.env.worlds
    parts: list[EpisodeOutcomes] = []
    for first in range(0, len(amounts), batch):
        wanted = amounts[first : first + batch]
        rows = np.concatenate([wanted, np.repeat(amounts[:1], batch - len(wanted), axis=0)])
        before = sum(int(part.ended.sum()) for part in parts)

        def report(ended: int, steps: int, before: int = before) -> None:
            if on_rollout is not None:
                on_rollout(before + ended, steps)

        outcome = _play_batch(programs, params, jax.random.fold_in(key, first), rows, len(wanted), report)
        parts.append(EpisodeOutcomes(*(leaf[: len(wanted)] for leaf in outcome)))
    return EpisodeOutcomes(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


def _play_batch(
    programs: PlayPrograms,
    params: Params,
    key: jax.Array,
    amounts: np.ndarray,
    wanted: int,
    report: Callable[[int, int], None],
) -> EpisodeOutcomes:
    env = programs.runner.env
    worlds_key, fresh_key, play_key = jax.random.split(key, 3)
    flow = env.start(programs.players(worlds_key), jnp.asarray(amounts))
    fresh = programs.fresh(fresh_key)
    outcome = _nothing_played(len(amounts), len(env.postconditions))
    for steps in range(0, env.episode_steps, programs.runner.config.ppo.steps):
        flow, _, results = programs.play(params, flow, jax.random.fold_in(play_key, steps), fresh, 1)
        _record(outcome, jax.tree.map(np.asarray, results))
        ended = int(outcome.ended[:wanted].sum())
        report(ended, steps + programs.runner.config.ppo.steps)
        if ended == wanted:
            break
    return outcome


def _nothing_played(worlds: int, postconditions: int) -> EpisodeOutcomes:
    ended, success, timeout = np.zeros((3, worlds), bool)
    cause, task, length = np.zeros((3, worlds), np.int32)
    return EpisodeOutcomes(ended, success, timeout, cause, task, length, np.zeros((worlds, postconditions), bool))


def _record(outcome: EpisodeOutcomes, results: StepResult) -> None:
    """Note the episodes that ended and had begun with the batch. Each world has one such episode."""
    ended = np.asarray(results.ended)
    step, world = np.nonzero(ended & (results.started == 0))
    outcome.ended[world] = True
    for name in ("success", "timeout", "cause", "task", "length", "postconditions_met"):
        getattr(outcome, name)[world] = np.asarray(getattr(results, name))[step, world]
