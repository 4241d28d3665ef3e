"""Measured success: a policy played on reserved worlds, one episode a world, every episode counted to its end."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from flowrl.env.flow_env import FlowEnv, FlowState
from flowrl.learning.rollout import Policy, sample_action
from flowrl.models.actor_critic import ActorCriticMoE
from flowrl.models.experts import Params
from flowrl.skill import Evaluation
from flowrl.stats import Share

TRAINING, GATE, EVALUATION = 0, 1, 2
"""What worlds are for; each purpose has a stream of random keys of its own."""
CHUNK = 50
"""Steps between two looks at how many episodes are still under way."""


def world_key(purpose: int, seed: int, number: int = 0) -> jax.Array:
    """Returns the key that the worlds of one purpose grow from; streams of different purposes share no world."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.PRNGKey(seed), 1_000_003 + purpose), number)


class Outcome(NamedTuple):
    """How the one episode of each of W worlds went so far."""

    ended: Bool[Array, "W"]
    success: Bool[Array, "W"]
    timeout: Bool[Array, "W"]
    cause: Int[Array, "W"]
    task: Int[Array, "W"]
    length: Int[Array, "W"]


class _Carry(NamedTuple):
    state: FlowState
    outcome: Outcome
    key: jax.Array


class Player:
    """Plays a run's tasks; compiled once for a number of worlds, whatever the parameters.

    Args:
        env: the run's environment.
        network: its network.
    """

    def __init__(self, env: FlowEnv, network: ActorCriticMoE):
        self.env, self.network = env, network
        self._advance = jax.jit(self._steps)
        self._worlds = jax.jit(env.new_players, static_argnums=1)

    def play(
        self,
        params: Params,
        key: jax.Array,
        amounts: Int[Array, "W N"],
        on_chunk: Callable[[int, int], None] | None = None,
    ) -> Outcome:
        """Returns how each world's episode went, as numpy arrays.

        Args:
            amounts: what each task wants in each world.
            on_chunk: called with (episodes ended, steps made) from time to time.
        """
        worlds = amounts.shape[0]
        worlds_key, play_key = jax.random.split(key)
        blank = jnp.zeros(worlds, dtype=bool)
        zero = jnp.zeros(worlds, dtype=jnp.int32)
        state = self.env.start(self._worlds(worlds_key, worlds), amounts)
        carry = _Carry(state, Outcome(blank, blank, blank, zero, zero, zero), play_key)
        for step in range(0, self.env.episode_steps, CHUNK):
            carry = self._advance(params, carry)
            ended = int(carry.outcome.ended.sum())
            if on_chunk is not None:
                on_chunk(ended, step + CHUNK)
            if ended == worlds:
                break
        return Outcome(*(np.asarray(leaf) for leaf in carry.outcome))

    def _steps(self, params: Params, carry: _Carry) -> _Carry:
        policy = Policy(self.network, params)

        def body(carry: _Carry, _: None) -> tuple[_Carry, None]:
            key, act_key, step_key = jax.random.split(carry.key, 3)
            logits, _value = policy(self.env, self.env.observe(carry.state), self.env.expert(carry.state))
            state, result = self.env.step(step_key, carry.state, sample_action(act_key, logits))
            old = carry.outcome
            now = Outcome(result.ended, result.success, result.timeout, result.cause, result.task, result.length)
            outcome = Outcome(*(jnp.where(old.ended, before, after) for before, after in zip(old, now, strict=True)))
            return _Carry(state, outcome, key), None

        return jax.lax.scan(body, carry, None, length=CHUNK)[0]


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
        per_amount={
            int(n): _step_share(outcome, amounts[:, -1] == n, tasks) for n in np.unique(amounts[:, -1][~top])
        },
        worlds_seed=seed,
    )


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
