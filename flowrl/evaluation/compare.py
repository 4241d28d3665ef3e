"""Comparing candidates with a library's experts. Both play the same worlds with the same random numbers."""

import numpy as np

from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths, ComparisonRequest, Contest, MergeVerdict
from flowrl.evaluation.play import EpisodeOutcomes, play_worlds
from flowrl.evaluation.summary import amounts_to_play, is_learned, summarise
from flowrl.files import read_json
from flowrl.jobs.worker import beat
from flowrl.models.experts import stack
from flowrl.paths import JobPaths, PlayPaths
from flowrl.rollout.policy_runner import PolicyRunner
from flowrl.rollout.programs import PlayPrograms
from flowrl.rollout.run_env import build_env
from flowrl.rollout.world_seeds import MERGE, skill_key
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.run import RunSpec
from flowrl.stats import PairedDifference
from flowrl.weights import Expert, load_experts

ExpertsByNumber = dict[int, Expert]


class PlanPlayer:
    """Plays a skill's plan for one comparison.

    Args:
        run: the folder with the plan's module and configuration.
        worlds: how many worlds are played with the plan's own amounts.
        number: which reserved worlds.
        job: whose heartbeat tells that worlds are played.
    """

    def __init__(self, run: PlayPaths, worlds: int, number: int, job: JobPaths):
        self.spec = read_json(run.config, RunSpec)
        self.env = build_env(self.spec, run)
        self.number, self.job = number, job
        self.programs = PlayPrograms(PolicyRunner(self.env, self.spec.config, len(self.spec.local_to_global)))
        self.amounts = amounts_to_play(self.env, worlds, self.spec.config.gate.per_amount_worlds)

    def play(self, experts: ExpertsByNumber) -> EpisodeOutcomes:
        """Play the worlds with experts by global number."""
        params = stack([experts[g] for g in self.spec.local_to_global])
        key = skill_key(MERGE, self.spec.config.seed, self.number, self.spec.world_name)
        return play_worlds(self.programs, params, key, self.amounts, lambda _ended, _steps: beat(self.job))

    def evaluation(self, outcome: EpisodeOutcomes) -> Evaluation:
        """The skill's measured success in an outcome."""
        return summarise(self.env, outcome, self.amounts, self.env.domain.causes, self.number)

    def difference(self, one: EpisodeOutcomes, other: EpisodeOutcomes) -> PairedDifference:
        """Paired difference of plan success. Over the worlds with the top amount."""
        top = self.amounts[:, -1] == self.env.amounts.high[-1]
        ours, theirs = np.asarray(one.success)[top], np.asarray(other.success)[top]
        return PairedDifference(gained=int((ours & ~theirs).sum()), lost=int((theirs & ~ours).sum()), total=len(ours))


class Comparison:
    """All contests of one request and the final measurement.

    Attributes:
        held: the library's experts by global number, replaced as candidates win.
        frames: played so far.
    """

    def __init__(self, paths: ComparisonPaths, request: ComparisonRequest):
        self.paths, self.request = paths, request
        self.frames = 0
        self.candidates = load_experts(paths.candidates)
        # What the library lacks, new members of a chain run, has no other expert than the candidate.
        self.held = self.candidates | load_experts(paths.held)

    def decide(self) -> ComparisonAnswer:
        """Decide the contests and measure the skill."""
        own = self.request.expert
        verdicts = {contest.expert: self._decide(contest) for contest in self.request.contests}
        if own in verdicts:
            evaluation = verdicts[own].evaluation
        else:
            player = self._player(own)
            evaluation = player.evaluation(self._play(player, self.held | self._candidate(own)))
        gate = read_json(self.paths.run(own).config, RunSpec).config.gate
        return ComparisonAnswer(
            held=self.request.held,
            verdicts=tuple(verdicts.values()),
            evaluation=evaluation,
            status="learned" if is_learned(gate, evaluation) else "weak",
            frames=self.frames,
        )

    def _play(self, player: PlanPlayer, experts: ExpertsByNumber) -> EpisodeOutcomes:
        before = player.programs.frames_played
        outcome = player.play(experts)
        self.frames += player.programs.frames_played - before
        return outcome

    def _decide(self, contest: Contest) -> MergeVerdict:
        """Play a contest and hold its winner."""
        player, candidate = self._player(contest.expert), self._candidate(contest.expert)
        ours, theirs = self._play(player, self.held | candidate), self._play(player, self.held)
        difference = player.difference(ours, theirs)
        if difference.is_gain:
            self.held |= candidate
        return MergeVerdict(
            skill=contest.skill,
            expert=contest.expert,
            wins=difference.is_gain,
            difference=difference,
            evaluation=player.evaluation(ours if difference.is_gain else theirs),
        )

    def _candidate(self, expert: int) -> ExpertsByNumber:
        """A contest's candidate; the run's own comes with its companions."""
        if expert != self.request.expert:
            return {expert: self.candidates[expert]}
        others = {contest.expert for contest in self.request.contests} - {expert}
        return {g: weights for g, weights in self.candidates.items() if g not in others}

    def _player(self, expert: int) -> PlanPlayer:
        own = expert == self.request.expert
        run: PlayPaths = self.paths.run(expert) if own else self.paths.contest(expert)
        return PlanPlayer(run, self.request.worlds, self.request.number, self.paths)
