"""Wrong specifications, planted: whether statistics and ablation alone, without a language model, put them right.

No policy is trained for it: how a skill gets done is found by probing, and its segments are played by a script.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.tables.measure import Row, row
from flowrl.analysis.ablation import NOT_FULL, Start
from flowrl.analysis.findings import Findings, Way
from flowrl.analysis.probing import NS, WORLDS, Probing
from flowrl.analysis.repair import PARTS, Repair, repair
from flowrl.analysis.scripted_play import AnySkill, Stepper
from flowrl.analysis.segments import ENOUGH, Segment, statistics_of
from flowrl.env.code_parser import bind_tasks, load_module
from flowrl.env.registry import domain_named
from flowrl.env.staging.scenes import Stage
from flowrl.knowledge.base import KnowledgeBase, load_base, manual_of
from flowrl.llm.conversation import Conversation
from flowrl.llm.review import refine
from flowrl.llm.transport.client import LLM, Message, ModelRequest
from flowrl.llm.transport.transcript import Replayer
from flowrl.schema.skill import Quantity, SkillSpec
from flowrl.skillcode.source import SkillSource, compose_module

ENV = "Craftax-Classic-Symbolic-v1"
TABLE = "planted errors repaired by statistics and ablation alone (Classic)"
TRANSCRIPT = Path(__file__).with_name("planted.jsonl")
"""What a model would be asked, with answers written by hand."""
SEGMENTS = 3 * ENOUGH
_DRAWN, _ABSENT_SHARE = 512, 0.2
"""Starts drawn in all, and the share of things that are absent in one."""
REPAIRED, SECONDS = 8, 180.0
"""How many of the errors have to be repaired, and the seconds that all may take on two cores."""


@dataclass(frozen=True)
class Planted:
    """An error: amounts that replace those of the true specification, None for what it leaves out.

    Attributes:
        what: what the wrong specification says.
    """

    skill: str
    what: str
    parts: Mapping[str, Mapping[str, int | None]]

    def spec(self, truth: SkillSpec) -> SkillSpec:
        """Returns the true specification with the error in it."""
        changed: dict[str, Any] = {}
        for part, amounts in self.parts.items():
            kept = {f: q for f, q in getattr(truth, part).items() if f not in amounts}
            changed[part] = kept | {f: Quantity(base=a) for f, a in amounts.items() if a is not None}
        return truth.model_copy(update=changed)


@dataclass(frozen=True)
class Outcome:
    """What became of a planted error.

    Attributes:
        findings: what was found out without knowing the truth.
        is_repaired: the repaired specification requires, consumes and yields exactly what the true one does.
        keeps_truth: nothing was changed about the true specification.
    """

    planted: Planted
    findings: Findings
    repaired: Repair
    is_repaired: bool
    keeps_truth: bool


def _both(amounts: Mapping[str, int | None]) -> dict[str, Mapping[str, int | None]]:
    return {"requires": amounts, "consumes": amounts}


ERRORS = (
    Planted("Place Table", "a table costs 5 wood", _both({"wood": 5})),
    Planted("Collect Stone", "stone needs a sword", {"requires": {"wood_pickaxe": None, "wood_sword": 1}}),
    Planted("Make Iron Pickaxe", "an iron pickaxe needs no stone", _both({"stone": None})),
    Planted("Make Wood Pickaxe", "a wood pickaxe needs no table", {"requires": {"near:crafting_table": None}}),
    Planted("Place Furnace", "a furnace costs 8 stone", _both({"stone": 8})),
    Planted("Make Wood Sword", "a wood sword spends nothing", {"consumes": {"wood": None}}),
    Planted("Collect Coal", "coal needs an iron pickaxe", {"requires": {"wood_pickaxe": None, "iron_pickaxe": 1}}),
    Planted("Collect Sapling", "a sapling needs a pickaxe", {"requires": {"wood_pickaxe": 1}}),
    Planted("Place Stone", "placing a stone spends two", {"consumes": {"stone": 2}}),
    Planted("Eat Plant", "eating a plant needs none and fills the stomach", {
        "requires": {"placed:plant": None}, "yields": {"intrinsic:food": 9},
    }),
)  # fmt: skip


def outcomes() -> list[Outcome]:
    """Returns what becomes of each planted error."""
    base, stepper = load_base(ENV), Stepper(Stage.of(domain_named(ENV)))
    return [_outcome(base, stepper, planted) for planted in ERRORS]


def _outcome(base: KnowledgeBase, stepper: Stepper, planted: Planted) -> Outcome:
    truth = base.skill(planted.skill).spec
    wrong = planted.spec(truth)
    probing = Probing(stepper, _functions_of(base, planted.skill), base.vocabulary, wrong, jax.random.key(3))
    ways = probing.ways()
    segments = scripted_segments(probing, ways[0], SEGMENTS) if ways else []
    findings = Findings(
        skill=planted.skill,
        env=ENV,
        statistics=statistics_of(planted.skill, segments, scripted=True) if len(segments) >= ENOUGH else None,
        ways=tuple(ways),
        notes=tuple(probing.notes),
    )
    repaired = repair(wrong, findings)
    return Outcome(planted, findings, repaired, repaired.spec == truth, not repair(truth, findings).changes)


def scripted_segments(probing: Probing, way: Way, count: int) -> list[Segment]:
    """Successful segments of a scripted way, at most ``count``. Starts are drawn at random."""
    rich = probing.rich()
    if rich is None:
        return []
    rng = np.random.default_rng(0)
    kinds = [kind.name for kind in probing.stage.kinds]
    attempt = probing.attempt(probing.stage.domain.actions.index(way.action), kinds.index(way.faced), rich)
    starts = [_drawn(rng, rich) for _ in range(_DRAWN // WORLDS)]
    played = probing.ablation.play(attempt, starts, NOT_FULL)

    def named(amounts: np.ndarray) -> dict[str, int]:
        return {f: int(a) for f, a in zip(probing.stepper.fluents, amounts, strict=True) if a}

    return [
        Segment(
            n=n,
            steps=int(played.step[i, row]),
            action=way.action,
            start=named(played.start[row]),
            before=named(played.before[i, row]),
            end=named(played.end[i, row]),
        )
        for i, n in enumerate(NS)
        for row in np.flatnonzero(played.done[i])[: -(-count // len(NS))]
    ]


def _drawn(rng: np.random.Generator, rich: Start) -> dict[str, int]:
    """A random start. Some things absent, others in any amount."""
    drawn = {}
    for name, most in rich.items():
        absent = most <= 0 or rng.random() < _ABSENT_SHARE
        drawn[name] = most if most < 0 else 0 if absent else int(rng.integers(1, most + 1))
    return drawn


def _functions_of(base: KnowledgeBase, name: str) -> AnySkill:
    """Returns the functions of a skill of the package's own knowledge base."""
    source = compose_module([SkillSource("skill", base.skill(name).code)], [0], [0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tasks.py"
        path.write_text(source, encoding="utf-8")
        return bind_tasks(load_module(path)).skills[0]


class Unjudged:
    """A model whose answers are judged, and the judgements forgotten."""

    def __init__(self, llm: LLM):
        self.complete = llm.complete

    def note(self, request: ModelRequest, outcome: str, reason: str = "") -> None:
        """Does nothing."""


def repaired_with_model(found: Sequence[Outcome], llm: LLM) -> list[bool]:
    """Returns of each planted error whether a model that sees the findings puts it right."""
    base = load_base(ENV)
    told = Message(role="system", text=manual_of(ENV), masked=manual_of(ENV))
    conversation = Conversation(Unjudged(llm), told, attempts=4, tell_fn=lambda text: None)
    repaired = []
    for outcome in found:
        truth = base.skill(outcome.planted.skill)
        wrong = truth.model_copy(update={"spec": outcome.planted.spec(truth.spec)})
        others = [skill for skill in base.skills if skill.name != truth.name]
        spec = refine(conversation, base.vocabulary, wrong, others, outcome.findings, outcome.repaired)
        repaired.append(all(getattr(spec, part) == getattr(truth.spec, part) for part in PARTS))
    return repaired


def planted_errors() -> list[Row]:
    """Returns a row for each planted error, for their sum, and for the time that all took, compilation included."""
    begin = time.perf_counter()
    found = outcomes()
    seconds = time.perf_counter() - begin
    with_model = sum(repaired_with_model(found, Replayer(TRANSCRIPT)))
    each = [row(TABLE, f"{o.planted.skill}: {o.planted.what}", [float(o.is_repaired)], "of 1") for o in found]
    return [
        *each,
        row(TABLE, "repaired with a model, replayed", [float(with_model)], f"of {len(found)}", at_least=len(found)),
        row(TABLE, "repaired", [float(sum(o.is_repaired for o in found))], f"of {len(found)}", at_least=REPAIRED),
        row(
            TABLE,
            "true specifications left as they are",
            [float(sum(o.keeps_truth for o in found))],
            f"of {len(found)}",
            at_least=len(found),
        ),
        row(TABLE, "time for all", [seconds], "s", at_most=SECONDS),
    ]
