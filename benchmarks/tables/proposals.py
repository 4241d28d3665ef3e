"""Do infeasible or stale proposals reach training? Specifications made up at random, judged by a search of its own."""

import json
import random
import tempfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.tables.library import fill_library, small_config
from benchmarks.tables.measure import Row, row
from flowrl.config import RunConfig
from flowrl.fluents import NEAR, REACHED, Vocabulary
from flowrl.knowledge.base import load_base
from flowrl.library.catalog import known_skills
from flowrl.llm.answers import SpecAnswer
from flowrl.llm.context import FlowContext, FlowSettings
from flowrl.llm.flow import Flow
from flowrl.llm.transport.client import Message, ModelRequest, ModelResponse
from flowrl.parallel.scheduler import Proposed
from flowrl.planning.symbolic import SymbolicState, apply, largest_n, missing, new_world
from flowrl.schema.skill import Skill, SkillSpec
from flowrl.verify.verdict import Verdict

ENV = "Tiny-Grid-v1"
LEARNED = ("Collect Wood", "Place Table")
COUNT = 200


class Dice:
    """A model that proposes at random: specifications of the base, changed here and there, and ones made up."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.base = load_base(ENV)
        self.number = 0
        self.spec = SpecAnswer()

    def complete(self, request: ModelRequest) -> ModelResponse:
        """Returns an answer to the stage that asks."""
        answers: dict[str, Any] = {
            "propose": self._propose,
            "specify": lambda: json.loads(self.spec.text()),
            "design": lambda: {"designs": [{"done_when": "it is", "terms": ["1"]}]},
            "write": lambda: {"code": f"def network_number():\n    return {len(LEARNED)}\n"},
        }
        return ModelResponse(text=json.dumps(answers[request.stage]()), model="dice")

    def note(self, request: ModelRequest, outcome: str, reason: str = "") -> None:
        """Does nothing."""

    def _propose(self) -> dict[str, str]:
        self.number += 1
        self.spec = self._made_up() if self.random.random() < 0.5 else self._changed()
        gain = self.random.choice(sorted(self.spec.yields) or ["wood"])
        return {"name": f"Skill {self.number}", "description": "Does something.", "gain": gain}

    def _changed(self) -> SpecAnswer:
        """Returns a specification of the base with one amount changed, dropped or added."""
        spec = SpecAnswer.of(self.random.choice(self.base.skills).spec)
        part = self.random.choice(["requires", "consumes", "yields"])
        amounts = dict(getattr(spec, part))
        fluent = self.random.choice([*amounts, *self._fluents(1)])
        if self.random.random() < 0.3:
            amounts.pop(fluent, None)
        else:
            amounts[fluent] = self._amount(fluent)
        return spec.model_copy(update={part: amounts})

    def _made_up(self) -> SpecAnswer:
        parts = {
            part: {fluent: self._amount(fluent) for fluent in self._fluents(self.random.randint(0, most))}
            for part, most in (("requires", 2), ("consumes", 1), ("yields", 2))
        }
        top = self.random.randint(1, 4)
        return SpecAnswer(**parts, stays=self.random.random() < 0.3, n_range=(1, top))

    def _fluents(self, count: int) -> list[str]:
        return self.random.sample(self.base.vocabulary.names(), count)

    def _amount(self, fluent: str) -> int | str:
        amounts: list[int | str] = [1, 1, 2, 5, "n", "2*n"]
        return self.random.choice(amounts) if self.base.vocabulary.most(fluent) > 1 else 1


def reachable(skills: Mapping[str, Skill], vocabulary: Vocabulary) -> set[SymbolicState]:
    """Returns every state that skills lead to from a new world, by going through all of them; for small games.

    It shares the operators' meaning with the planner, and nothing of its search.
    """
    start = new_world(vocabulary)
    found, waiting = {start}, deque([start])
    while waiting:
        state = waiting.popleft()
        for skill in skills.values():
            for n in range(1, max(1, largest_n(skill.spec, vocabulary)) + 1):
                if not missing(state, skill.spec, n, vocabulary):
                    after = apply(state, skill.spec, n)
                    if after not in found:
                        found.add(after)
                        waiting.append(after)
    return found


def is_sound(spec: SkillSpec, states: set[SymbolicState], vocabulary: Vocabulary) -> bool:
    """Whether one of the states meets what a skill needs, and it brings what none of them has."""
    top = spec.n_range[1] if spec.n_range else 1
    begun = [state for state in states if all(state.amount(f) >= a for f, a in spec.needed(top).items())]
    gained = {f: q.at(top) for f, q in spec.yields.items() if q.at(top) > 0}
    new = [f for f, a in gained.items() if not any(state.amount(f) >= a for state in states)]
    # Near a station counts as new where it takes learned skills more than a step, which is not looked into here.
    passing = [f for f in gained if f.startswith((NEAR, REACHED))]
    return bool(begun) and bool(new or passing)


def generated_proposals(count: int = COUNT, seed: int = 0) -> tuple[int, int]:
    """Returns how many of so many generated proposals reached training, and how many of these should not have."""
    config: RunConfig = small_config()
    with tempfile.TemporaryDirectory(prefix="flowrl-bench-") as folder:
        library = fill_library(Path(folder) / "home", len(LEARNED), config, {}, LEARNED)
        told = Message(role="system", text="", masked="")
        settings = FlowSettings(attempts=1, patience=1)
        flow = Flow(
            FlowContext(
                Dice(seed), library, config, told, settings, lambda text: None, lambda skill, env: Verdict(ok=True)
            )
        )
        states = reachable(known_skills(library), flow.context.vocabulary)
        reached = wrong = 0
        for _ in range(count):
            answer = flow.propose(LEARNED, {})
            if isinstance(answer, Proposed):
                spec = flow.context.drafts.named()[answer.proposal.name].skill.spec
                reached += 1
                wrong += not is_sound(spec, states, flow.context.vocabulary)
                for file in flow.context.drafts.folder.glob("[0-9]*.json"):
                    file.unlink()
        return reached, wrong


def measure() -> list[Row]:
    """Returns the rows."""
    reached, wrong = generated_proposals()
    table = f"{COUNT} generated proposals"
    return [
        row(table, "that reached training", [float(reached)], "proposals", at_least=1),
        row(table, "of these infeasible or not novel", [float(wrong)], "proposals", None, 0),
    ]
