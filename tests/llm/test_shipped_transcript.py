"""The transcript that ships is what prompts, parser and checks of today exchange; training is left out here.

If a prompt was changed on purpose: record it anew, see benchmarks/record_transcript.py.
"""

from pathlib import Path

import pytest

from flowrl.config import build_config
from flowrl.knowledge.base import load_base
from flowrl.library.catalog import known_skills
from flowrl.library.home import SkillLibrary
from flowrl.library.versions import respecify
from flowrl.llm.answers import RefineAnswer, SpecAnswer
from flowrl.llm.briefing import briefing, skill_lines
from flowrl.llm.context import FlowContext, FlowSettings
from flowrl.llm.flow import Flow
from flowrl.llm.prompts import load_prompt
from flowrl.llm.transport.client import ModelRequest, ModelResponse
from flowrl.llm.transport.transcript import Replayer, read_transcript
from flowrl.parallel.scheduler import Proposed, Respecified
from flowrl.schema.home import SkillRecord
from flowrl.schema.skill import SkillSpec
from tests.support.homes import add_skill
from tests.support.played import CLASSIC

pytestmark = pytest.mark.slow
TRANSCRIPT = Path(__file__).parents[2] / "examples" / "llm" / "classic.jsonl"
NAMES = ["Collect Wood", "Place Table", "Make Wood Pickaxe", "Collect Sapling"]


class Listening(Replayer):
    """A replayer that keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(TRANSCRIPT)
        self.asked: list[tuple[str, str, int]] = []

    def complete(self, request: ModelRequest) -> ModelResponse:
        self.asked.append((request.stage, request.skill, request.attempt))
        return super().complete(request)

    def note(self, request: ModelRequest, outcome: str, reason: str = "") -> None:
        pass


def refined(context: FlowContext, record: SkillRecord) -> SkillSpec | None:
    """What the transcript says after training, measurements left out: they are masked."""
    others = [skill for name, skill in known_skills(context.library).items() if name != record.name]
    prompt = load_prompt("refine").render(
        name=record.name, description=record.description, spec=SpecAnswer.of(record.spec).text(),
        learned=skill_lines(others), statistics="", trajectory="", suggestion="",
    )  # fmt: skip
    spec = context.conversation.ask("refine", record.name, prompt, RefineAnswer, lambda a: a.spec.spec(record.name))
    return None if spec == record.spec else spec


def test_every_exchange_is_asked_for_and_none_is_missing(tmp_path: Path) -> None:
    library = SkillLibrary.open_for(tmp_path, build_config(env__name=CLASSIC))
    llm, told = Listening(), briefing(CLASSIC, load_base(CLASSIC).vocabulary)
    config = build_config(env__name=CLASSIC)
    flow = Flow(FlowContext(llm, library, config, told, FlowSettings(), lambda text: None), refined)
    for expert, name in enumerate(NAMES):
        answer = flow.propose(NAMES[:expert], {})
        while isinstance(answer, Respecified):
            respecify(library, answer.name, answer.spec)
            answer = flow.propose(NAMES[:expert], {})
        assert isinstance(answer, Proposed) and answer.proposal.name == name, answer
        skill = flow.context.base().skill(name)
        add_skill(
            library, name, expert, code=skill.code, status="learned", spec=skill.spec, description=skill.description
        )
    assert flow.review() is None, "the last skill's specification may stay"
    recorded = [(e.stage, e.skill, e.attempt) for e in read_transcript(TRANSCRIPT)]
    assert llm.asked == recorded
    again = [(stage, skill) for stage, skill, attempt in recorded if attempt > 1]
    assert again == [("specify", "Place Table"), ("write", "Make Wood Pickaxe")]
    assert library.record("Place Table").spec.consumes["wood"].at(1) == 2
