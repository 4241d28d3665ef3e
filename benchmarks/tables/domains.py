"""Random solvable planning domains: skills are made up along a walk that does them, so that a plan is known."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from flowrl.fluents import NEAR, PLACED, Vocabulary
from flowrl.planning.symbolic import SymbolicState, apply, missing
from flowrl.schema.plan import Plan, PlanStep
from flowrl.schema.skill import Quantity, Skill, SkillSpec

ITEMS = tuple(f"item{i}" for i in range(8))
TIERS = ("tool0", "tool1")
STATIONS = ("bench", "oven", "anvil")
HIGHEST_TIER = 4


@dataclass(frozen=True)
class RandomDomain:
    """A made-up domain.

    Attributes:
        skills: in the order of their making.
        goal: what some plan reaches.
        witness: such a plan; not a short one.
        features: which of "capacity", "tiers", "stations" and "consumption" matter in the witness.
    """

    vocabulary: Vocabulary
    skills: dict[str, Skill]
    goal: str
    witness: Plan
    features: frozenset[str]


def random_domain(seed: int, skills: int = 30) -> RandomDomain:
    """Returns the domain of this seed: a walk from empty hands that now does a known skill again, now makes up one that
    what is in hand allows, and ends when there are ``skills``."""
    rng = random.Random(seed)
    vocabulary = Vocabulary(capacity=rng.choice((5, 9)), tiers=dict.fromkeys(TIERS, HIGHEST_TIER))
    made: dict[str, Skill] = {}
    state, steps, features = SymbolicState(), list[PlanStep](), set[str]()
    while len(made) < skills:
        again = [s for s in made.values() if not missing(state, s.spec, 1, vocabulary)]
        if again and rng.random() < 0.4:
            skill = rng.choice(again)
        else:
            skill = _make_up(rng, f"Skill {len(made)}", len(made), state, vocabulary)
            made[skill.name] = skill
        n = _amount(rng, skill, state, vocabulary)
        features |= _features(skill, state, n, vocabulary)
        state = apply(state, skill.spec, n)
        steps.append(PlanStep(skill=skill.name, n=n))
    goal = _goal(rng, state)
    return RandomDomain(vocabulary, made, goal, Plan(goal=goal, steps=tuple(steps)), frozenset(features))


def _make_up(rng: random.Random, name: str, number: int, state: SymbolicState, vocabulary: Vocabulary) -> Skill:
    held = state.amounts()
    items = [f for f in held if f in ITEMS]
    taken = rng.sample(items, min(len(items), rng.choice((0, 1, 1, 2))))
    consumes = {f: Quantity(base=rng.randint(1, held[f])) for f in taken}
    requires = {f: Quantity(base=held[f]) for f in TIERS if f in held and rng.random() < 0.4}
    near = [f for f in held if f.startswith(NEAR)]
    requires |= {f: Quantity(base=1) for f in near if rng.random() < 0.6}
    yields, stays = _yields(rng, number, state, vocabulary, bool(consumes or requires))
    return Skill(name=name, code="", spec=SkillSpec(requires=requires, consumes=consumes, yields=yields, stays=stays))


def _yields(
    rng: random.Random, number: int, state: SymbolicState, vocabulary: Vocabulary, costs: bool
) -> tuple[dict[str, Quantity], bool]:
    kind = rng.choice(
        ("item", "item", "tier", "station", "achievement") if costs else ("item", "item", "item", "station")
    )
    if kind == "item":
        amount = Quantity(per_n=1) if rng.random() < 0.6 else Quantity(base=rng.randint(1, vocabulary.capacity))
        return {rng.choice(ITEMS): amount}, rng.random() < 0.2
    if kind == "tier":
        tool = rng.choice(TIERS)
        return {tool: Quantity(base=min(HIGHEST_TIER, state.amount(tool) + 1))}, rng.random() < 0.7
    if kind == "station":
        station = rng.choice(STATIONS)
        placed = [Quantity(base=1)] * 2
        return dict(zip((NEAR + station, PLACED + station), placed, strict=True)), rng.random() < 0.5
    return {f"achievement:A{number}": Quantity(base=1)}, rng.random() < 0.3


def _amount(rng: random.Random, skill: Skill, state: SymbolicState, vocabulary: Vocabulary) -> int:
    if not skill.spec.scales:
        return 1
    fitting = [n for n in range(1, vocabulary.capacity + 1) if not missing(state, skill.spec, n, vocabulary)]
    return rng.choice(fitting)


def _features(skill: Skill, state: SymbolicState, n: int, vocabulary: Vocabulary) -> set[str]:
    spec, found = skill.spec, set[str]()
    if spec.consumes:
        found.add("consumption")
    if any(f in TIERS for f in spec.requires):
        found.add("tiers")
    if any(f.startswith(NEAR) for f in spec.requires):
        found.add("stations")
    if any(q.at(n) + state.amount(f) > vocabulary.capacity for f, q in spec.yields.items() if f in ITEMS):
        found.add("capacity")
    return found


def _goal(rng: random.Random, state: SymbolicState) -> str:
    facts: Sequence[tuple[str, int]] = [(f, a) for f, a in state.facts if "@" not in f]
    chosen = rng.sample(facts, min(len(facts), rng.choice((1, 2, 3))))
    return ", ".join(f if amount == 1 else f"{f}={amount}" for f, amount in chosen)
