"""Practice: a share of a run's episodes begins where its other episodes began one of the later tasks.

The last tasks of a long plan are reached late and seldom. Of each task the ring holds the newest states in which an
episode from a new world began it, so practice follows the plan as it is played now. Nothing that begins here counts as
the run's success.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flowrl.env.flow_env import FlowEnv, FlowState
from flowrl.env.player import PlayerState


class StartRing(NamedTuple):
    """S states of each of N tasks, for each of G groups: a group's episodes begin where its own have been.

    Attributes:
        player: leaves [G * N * S, ...].
        amounts: the amounts wanted in the episode that came there.
        achieved: what had happened since the task began.
        noted: [G * N] states noted so far of each task, those included that newer ones have replaced.
    """

    player: PlayerState
    amounts: Int[Array, "places N"]
    achieved: Bool[Array, "places achievements"]
    noted: Int[Array, "tasks"]

    def note(self, state: FlowState, steps: int) -> "StartRing":
        """Add the states of one group whose episodes began their task within so many steps. The oldest make room."""
        tasks = self.noted.shape[0]
        places = self.amounts.shape[0] // tasks
        fits = (state.task > 0) & (state.task_steps < steps) & ~state.from_snapshot
        member = (state.task[:, None] == jnp.arange(tasks)) & fits[:, None]  # [B, N]
        rank = (jnp.cumsum(member, axis=0) - member)[jnp.arange(state.task.shape[0]), state.task]  # [B], of its task
        fits &= rank < places
        place = state.task * places + (self.noted[state.task] + rank) % places
        place = jnp.where(fits, place, tasks * places)  # past the end, where nothing is written
        kept = (self.player, self.amounts, self.achieved)
        new = (state.player, state.amounts, state.achieved)
        player, amounts, achieved = jax.tree.map(lambda old, now: old.at[place].set(now, mode="drop"), kept, new)
        return StartRing(player, amounts, achieved, self.noted + jnp.minimum(member.sum(axis=0), places))


class Practice(NamedTuple):
    """A ring, and how it is drawn from.

    Attributes:
        weights: [N] of each task; tasks of which nothing was noted are left out.
        share: of the episodes, how many begin at one of its states.
    """

    ring: StartRing
    weights: Float[Array, "N"]
    share: Float[Array, ""]

    def at_share(self, share: float) -> "Practice":
        """The same states for another share of the episodes."""
        return self._replace(share=jnp.float32(share))

    def begin(
        self, env: FlowEnv, key: jax.Array, state: FlowState, ended: Bool[Array, "B"], update: Array | int
    ) -> tuple[Bool[Array, "B"], FlowState]:
        """Begin a share of the ended episodes here. The mask that comes first says which are left for new worlds."""
        batch = ended.shape[0]
        ring, tasks = self.ring, self.ring.noted.shape[0]
        places = ring.amounts.shape[0] // tasks
        choose_key, task_key, place_key = jax.random.split(key, 3)
        weights = self.weights * (ring.noted > 0)
        chosen = ended & jax.random.bernoulli(choose_key, self.share, (batch,)) & (weights.sum() > 0)
        task = jax.random.categorical(task_key, jnp.log(weights), shape=(batch,))
        held = jnp.clip(ring.noted[task], 1, places)
        source = task * places + jax.random.randint(place_key, (batch,), 0, held)
        begun = env.start_from(
            state, chosen, ring.player, source, ring.amounts[source], update, task, ring.achieved[source]
        )
        return ended & ~chosen, begun


def empty_ring(env: FlowEnv, state: FlowState, places: int, groups: int) -> StartRing:
    """Make a ring without states, for the episodes of a batch."""
    tasks = env.plan_tasks

    def rows(leaf: Array) -> Array:
        return jnp.zeros((groups * tasks * places, *leaf.shape[1:]), leaf.dtype)

    player, amounts, achieved = jax.tree.map(rows, (state.player, state.amounts, state.achieved))
    return StartRing(player, amounts, achieved, jnp.zeros(groups * tasks, jnp.int32))
