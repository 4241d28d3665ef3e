"""Success shares of played worlds."""

from collections.abc import Sequence

import numpy as np

from flowrl.env.flow_env import FlowEnv
from flowrl.evaluation.play import EpisodeOutcomes
from flowrl.schema.evaluation import Evaluation
from flowrl.stats import Share


def amounts_to_play(env: FlowEnv, worlds: int, per_amount_worlds: int) -> np.ndarray:
    """Amounts of each world, [W, N]. The top of the own task's range first, then its smaller amounts."""
    low, high = env.amounts.low, env.amounts.high
    rows = [list(high) for _ in range(worlds)]
    for amount in range(low[-1], high[-1]):
        rows += [[*high[:-1], amount]] * per_amount_worlds
    return np.array(rows, dtype=np.int32)


def summarise(
    env: FlowEnv, outcome: EpisodeOutcomes, amounts: np.ndarray, causes: Sequence[str], seed: int
) -> Evaluation:
    """Summarise outcomes as shares. The worlds with the top amount make up all but ``per_amount``."""
    top = amounts[:, -1] == env.amounts.high[-1]
    tasks = amounts.shape[1]
    at_top = EpisodeOutcomes(*(np.asarray(leaf)[top] for leaf in outcome))
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
        postconditions_met=_postconditions_met(env.postconditions, at_top),
        worlds_seed=seed,
    )


def _postconditions_met(postconditions: Sequence[tuple[str, int]], at_top: EpisodeOutcomes) -> dict[str, Share]:
    met = np.asarray(at_top.postconditions_met)[np.asarray(at_top.success)]
    return {
        fluent: Share(successes=int(met[:, i].sum()), total=len(met)) for i, (fluent, _) in enumerate(postconditions)
    }


def _step_share(outcome: EpisodeOutcomes, of: np.ndarray, tasks: int) -> Share:
    reached = of & (np.asarray(outcome.task) == tasks - 1)
    return Share(successes=int((reached & np.asarray(outcome.success)).sum()), total=int(reached.sum()))


def _causes(outcome: EpisodeOutcomes, names: Sequence[str]) -> dict[str, int]:
    failed = ~outcome.success & outcome.ended
    died = outcome.cause[failed & ~outcome.timeout]
    counts = {names[i]: int((died == i).sum()) for i in np.unique(died)}
    if (timeouts := int((failed & outcome.timeout).sum())) > 0:
        counts["timeout"] = timeouts
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
