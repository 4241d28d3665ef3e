"""Random small domains for planning, and a reading of plans by single tokens."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

from flowrl.errors import PlanError
from flowrl.fluents import Vocabulary
from flowrl.planning.check import check
from flowrl.planning.planner import plan
from flowrl.schema.plan import Plan
from flowrl.schema.skill import Quantity, Skill, SkillSpec

CAPACITY, FLOORS = 3, 2


GAME = Vocabulary(capacity=CAPACITY, tiers={"tool": 2}, intrinsics=("drink",), full=2, floors=FLOORS)


ITEMS, STATIONS = ("a", "b"), ("near:x", "near:y")


FACTS = (*ITEMS, "tool", *STATIONS, "placed:x", "intrinsic:drink", "reached:1")


few = st.builds(Quantity, per_n=st.integers(0, 1), base=st.integers(0, 2))


one, two = st.just(Quantity(base=1)), st.builds(Quantity, base=st.integers(1, 2))


def some(names: tuple[str, ...], amount: st.SearchStrategy[Quantity], most: int = 1) -> st.SearchStrategy[dict]:
    return st.dictionaries(st.sampled_from(names), amount, max_size=most)


specs = st.builds(
    lambda held, tools, at, spent, made, leads, floors, to_floor, stays, most: SkillSpec(
        requires=held | tools | at, consumes=spent, yields=made | leads, floors=floors, to_floor=to_floor, stays=stays,
        max_n=most,
    ),
    some(ITEMS, few), some(("tool", "intrinsic:drink"), two), some((*STATIONS, "placed:x"), one), some(ITEMS, few),
    some((*ITEMS, "tool"), two | st.just(Quantity(per_n=1)), 2),
    some((*STATIONS, "placed:x", "intrinsic:drink"), one, 2),
    st.sampled_from([None, None, None, (0,), (1,), (0, 1)]), st.sampled_from([None, None, None, 0, 1]), st.booleans(),
    st.sampled_from([None, None, 1, 2]),
)  # fmt: skip


SOURCE = SkillSpec(yields={"a": Quantity(per_n=1)})


domains = st.lists(specs, min_size=2, max_size=5).map(
    lambda found: {f"S{i}": Skill(name=f"S{i}", code="", spec=spec) for i, spec in enumerate([SOURCE, *found])}
)


goals = st.one_of(
    st.tuples(st.sampled_from(ITEMS), st.integers(1, CAPACITY)).map(lambda goal: f"{goal[0]}={goal[1]}"),
    st.sampled_from(["tool", "tool=2", "near:x", "placed:x", "floor:1", "reached:1, floor:0"]),
    st.sampled_from(["a=2, b, tool", "near:y, b=2", "placed:x, floor:1", "tool=2, near:x", "intrinsic:drink, a"]),
)  # fmt: skip


@dataclass
class Hand:
    """A third reading of what a spec means, by single tokens."""

    game: Vocabulary = GAME
    tokens: list[str] = field(init=False)
    floor: int = 0

    def __post_init__(self) -> None:
        self.tokens = ["reached:0", *(f"intrinsic:{name}" for name in self.game.intrinsics * self.game.full)]

    def token(self, fluent: str) -> str:
        return f"{fluent} on {self.floor}" if fluent.startswith("placed:") else fluent

    def do(self, spec: SkillSpec, n: int) -> bool:
        """Does a skill, returns False where it cannot be done."""
        if (spec.floors is not None and self.floor not in spec.floors) or n > (spec.max_n or n):
            return False
        if any(self.tokens.count(self.token(f)) < q.per_n * n + q.base for f, q in spec.requires.items()):
            return False
        for fluent, quantity in spec.consumes.items():
            for _ in range(quantity.per_n * n + quantity.base):
                if fluent not in self.tokens:
                    return False
                self.tokens.remove(fluent)
        stays = spec.stays and spec.to_floor is None
        self.tokens = [
            t for t in self.tokens if not t.startswith("intrinsic:") and (stays or not t.startswith("near:"))
        ]
        if spec.to_floor is not None:
            self.floor = spec.to_floor
            self.tokens.append(f"reached:{self.floor}")
        for fluent, quantity in spec.yields.items():
            wanted = quantity.per_n * n + quantity.base
            if wanted > self.game.most(fluent):
                return False
            self.tokens += [self.token(fluent)] * max(0, wanted - self.tokens.count(self.token(fluent)))
        return True

    def holds(self, goal: str) -> bool:
        """Returns whether all parts of a goal hold."""
        for part in goal.split(", "):
            name, _, amount = part.partition("=")
            there = int(name == f"floor:{self.floor}") + self.tokens.count(self.token(name))
            if there < int(amount or 1):
                return False
        return True


def plays(found: Plan, skills: Mapping[str, Skill], game: Vocabulary = GAME) -> bool:
    hand = Hand(game)
    return all(hand.do(skills[step.skill].spec, step.n) for step in found.steps) and hand.holds(found.goal)


def passes(found: Plan, skills: Mapping[str, Skill]) -> bool:
    try:
        check(found, skills, vocabulary=GAME)
    except PlanError:
        return False
    return True


def found_or_none(goal: str, skills: Mapping[str, Skill]) -> Plan | None:
    try:
        return plan(goal, skills, vocabulary=GAME)
    except PlanError:
        return None


def mutations(found: Plan, rng: random.Random) -> list[Plan]:
    """Returns the plan with a step dropped, two swapped, one repeated, and an amount lowered or raised."""
    steps, i, j = list(found.steps), rng.randrange(len(found.steps)), rng.randrange(len(found.steps))
    swapped = steps.copy()
    swapped[i], swapped[j] = steps[j], steps[i]
    others = [
        [*steps[:i], steps[i].model_copy(update={"n": steps[i].n + by}), *steps[i + 1 :]]
        for by in (-1, 1)
        if steps[i].n + by >= 1
    ]
    dropped, repeated = steps[:i] + steps[i + 1 :], [*steps[: i + 1], *steps[i:]]
    return [found.model_copy(update={"steps": tuple(each)}) for each in (dropped, swapped, repeated, *others)]
