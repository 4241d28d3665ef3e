"""Comparing candidates with a library's experts. Both play the same worlds with the same random numbers."""

import numpy as np

from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths, ComparisonRequest, Contest, MergeVerdict
from flowrl.evaluation.play import EpisodeOutcomes, play_worlds
from flowrl.evaluation.summary import amounts_to_play, summarise
from flowrl.files import read_json
from flowrl.jobs.worker import beat
from flowrl.models.experts import stack
from flowrl.paths import JobPaths, PlayPaths
from flowrl.rollout.policy_runner import PolicyRunner
from flowrl.rollout.programs import PlayPrograms
from flowrl.rollout.run_env import build_env
from flowrl.rollout.world_seeds import MERGE, skill_key
from flowrl.schema.evaluation import Evaluation, is_learned
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
    """All contests of one request.

    Attributes:
        held: the library's experts by global number, replaced as candidates win. What it lacks has no other expert than
            the candidate.
        frames: played so far.
    """

    def __init__(self, paths: ComparisonPaths, request: ComparisonRequest):
        self.paths, self.request = paths, request
        self.frames = 0
        self.candidates = load_experts(paths.candidates)
        self.companions = load_experts(paths.companions)
        self.held = self.candidates | load_experts(paths.held)

    def decide(self) -> ComparisonAnswer:
        """Decide on the bundle and, if it wins, on each expert."""
        gate = read_json(self.paths.run(self.request.expert).config, RunSpec).config.gate
        bundle, evaluation = self._decide_on_bundle()
        contests = self.request.contests if bundle is None or bundle.wins else ()
        return ComparisonAnswer(
            held=self.request.held,
            companions=self.request.companions,
            bundle=bundle,
            verdicts=tuple(self._decide(contest) for contest in contests),
            evaluation=evaluation,
            status="learned" if is_learned(gate, evaluation) else "weak",
            frames=self.frames,
        )

    def _decide_on_bundle(self) -> tuple[MergeVerdict | None, Evaluation]:
        """Play the run's own plan with its experts and the library's.

        The bundle wins where it is not worse: by the mean, or surely not by more than a little. A skill that is trained
        on while it still fails has no gain to show yet, and would lose what it learned.
        """
        own = self.request.expert
        player = PlanPlayer(self.paths.run(own), self.request.worlds, self.request.number, self.paths)
        with_all = self._play(player, self.held | self.companions | self.candidates)
        evaluation = player.evaluation(with_all)
        if not self.request.held.keys() & self.candidates.keys():
            return None, evaluation
        held, apart, library = self.held | self.companions, self.paths.contest(own), player
        if apart.config.exists():
            # The library's plan, since something else pre-empts the run's.
            held |= load_experts(apart.initial)
            library = PlanPlayer(apart, self.request.worlds, self.request.number, self.paths)
        before = self._play(library, held)
        difference = player.difference(with_all, before)
        wins = difference.gained >= difference.lost or difference.is_no_loss
        if not wins:
            evaluation = player.evaluation(before)
        return MergeVerdict(
            skill=self.request.skill, expert=own, wins=wins, difference=difference, evaluation=evaluation
        ), evaluation

    def _decide(self, contest: Contest) -> MergeVerdict:
        """Play another skill's plan with its candidate, and hold the winner.

        What it gained is worth something in the run's own plan only, so here it need not be better.
        """
        run = self.paths.contest(contest.expert)
        player = PlanPlayer(run, self.request.worlds, self.request.number, self.paths)
        candidate = {contest.expert: self.candidates[contest.expert]}
        held = self.held | load_experts(run.initial)
        ours, theirs = self._play(player, held | candidate), self._play(player, held)
        difference = player.difference(ours, theirs)
        if difference.is_no_loss:
            self.held |= candidate
        return MergeVerdict(
            skill=contest.skill,
            expert=contest.expert,
            wins=difference.is_no_loss,
            difference=difference,
            evaluation=player.evaluation(ours if difference.is_no_loss else theirs),
        )

    def _play(self, player: PlanPlayer, experts: ExpertsByNumber) -> EpisodeOutcomes:
        before = player.programs.frames_played
        outcome = player.play(experts)
        self.frames += player.programs.frames_played - before
        return outcome
