"""`FlowEnv`: a batch of worlds working through a run's tasks."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from flowrl.env.block_memory import empty_memory
from flowrl.env.domain import Domain, Observation, World
from flowrl.env.explored import map_shares, nothing_explored, round_about
from flowrl.env.interrupts import Interrupt, Preemption
from flowrl.env.player import Moved, PlayerState, move, player_in
from flowrl.env.side_rewards import SideRewards
from flowrl.env.skill_inputs import SkillInputs
from flowrl.env.symbolic_state import fluents_of
from flowrl.env.turning import turn_offsets, turn_patches, turn_view, turned_actions
from flowrl.env.ways import things_known, turn_of, way_shown
from flowrl.skillcode.functions import ExportedSkill, SkillFunctions, TaskModule, flat_leaves

_AMOUNT_SCALE = 5.0
NOTHING_BESIDE = SideRewards()


class FlowState(NamedTuple):
    """A batch of B episodes under way.

    Attributes:
        player: worlds, upstream's observation of each, memory.
        task: [B] the current task.
        amounts: [B, N] the amount wanted of each task in this episode.
        achieved: [B, achievements] what has happened since the current task began.
        steps: [B] steps made in this episode.
        task_steps: [B] steps made in the current task.
        interrupt: [B] the task that pre-empts the current one; -1 for none.
        started: [B] the update in which the episode began.
        from_snapshot: [B] it began at a snapshot, with one of the later tasks, and not in a new world.
    """

    player: PlayerState
    task: Int[Array, "B"]
    amounts: Int[Array, "B N"]
    achieved: Bool[Array, "B achievements"]
    steps: Int[Array, "B"]
    task_steps: Int[Array, "B"]
    interrupt: Int[Array, "B"]
    started: Int[Array, "B"]
    from_snapshot: Bool[Array, "B"]


class StepResult(NamedTuple):
    """One step of the batch, made in ``task``.

    Attributes:
        reward: [B] the current task's reward.
        task: [B].
        task_done: [B] the current task is finished by this step.
        success: [B] the last task is finished, and the episode with it.
        died: [B] the game was lost, or won.
        timeout: [B] the time limit or the game's own clock ended it, neither success nor death.
        cause: [B] index into the domain's causes; meaningful where ``died``.
        length: [B] steps of the episode so far.
        started: [B] the update in which the episode began.
        amount: [B] the amount wanted of the last task in this episode.
        from_snapshot: [B] the episode began at a snapshot: it says nothing of the success from new worlds.
        postconditions_met: [B, P] whether each of `FlowEnv.postconditions` holds; meaningful where ``success`` and
            ``started`` is 0.
    """

    reward: Float[Array, "B"]
    task: Int[Array, "B"]
    task_done: Bool[Array, "B"]
    success: Bool[Array, "B"]
    died: Bool[Array, "B"]
    timeout: Bool[Array, "B"]
    cause: Int[Array, "B"]
    length: Int[Array, "B"]
    started: Int[Array, "B"]
    amount: Int[Array, "B"]
    from_snapshot: Bool[Array, "B"]
    postconditions_met: Bool[Array, "B P"] | None = None

    @property
    def ended(self) -> Any:
        """Whether the episode ends with this step. [B] or as many axes as the fields have."""
        return self.success | self.died | self.timeout


@dataclass(frozen=True)
class TaskAmounts:
    """Amounts that each task of a run wants.

    Attributes:
        low: the least amount of each task; equal to ``high`` for all but the run's own skill.
        high: the largest amount of each task.
        item: index into the domain's items whose amount the policy sees as "in hand"; -1 for none.
        seeks: row of `closest_blocks` that the task is looking for; -1, or nothing at all, for none.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    item: tuple[int, ...]
    seeks: tuple[int, ...] = ()


@dataclass(frozen=True)
class FlowEnv:
    """The task layer over a domain. Every method is pure and works on a batch of B worlds.

    Attributes:
        domain: the game.
        tasks: the functions of the run's tasks: those of its plan in order, then one for each interrupt.
        amounts: what each task wants.
        episode_steps: the time limit of an episode.
        postconditions: (fluent, amount): what the last task's skill says holds at least when it is done.
        interrupts: what pre-empts the plan; the first that applies does.
        side_rewards: what is paid beside the tasks' rewards.
    """

    domain: Domain
    tasks: TaskModule
    amounts: TaskAmounts
    episode_steps: int
    postconditions: tuple[tuple[str, int], ...] = ()
    interrupts: tuple[Interrupt, ...] = ()
    side_rewards: SideRewards = NOTHING_BESIDE

    @property
    def plan_tasks(self) -> int:
        """The number N of the plan's tasks."""
        return len(self.tasks.skill_of_task) - len(self.interrupts)

    @property
    def _preemption(self) -> Preemption:
        return Preemption(self.domain, self.interrupts, self.plan_tasks)

    @property
    def expert_of_task(self) -> np.ndarray:
        """The local expert of each task, [N]."""
        return np.asarray(self.tasks.expert_of_task)

    def new_players(self, keys: jax.Array) -> PlayerState:
        """Generate a new world for each key, with what its player sees."""

        def one(key: jax.Array) -> PlayerState:
            nothing = empty_memory(self.domain), nothing_explored(self.domain)
            return player_in(self.domain, self.domain.reset_fn(key), *nothing)

        return jax.vmap(one)(keys)

    def draw_amounts(self, key: jax.Array, count: int) -> Int[Array, "B N"]:
        """Draw the amounts of ``count`` episodes, uniformly from each task's range."""
        low, high = jnp.array(self.amounts.low), jnp.array(self.amounts.high)
        return jax.random.randint(key, (count, len(self.amounts.low)), low, high + 1)

    def start(self, player: PlayerState, amounts: Int[Array, "B N"], update: Array | int = 0) -> FlowState:
        """Begin episodes in the given worlds."""
        count = amounts.shape[0]

        def filled(value: Array | int) -> Int[Array, "B"]:
            # An array each: a program that takes the state's memory over cannot take the same one twice.
            return jnp.full(count, value, dtype=jnp.int32)

        achieved = jnp.zeros((count, len(self.domain.achievements)), dtype=bool)
        nowhere = jnp.zeros(count, dtype=bool)
        steps, task_steps, interrupt = filled(0), filled(0), filled(-1)
        return FlowState(player, filled(0), amounts, achieved, steps, task_steps, interrupt, filled(update), nowhere)

    def expert(self, state: FlowState) -> Int[Array, "B"]:
        """The local expert that acts next in each world."""
        return jnp.asarray(self.expert_of_task)[self.acting_task(state)]

    def acting_task(self, state: FlowState) -> Int[Array, "B"]:
        """The task whose expert acts, and that is rewarded: the plan's current one, or what pre-empts it."""
        return jnp.where(state.interrupt >= 0, state.interrupt, state.task)

    def observe(self, state: FlowState) -> Observation:
        """The policy's observation, compact. Upstream's, and flowrl's additions."""

        def one(player: PlayerState, task: Array, amounts: Array, target: Array) -> Observation:
            offsets, turn = things_known(self.domain, player), turn_of(self.domain, player, target)
            in_hand = self.domain.amounts_fn(self.domain.vitals_fn(player.world).inventory)
            item = jnp.asarray(self.amounts.item)[task]
            held = jnp.where(item >= 0, in_hand[item], 0)
            seen, floats = player.seen, [player.seen.floats, jnp.stack([amounts[task], held]) / _AMOUNT_SCALE]
            if turn is not None:
                seen, offsets = turn_view(self.domain, seen, turn), turn_offsets(offsets, turn)
            if player.explored is not None and self.domain.ores is None:
                shares = map_shares(self.domain, player.explored, player.world)
                floats.append(round_about(shares if turn is None else turn_patches(shares, turn)))
            if self.domain.nearby_fn is not None:
                # In the same columns for every task, so that a copied expert knows the way to what is sought.
                way = way_shown(self.domain, player, target, turn)
                floats += [self.domain.nearby_fn(player.world), way]
            levels = jnp.concatenate([seen.levels, offsets.reshape(-1).astype(jnp.int8)])
            return seen._replace(levels=levels, floats=jnp.concatenate(floats))

        observation: Observation = jax.vmap(one)(state.player, state.task, state.amounts, self._sought(state.task))
        return observation

    def _sought(self, task: Int[Array, "*B"]) -> Int[Array, "*B"]:
        """Row of `closest_blocks` that a task is looking for, -1 for none."""
        return jnp.asarray(self.amounts.seeks or (-1,) * self.plan_tasks)[task]

    def game_actions(self, state: FlowState, chosen: Int[Array, "B"]) -> Int[Array, "B"]:
        """The game's actions for those that a policy chose. In a turned layout its up is the way the player faces."""
        if self.domain.turn_fn is not None:
            turn = functools.partial(turn_of, self.domain)
            turns = jax.vmap(turn)(state.player, self._sought(state.task))
            chosen = jnp.asarray(turned_actions(self.domain.actions))[turns, chosen]
        return self._preemption.sheltered_actions(state.interrupt, state.player.world, chosen)

    def step(self, key: jax.Array, state: FlowState, action: Int[Array, "B"]) -> tuple[FlowState, StepResult]:
        """Step the batch by the game's actions; ended episodes are left as they ended."""
        n = jnp.take_along_axis(state.amounts, state.task[:, None], axis=1)[:, 0]
        return self.judge(state, move(self.domain, key, state.player, state.achieved, action, n))

    def judge(self, state: FlowState, moved: Moved) -> tuple[FlowState, StepResult]:
        """Decide which tasks are done and which episodes ended."""
        done, reward = self._evaluate_tasks(self.acting_task(state), moved.inputs)
        done &= state.interrupt < 0
        sought = jnp.where(state.interrupt < 0, self._sought(state.task), -1)
        reward = reward + self.side_rewards.of_step(sought, state.player, moved)
        over, steps = moved.over, state.steps + 1
        last = state.task == self.plan_tasks - 1
        success = done & last & ~over
        timeout = ((steps >= self.episode_steps) | moved.expired) & ~success & ~over
        result = StepResult(
            reward=reward,
            task=state.task,
            task_done=done & ~over,
            success=success,
            died=over,
            timeout=timeout,
            cause=moved.cause,
            length=steps,
            started=state.started,
            amount=state.amounts[:, -1],
            from_snapshot=state.from_snapshot,
            postconditions_met=self._postconditions_met(moved.player.world, success & (state.started == 0)),
        )
        advanced = result.task_done & ~last
        state = state._replace(
            player=moved.player,
            task=state.task + advanced,
            achieved=moved.achieved & ~advanced[:, None],
            steps=steps,
            task_steps=jnp.where(advanced, 0, state.task_steps + 1),
            interrupt=self._preemption.after(state.interrupt, moved),
        )
        return state, result

    def _postconditions_met(self, worlds: World, wanted: Bool[Array, "B"]) -> Bool[Array, "B P"]:
        """Check postconditions when a first episode succeeds: only evaluation uses them."""

        def look(world: World) -> Array:
            fluents = fluents_of(self.domain, world)
            return jnp.stack([fluents[fluent] >= amount for fluent, amount in self.postconditions])

        nothing = jnp.zeros((wanted.shape[0], len(self.postconditions)), dtype=bool)
        if not self.postconditions:
            return nothing
        return jax.lax.cond(wanted.any(), jax.vmap(look), lambda _: nothing, worlds)

    def _evaluate_tasks(self, task: Int[Array, "B"], inputs: SkillInputs) -> tuple[Array, Array]:
        skill = jnp.asarray(self.tasks.skill_of_task)[task]
        outcomes = [evaluate_skill(functions, inputs) for functions in self.tasks.skills]
        done = jnp.stack([done for done, _ in outcomes])
        reward = jnp.stack([reward for _, reward in outcomes])
        pick = (jnp.arange(len(outcomes))[:, None] == skill[None]).astype(jnp.float32)  # [skills, B]
        # A NaN of a skill that is not the current one must not spread, so choose, do not multiply.
        chosen = jnp.where(pick > 0, reward, 0.0).sum(axis=0)
        return (done & (pick > 0)).any(axis=0), chosen

    def restart(
        self,
        state: FlowState,
        ended: Bool[Array, "B"],
        fresh: PlayerState,
        first: Int[Array, ""],
        amounts: Int[Array, "B N"],
        update: Array | int,
    ) -> FlowState:
        """Replace every ended episode by one in a new world.

        The i-th ended episode gets world (first + i) modulo the number of ``fresh`` worlds.
        """
        available = fresh.memory.shape[0]
        # ended = [1 0 1] with first = 4 takes worlds [4 4 5], of which the second is not used.
        source = (first + jnp.cumsum(ended) - 1) % available
        return _begun(state, ended, fresh, source, jnp.int32(0), amounts, update)

    def start_from(
        self,
        state: FlowState,
        chosen: Bool[Array, "B"],
        snapshots: PlayerState,
        source: Int[Array, "B"],
        amounts: Int[Array, "B N"],
        update: Array | int,
        task: Int[Array, "B"] | None = None,
        achieved: Bool[Array, "B achievements"] | None = None,
    ) -> FlowState:
        """Replace the chosen episodes by new ones at snapshots.

        Args:
            source: which of the ``snapshots`` each begins at.
            task: the task that each begins with; None: the last one.
            achieved: what has happened since that task began; None: nothing.
        """
        task = jnp.int32(self.plan_tasks - 1) if task is None else task
        begun = _begun(state, chosen, snapshots, source, task, amounts, update)
        if achieved is not None:
            begun = begun._replace(achieved=jnp.where(chosen[:, None], achieved, begun.achieved))
        return begun._replace(from_snapshot=begun.from_snapshot | chosen)


def _begun(
    state: FlowState,
    chosen: Bool[Array, "B"],
    players: PlayerState,
    source: Int[Array, "B"],
    task: Int[Array, ""] | Int[Array, "B"],
    amounts: Int[Array, "B N"],
    update: Array | int,
) -> FlowState:
    """Replace the chosen episodes by new ones at ``task``."""
    player = jax.lax.platform_dependent(
        state.player, chosen, players, source, cpu=_replace_in_place, default=_replace_by_select
    )
    clear = ~chosen
    return FlowState(
        player=player,
        task=jnp.where(chosen, task, state.task),
        amounts=jnp.where(chosen[:, None], amounts, state.amounts),
        achieved=state.achieved & clear[:, None],
        steps=state.steps * clear,
        task_steps=state.task_steps * clear,
        interrupt=jnp.where(chosen, -1, state.interrupt),
        started=jnp.where(chosen, update, state.started),
        from_snapshot=state.from_snapshot & clear,
    )


def evaluate_skill(
    skill: SkillFunctions | ExportedSkill, inputs: SkillInputs
) -> tuple[Bool[Array, "B"], Float[Array, "B"]]:
    """Done and reward of one skill for a batch. By one call of each of its functions."""
    if isinstance(skill, ExportedSkill):
        return skill.outcomes(flat_leaves(inputs))
    return jax.vmap(skill.outcome)(inputs._asdict())


def _replace_by_select(player: PlayerState, ended: Array, fresh: PlayerState, source: Array) -> PlayerState:
    def pick(old: Array, new: Array) -> Array:
        return jnp.where(ended.reshape((-1,) + (1,) * (old.ndim - 1)), new[source], old)

    return jax.tree.map(pick, player, fresh)


def _replace_in_place(player: PlayerState, ended: Array, fresh: PlayerState, source: Array) -> PlayerState:
    """Copy only the worlds that ended. A world is 21 kB, and a select over all of them costs a third of a step."""
    indices = jnp.nonzero(ended, size=ended.shape[0])[0]

    def body(i: Array, player: PlayerState) -> PlayerState:
        to, come_from = indices[i], source[indices[i]]
        return jax.tree.map(lambda old, new: old.at[to].set(new[come_from]), player, fresh)

    return jax.lax.fori_loop(0, ended.sum(), body, player)
