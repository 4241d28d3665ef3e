"""The values of one update: state, learner, metrics."""

from typing import NamedTuple

import jax
import optax
from jaxtyping import Array, Bool, Float, Int

from flowrl.env.flow_env import FlowState, StepResult
from flowrl.models.experts import Params
from flowrl.rollout.start_ring import StartRing
from flowrl.training.ppo import Losses


class TrainState(NamedTuple):
    """Everything a run needs to go on. Every leaf is an array.

    Attributes:
        params: all experts of the run, leaves [E, ...].
        optimizer: its state for the trained experts.
        flow: the episodes under way.
        key: the random key of the next update.
        update: updates done.
        best: the trained experts at their best so far.
        ring: states that practice begins at; None in a run that does not practise.
    """

    params: Params
    optimizer: optax.OptState
    flow: FlowState
    key: jax.Array
    update: Int[Array, ""]
    best: Params
    ring: StartRing | None = None


class Learner(NamedTuple):
    """The part of a `TrainState` that learning changes."""

    params: Params
    optimizer: optax.OptState
    key: jax.Array
    update: Int[Array, ""]


class UpdateMetrics(NamedTuple):
    """What the learning of one update did.

    Attributes:
        losses: means over the update's minibatches.
        reward: mean reward a step of each task.
        trained_samples: samples that the trained experts learned from.
        lr: the learning rate used.
        finite: of each leaf of the trained experts' parameters, whether all of it is finite.
    """

    losses: Losses
    reward: Float[Array, "N"]
    trained_samples: Int[Array, ""]
    lr: Float[Array, ""]
    finite: Bool[Array, "leaves"]


class UpdateStats(NamedTuple):
    """One update: every step's result, [T, B], and the learning's metrics."""

    results: StepResult
    metrics: UpdateMetrics
