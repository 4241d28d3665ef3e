"""Planning: whether plans are found and hold, and how long they take; no jax is imported."""

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from benchmarks.tables.domains import random_domain
from benchmarks.tables.measure import Row, row
from flowrl.errors import PlanError
from flowrl.fluents import ACHIEVEMENT, Vocabulary
from flowrl.knowledge.base import load_base
from flowrl.planning.check import check
from flowrl.planning.frontier import Frontier
from flowrl.planning.planner import plan
from flowrl.schema.plan import Plan
from flowrl.schema.skill import Skill

BASES = ("Craftax-Classic-Symbolic-v1", "Craftax-Symbolic-v1")
DOMAINS = 1_000
TURNS = 5
FRONTIER_SKILLS = 60
GEMS = "armour=4, sapphire=9, ruby=9, pickaxe=4, sword=4, bow"
HARD_GOAL = "diamond=9, wood_pickaxe, stone_pickaxe, iron_pickaxe, wood_sword, stone_sword, iron_sword"


def _timed(goal: str, skills: Mapping[str, Skill], vocabulary: Vocabulary) -> tuple[float, Plan | None]:
    """Returns the seconds that planning took, and the plan if it was found and holds when it is replayed again."""
    begin = time.perf_counter()
    try:
        found = plan(goal, skills, vocabulary=vocabulary)
        seconds = time.perf_counter() - begin
        check(found, skills, vocabulary=vocabulary)
    except PlanError:
        return time.perf_counter() - begin, None
    return seconds, found


def _bases() -> list[Row]:
    bases = [load_base(name) for name in BASES]
    seconds, held = [], []
    for base in bases:
        for skill in base.skills:
            turns = [_timed(skill.name, base.named(), base.vocabulary) for _ in range(TURNS)]
            seconds.append(1000 * statistics.median(took for took, _ in turns))
            held.append(all(found is not None for _, found in turns))
    table = "plans of both knowledge bases"
    return [
        row(table, "skills", [len(held)], "skills"),
        row(table, "plans that pass check", [100 * sum(held) / len(held)], "%", at_least=100),
        row(table, "time for a plan, median", seconds, "ms", at_most=20),
        row(table, "time for a plan, worst", [max(seconds)], "ms", at_most=1000),
        row(table, "modules of jax imported by planning", [_jax_modules()], "modules", at_most=0),
    ]


def _jax_modules() -> int:
    code = (
        "import sys; from flowrl.knowledge.base import load_base; from flowrl.planning.planner import plan; "
        f"b = load_base({BASES[0]!r}); plan('Collect Diamond', b.named(), vocabulary=b.vocabulary); "
        "print(sum(name.split('.')[0] in ('jax', 'jaxlib', 'craftax') for name in sys.modules))"
    )
    return int(subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True, text=True).stdout)


def _hard() -> list[Row]:
    base = load_base(BASES[0])
    turns = [_timed(HARD_GOAL, base.named(), base.vocabulary) for _ in range(TURNS)]
    found = turns[0][1]
    table = "9 diamonds and every tool on Classic from nothing"
    return [
        row(table, "found and checked", [float(found is not None)], "of 1", at_least=1),
        row(table, "time", [seconds for seconds, _ in turns], "s", at_most=2),
        row(table, "skill executions", [float(len(found.steps) if found else 0)], "steps"),
    ]


def _large() -> list[Row]:
    base = load_base(BASES[1])
    events = sorted({f for skill in base.skills for f in skill.spec.yields if f.startswith(ACHIEVEMENT)})
    rows = []
    for name, goal in (
        ("gems and all of iron and diamond", GEMS),
        ("every achievement of the base", ", ".join(events)),
    ):
        turns = [_timed(goal, base.named(), base.vocabulary) for _ in range(TURNS)]
        found = turns[0][1]
        rows += [
            row("large goals of the full game", f"{name}, time", [seconds for seconds, _ in turns], "s", at_most=2),
            row("large goals of the full game", name, [float(len(found.steps) if found else 0)], "steps", at_least=1),
        ]
    return rows


def _random() -> list[Row]:
    seconds, held, longer = [], 0, 0
    shares = dict.fromkeys(("capacity", "tiers", "stations", "consumption"), 0)
    for seed in range(DOMAINS):
        domain = random_domain(seed)
        for feature in domain.features:
            shares[feature] += 1
        took, found = _timed(domain.goal, domain.skills, domain.vocabulary)
        seconds.append(1000 * took)
        if found is not None:
            held += 1
            longer += len(found.steps) > len(domain.witness.steps)
    table = f"{DOMAINS:,} random solvable domains of 30 skills"
    features = [
        row(table, f"domains where {name} matters", [100 * count / DOMAINS], "%", at_least=30)
        for name, count in shares.items()
    ]
    return [
        row(table, "plans found and checked", [100 * held / DOMAINS], "%", at_least=100),
        row(table, "time for a plan, median", seconds, "ms", at_most=50),
        row(table, "time for a plan, worst", [max(seconds)], "ms", at_most=2000),
        row(table, "plans longer than the one known", [float(longer)], "plans", at_most=0),
        *features,
    ]


def _frontier() -> list[Row]:
    """60 skills: the full game's, and Classic's under names of their own; the first of them learned, however many."""
    bases = [load_base(name) for name in BASES]
    named = [(f"{base.env}: {skill.name}", skill) for base in reversed(bases) for skill in base.skills]
    skills = [skill.model_copy(update={"name": name}) for name, skill in named[:FRONTIER_SKILLS]]
    took = [
        statistics.median(_judging(skills, count, bases[1].vocabulary) for _ in range(TURNS))
        for count in range(len(skills) + 1)
    ]
    return [
        row("frontier", f"{len(skills)} skills, 0 to {len(skills)} of them learned", took, "ms", at_most=50),
        row("frontier", f"the worst of these, {took.index(max(took))} learned", [max(took)], "ms", at_most=50),
    ]


def _judging(skills: Sequence[Skill], count: int, vocabulary: Vocabulary) -> float:
    """Returns the milliseconds to judge all skills where the first ``count`` are learned."""
    begin = time.perf_counter()
    Frontier({skill.name: skill for skill in skills[:count]}, vocabulary, skills).judge_all(skills)
    return 1000 * (time.perf_counter() - begin)


def measure() -> list[Row]:
    """Returns the figures of planning, held against their targets."""
    return [*_bases(), *_hard(), *_large(), *_random(), *_frontier()]
