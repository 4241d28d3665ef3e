"""Specifications held against findings, and corrected: only where something contradicts them."""

from collections.abc import Mapping

import pytest

from flowrl.analysis.findings import Findings, Way, way_text
from flowrl.analysis.repair import consistent_with, repair
from flowrl.analysis.segments import Segment, Statistics, statistics_of
from flowrl.schema.skill import Quantity, SkillSpec

ONE, TWO, N = Quantity(base=1), Quantity(base=2), Quantity(per_n=1)
NS = (1, 2, 3)
TABLE, STANDS = "near:table", "placed:table"
AXE = SkillSpec(
    requires={TABLE: ONE, "wood": TWO}, consumes={"wood": TWO}, yields={"axe": ONE, "achievement:AXE": ONE}, stays=True
)


def flat(**amounts: int) -> dict[str, dict[int, int]]:
    return {fluent: dict.fromkeys(NS, amount) for fluent, amount in amounts.items()}


AXE_WAY = Way(
    source="probing",
    action="MAKE_AXE",
    faced="GRASS",
    steps=1,
    worlds=8,
    successes=8,
    ns=NS,
    least=flat(wood=2, stone=0, saw=0, axe=0) | {TABLE: dict.fromkeys(NS, 1), STANDS: dict.fromkeys(NS, 1)},
    is_bare=True,
    consumed=flat(wood=2),
    ended=flat(axe=1) | {"achievement:AXE": dict.fromkeys(NS, 1)},
    has_body=True,
)


def found(*ways: Way, statistics: Statistics | None = None) -> Findings:
    return Findings(skill="Make Axe", env="made up", ways=ways, statistics=statistics)


def played(start: Mapping[str, int], end: Mapping[str, int], action: str = "MAKE_AXE", n: int = 1) -> list[Segment]:
    one = Segment(n=n, steps=4, action=action, start=dict(start), before=dict(start), end=dict(end))
    return [one] * 10


GOOD = played({TABLE: 1, STANDS: 1, "wood": 3}, {TABLE: 1, STANDS: 1, "wood": 1, "axe": 1, "achievement:AXE": 1})
WITHOUT_TABLE = played({"wood": 3}, {TABLE: 1, STANDS: 1, "wood": 1, "axe": 1, "achievement:AXE": 1})


def axe_but(**parts: Mapping[str, Quantity]) -> SkillSpec:
    return AXE.model_copy(update=parts)


WRONG = {
    "too much": axe_but(requires={TABLE: ONE, "wood": Quantity(base=5)}, consumes={"wood": Quantity(base=5)}),
    "too little": axe_but(requires={TABLE: ONE, "wood": ONE}, consumes={"wood": ONE}),
    "superfluous": axe_but(requires={TABLE: ONE, "wood": TWO, "saw": ONE}),
    "superfluous and spent": axe_but(
        requires={TABLE: ONE, "wood": TWO, "stone": ONE}, consumes={"wood": TWO, "stone": ONE}
    ),
    "missing": axe_but(requires={TABLE: ONE}, consumes={}),
    "no table": axe_but(requires={"wood": TWO}),
    "out of reach": axe_but(requires={STANDS: ONE, "wood": TWO}),
    "spends nothing": axe_but(consumes={}),
    "grows with n": axe_but(requires={TABLE: ONE, "wood": Quantity(per_n=2)}, consumes={"wood": Quantity(per_n=2)}),
    "yields more": axe_but(yields={"axe": TWO, "achievement:AXE": ONE}),
    "yields what it does not": axe_but(yields={"axe": ONE, "achievement:AXE": ONE, "gold": ONE}),
    "yields less": axe_but(yields={"axe": ONE}),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_error_is_put_right_with_its_evidence(what: str) -> None:
    made = repair(WRONG[what], found(AXE_WAY))
    assert made.spec == AXE and made.way == 0
    assert all(change.evidence.startswith("MAKE_AXE before GRASS ") for change in made.changes)
    assert consistent_with(WRONG[what], found(AXE_WAY)) == [str(change) for change in made.changes] != []


def test_what_holds_is_left_alone() -> None:
    assert consistent_with(AXE, found(AXE_WAY)) == []
    assert consistent_with(AXE, found(AXE_WAY, statistics=statistics_of("Make Axe", GOOD))) == []


def test_a_change_says_what_was_and_what_will_be() -> None:
    assert consistent_with(WRONG["too little"], found(AXE_WAY))[0] == (
        "requires wood: 1 -> 2. MAKE_AXE before GRASS works with 2 wood and never with less, with everything else at "
        "hand."
    )


def test_what_could_not_be_tried_is_left_as_it_is() -> None:
    odd = axe_but(requires={**AXE.requires, "achievement:SAW": ONE}, yields={**AXE.yields, "intrinsic:food": ONE})
    hungry = AXE_WAY.model_copy(update={"has_body": False})
    assert consistent_with(odd, found(hungry)) == []
    assert consistent_with(odd, found()) == []


def test_segments_contradict_what_was_absent_when_they_began() -> None:
    """Nothing was tried; but every segment began without a saw, and with one wood less than is asked."""
    spec = axe_but(requires={TABLE: ONE, "wood": Quantity(base=4), "saw": ONE})
    made = repair(spec, found(statistics=statistics_of("Make Axe", GOOD)))
    assert made.spec.requires == {TABLE: ONE, "wood": Quantity(base=3)}
    assert made.spec.consumes == AXE.consumes and made.way is None
    assert "Among 10 successful segments there were some that began with 0 saw." in [c.evidence for c in made.changes]


def test_what_a_policy_fetches_by_itself_is_not_asked_for() -> None:
    """The last step needs a table within reach; the policy began without and built one."""
    segments = statistics_of("Make Axe", WITHOUT_TABLE)
    assert repair(WRONG["no table"], found(AXE_WAY, statistics=segments)).changes == ()
    assert repair(AXE, found(AXE_WAY, statistics=segments)).spec.requires == {"wood": TWO}


def test_yields_are_at_most_what_every_segment_ended_with() -> None:
    gone = played({TABLE: 1, STANDS: 1, "wood": 3}, {STANDS: 1, "wood": 1, "axe": 1, "achievement:AXE": 1})
    segments = [*GOOD, *gone]
    claims = axe_but(yields={**AXE.yields, TABLE: ONE})
    way = AXE_WAY.model_copy(update={"is_bare": False, "consumed": {}, "ended": {}})
    made = repair(claims, found(way, statistics=statistics_of("Make Axe", segments)))
    assert made.spec.yields == AXE.yields


def test_of_several_ways_the_one_that_contradicts_least_counts() -> None:
    other = AXE_WAY.model_copy(update={"action": "BUY_AXE", "least": flat(gold=3, wood=0), "consumed": flat(gold=3)})
    assert repair(AXE, found(other, AXE_WAY)).changes == ()
    assert repair(WRONG["spends nothing"], found(other, AXE_WAY)).way == 1


def test_the_way_that_segments_end_in_counts_alone() -> None:
    other = AXE_WAY.model_copy(update={"action": "BUY_AXE", "least": flat(gold=3, wood=0), "consumed": flat(gold=3)})
    bought = statistics_of("Make Axe", played({"gold": 3, TABLE: 1, "wood": 2}, {"axe": 1}, "BUY_AXE"))
    made = repair(AXE, found(AXE_WAY, other, statistics=bought))
    assert made.way == 1 and made.spec.requires["gold"] == Quantity(base=3) and "wood" not in made.spec.requires


def test_a_station_that_is_gone_back_to_needs_only_to_stand() -> None:
    walks = axe_but(requires={STANDS: ONE, "wood": TWO}).model_copy(update={"stays": False})
    assert consistent_with(walks, found(AXE_WAY)) == []


def test_amounts_that_grow_with_n_are_found() -> None:
    arrows = SkillSpec(requires={"wood": ONE}, consumes={"wood": ONE}, yields={"arrows": N})
    grows = {n: 2 * n for n in NS}
    way = Way(
        source="probing", action="CARVE", faced="GRASS", steps=1, worlds=8, successes=8, ns=NS, is_bare=True,
        least={"wood": grows}, consumed={"wood": grows}, ended={"arrows": {n: n for n in NS}},
    )  # fmt: skip
    made = repair(arrows, found(way))
    assert made.spec.requires == made.spec.consumes == {"wood": Quantity(per_n=2)}
    assert made.spec.yields == {"arrows": N}


def test_findings_survive_their_file_and_read_well() -> None:
    findings = found(AXE_WAY, statistics=statistics_of("Make Axe", GOOD))
    assert Findings.model_validate_json(findings.model_dump_json()) == findings
    assert "least amounts that suffice: near:table 1/1/1, placed:table 1/1/1, wood 2/2/2" in way_text(AXE_WAY)
    assert "not needed: axe, saw, stone" in way_text(AXE_WAY)
