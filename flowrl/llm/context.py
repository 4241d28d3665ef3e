"""A model and a library that work together. What `Flow`, `Writer` and `review` share."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from flowrl.config import RunConfig
from flowrl.fluents import Vocabulary
from flowrl.growing.reward_trials import candidate_name
from flowrl.knowledge.base import KnowledgeBase, fill_ranges, load_base
from flowrl.library.catalog import known_skills
from flowrl.library.drafts import Draft, Drafts
from flowrl.library.home import SkillLibrary
from flowrl.llm.conversation import Conversation
from flowrl.llm.transport.client import JudgedLLM, Message
from flowrl.planning.frontier import Frontier
from flowrl.schema.skill import Skill
from flowrl.verify.verdict import Verdict
from flowrl.verify.verify import verify


@dataclass(frozen=True)
class FlowSettings:
    """The options of working with a model.

    Attributes:
        goal: what the library must reach; None for anything that opens up the game.
        attempts: answers per question before the proposal fails.
        patience: proposals in a row that may fail before asking pauses until something changes.
        candidate_frames: training frames of each of them.
        review: whether specifications are checked against statistics after training.
    """

    goal: str | None = None
    attempts: int = 4
    patience: int = 4
    candidates: int = 1
    candidate_frames: int = 400_000
    review: bool = True


@dataclass(frozen=True)
class Known:
    """The skills of a home at one moment.

    Attributes:
        names: learned and pending skills, runs that try a reward among them.
        given_up: trained skills that are given up, and how they ended.
        all: these and the pending ones, which a proposal may build on.
        written: the model's own skills, trained or not.
    """

    names: frozenset[str]
    given_up: Mapping[str, str]
    learned: Mapping[str, Skill]
    all: Mapping[str, Skill]
    written: Mapping[str, Skill]
    frontier: Frontier


@dataclass(frozen=True)
class FlowContext:
    """A model at work on a library.

    Attributes:
        briefing: what the model is told of the game, see `briefing.py`.
        tell_fn: receives progress messages; may be called from another thread.
        stopping: set once no answer is awaited any more.
    """

    llm: JudgedLLM
    library: SkillLibrary
    config: RunConfig
    briefing: Message
    settings: FlowSettings
    tell_fn: Callable[[str], None]
    verify_fn: Callable[[Skill, str], Verdict] = verify
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def env(self) -> str:
        return self.library.description.env

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return load_base(self.env).vocabulary

    @cached_property
    def drafts(self) -> Drafts:
        return Drafts(self.library.paths)

    @cached_property
    def conversation(self) -> Conversation:
        return Conversation(self.llm, self.briefing, self.settings.attempts, self.tell_fn)

    def base(self) -> KnowledgeBase:
        """The model's skills with the library's specifications."""
        records = self.library.named()
        skills = [
            draft.skill.model_copy(update={"spec": records[draft.skill.name].spec})
            if draft.skill.name in records
            else draft.skill
            for draft in self.drafts
            if draft.status != "failed"
        ]
        stated = frozenset(skill.name for skill in skills if skill.spec.n_range is not None)
        return KnowledgeBase(self.env, self.vocabulary, fill_ranges(skills, self.vocabulary), stated)

    def known(self, learned_or_pending: Collection[str], given_up: Mapping[str, str]) -> Known:
        """What is known now with pending skills as learned."""
        learned, written = known_skills(self.library), self.base().named()
        everything = {name: skill for name, skill in written.items() if name in learned_or_pending} | learned
        frontier = Frontier(everything, self.vocabulary, written.values())
        return Known(frozenset(learned_or_pending), given_up, learned, everything, written, frontier)

    def all_trials(self) -> set[str]:
        """Names of all reward trials."""
        return {name for draft in self.drafts for name in trials_of(draft)}


def trials_of(draft: Draft) -> list[str]:
    """Names of a draft's reward trials."""
    return [candidate_name(draft.skill.name, which) for which in range(len(draft.candidates))]
