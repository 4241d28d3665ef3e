"""Gates: when a run measures its skill, and how."""

from flowrl.config import MAX_GATES, GateConfig
from flowrl.evaluation.play import play_worlds
from flowrl.evaluation.summary import amounts_to_play, summarise
from flowrl.models.experts import Params
from flowrl.rollout.world_seeds import GATE, skill_key
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.run import RunSpec
from flowrl.training.episode_stats import Progress, TrainingSuccess
from flowrl.training.programs import Programs


def asks_for_gate(config: GateConfig, progress: Progress, recent: TrainingSuccess, update: int) -> bool:
    """Whether the training's own episodes suggest that the skill is learned."""
    share = recent.deciding(config)
    enough = share.total >= config.min_episodes
    in_time = update >= progress.next_gate_update and progress.gates < config.max_gates
    return bool(enough and in_time and share.low >= config.stop_at)


def measure(programs: Programs, params: Params, spec: RunSpec, number: int) -> Evaluation:
    """Measure the skill on one gate's reserved worlds; see `gate_number`."""
    config = spec.config.gate
    env = programs.trainer.env
    amounts = amounts_to_play(env, config.worlds, config.per_amount_worlds)
    outcome = play_worlds(programs, params, skill_key(GATE, spec.config.seed, number, spec.world_name), amounts)
    return summarise(env, outcome, amounts, env.domain.causes, number)


def gate_number(run: int, gate: int, again: bool = False) -> int:
    """Number of a gate's reserved worlds. Each gate of each run of a skill has its own.

    Args:
        run: earlier runs of the skill.
        gate: earlier gates of this run.
        again: of the worlds on which what passed the gate is measured anew.
    """
    return (2 * run + again) * (MAX_GATES + 1) + gate
