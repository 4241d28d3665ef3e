"""Answers as a model would give them, for skills of the bases: by stage and skill, some wrong on purpose."""

import json
from collections.abc import Callable
from typing import Any

from flowrl.knowledge.base import KnowledgeBase
from flowrl.llm.answers import SpecAnswer
from flowrl.llm.transport.client import ModelRequest, ModelResponse

DESIGN = {
    "done_when": "the yields hold",
    "terms": ["progress towards n, 1 in all"],
    "farming": "what is lost costs more",
}


class Author:
    """Knows a base's skills and proposes them in order.

    Attributes:
        twists: (stage, skill, attempt) -> what to do to the right answer.
        requests, notes: what was asked and what became of it.
    """

    def __init__(
        self,
        base: KnowledgeBase,
        names: list[str],
        twists: dict[tuple[str, str, int], Callable[[Any], Any]] | None = None,
    ):
        self.base, self.names, self.twists = base, list(names), twists or {}
        self.requests: list[ModelRequest] = []
        self.notes: list[tuple[str, str, int, str, str]] = []

    def complete(self, request: ModelRequest) -> ModelResponse:
        self.requests.append(request)
        answer = getattr(self, request.stage)(request)
        answer = self.twists.get((request.stage, request.skill, request.attempt), lambda value: value)(answer)
        if isinstance(answer, Exception):
            raise answer
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return ModelResponse(text=text, model="author", tokens_in=100, tokens_out=50, seconds=0.1)

    def note(self, request: ModelRequest, outcome: str, reason: str = "") -> None:
        self.notes.append((request.stage, request.skill, request.attempt, outcome, reason))

    def propose(self, request: ModelRequest) -> dict[str, Any]:
        skill = self.base.skill(self.names.pop(0) if len(self.names) > 1 else self.names[0])
        gain = next(iter(skill.spec.yields))
        return {"action": "new", "name": skill.name, "description": skill.description, "gain": gain}

    def specify(self, request: ModelRequest) -> dict[str, Any]:
        return dict(json.loads(SpecAnswer.of(self.base.skill(request.skill).spec).text()))

    def design(self, request: ModelRequest) -> dict[str, Any]:
        wanted = int(request.messages[1].text.partition("Give ")[2].split()[0].replace("one", "1"))
        return {"designs": [DESIGN | {"done_when": f"the yields hold, {k}"} for k in range(wanted)]}

    def write(self, request: ModelRequest) -> dict[str, Any]:
        expert = (
            request.messages[1]
            .text.partition("returns ")[2]
            .partition("def network_number():  returns ")[2]
            .split(",")[0]
        )
        return {"code": f"{self.base.skill(request.skill).code}\n\ndef network_number():\n    return {expert}\n"}

    def refine(self, request: ModelRequest) -> dict[str, Any]:
        return {"reason": "as measured", "spec": self.specify(request)}


def rejections(author: Author) -> list[tuple[str, str]]:
    """Returns stage and reason of each answer that was sent back."""
    return [(stage, reason) for stage, _, _, outcome, reason in author.notes if outcome == "rejected"]
