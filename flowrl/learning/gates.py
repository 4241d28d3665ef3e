"""When a run asks for its skill to be measured, and what the measurement says."""

from flowrl.config import MOST_GATES, GateConfig
from flowrl.evaluate import GATE, amounts_to_play, play_worlds, summarise, world_key
from flowrl.learning.programs import Programs
from flowrl.learning.progress import Progress, TrainingSuccess
from flowrl.models.experts import Params
from flowrl.skill import Evaluation


def asks_for_gate(config: GateConfig, progress: Progress, recent: TrainingSuccess, update: int) -> bool:
    """Returns whether the training's own episodes promise that the skill is learned."""
    share = recent.step_success
    enough = share.total >= config.least_episodes
    in_time = update >= progress.next_gate_update and progress.gates < config.most_gates
    return bool(enough and in_time and share.low >= config.stop_at)


def is_learned(config: GateConfig, evaluation: Evaluation) -> bool:
    """Returns whether the lower bound of the step success is high enough over enough episodes that reached the task."""
    share = evaluation.step_success
    return share.total >= config.least_episodes and share.low >= config.learned_at


def measure(programs: Programs, params: Params, config: GateConfig, seed: int, number: int) -> Evaluation:
    """Returns what one gate measures; see `gate_number` for the worlds."""
    env = programs.trainer.env
    amounts = amounts_to_play(env, config.worlds, config.per_amount_worlds)
    outcome = play_worlds(programs, params, world_key(GATE, seed, number), amounts)
    return summarise(env, outcome, amounts, env.domain.causes, number)


def gate_number(run: int, gate: int) -> int:
    """Returns which reserved worlds a gate plays: each gate of each run of a skill has its own.

    Args:
        run: earlier runs of the skill.
        gate: earlier gates of this run.
    """
    return run * (MOST_GATES + 1) + gate
