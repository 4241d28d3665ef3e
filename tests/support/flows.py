"""Flows whose verification is made up."""

from pathlib import Path
from typing import Any

from flowrl.llm.context import FlowContext, FlowSettings
from flowrl.llm.flow import Flow
from flowrl.llm.transport.client import Message
from flowrl.schema.skill import Skill
from flowrl.verify.verdict import Verdict
from tests.support.authors import Author
from tests.support.homes import SMALL, add_skill, empty_home
from tests.support.played import BASES, TINY

TOLD = Message(role="system", text="The game.", masked="The game.")


BASE = BASES[TINY]


def passes(skill: Skill, env: str) -> Verdict:
    assert not skill.trusted, "what a model wrote is never trusted"
    return Verdict(ok=True, artefact="made up")


def flow_of(home: Path, author: Author, **options: Any) -> Flow:
    settings = FlowSettings(**{k: v for k, v in options.items() if k in FlowSettings.__dataclass_fields__})
    verify_fn = options.get("verify_fn", passes)
    context = FlowContext(author, empty_home(home), SMALL, TOLD, settings, lambda text: None, verify_fn)
    return Flow(context, options.get("review_fn"), options.get("count"))


def learn(flow: Flow, name: str, status: Any = "learned", expert: int | None = None) -> None:
    """Puts a skill into the library as if it had been trained."""
    skill = flow.context.base().skill(name)
    number = flow.context.library.free_expert() if expert is None else expert
    add_skill(flow.context.library, name, number, code=skill.code, status=status, spec=skill.spec)
