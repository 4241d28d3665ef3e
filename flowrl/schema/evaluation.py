"""What playing a plan on new worlds showed."""

from pydantic import Field

from flowrl.config import GateConfig
from flowrl.schema.frozen import Frozen
from flowrl.stats import Share


class Evaluation(Frozen):
    """What play on new worlds showed. Every episode is counted to its end.

    Attributes:
        success: episodes that finish the whole plan, of all.
        step_success: episodes that finish the skill's own task, of those that reach it.
        reached: for each task, the episodes that reached it.
        finished: for each task, the episodes that finished it.
        causes: how the failed episodes ended, by name ("timeout" for the time limit).
        length: mean steps of an episode.
        amount: the n of the skill's own task.
        per_amount: step success for each other n of the range.
        postconditions_met: for each fluent that the skill promises, the share of the episodes that finished the plan
            with ``amount`` in which it really held at that moment.
    """

    success: Share
    step_success: Share
    reached: tuple[int, ...]
    finished: tuple[int, ...]
    causes: dict[str, int]
    length: float
    amount: int
    per_amount: dict[int, Share] = Field(default_factory=dict)
    postconditions_met: dict[str, Share] = Field(default_factory=dict)
    worlds_seed: int


def is_learned(config: GateConfig, evaluation: Evaluation) -> bool:
    """Whether the success that decides is surely high enough."""
    share = evaluation.success if config.on == "plan" else evaluation.step_success
    return share.total >= config.min_episodes and share.low >= config.learned_at
