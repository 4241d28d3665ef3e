"""Correct a specification by what was found out. Each change comes with its reason.

Whatever could not be tried is left as the specification says, unless successful segments contradict it. A way that was
tried says what is needed, spent and left; segments say what a policy can do without.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flowrl.analysis.findings import ByN, Findings, Way
from flowrl.analysis.segments import Statistics, fit
from flowrl.fluents import INTRINSIC, NEAR, PLACED
from flowrl.knowledge.quantities import quantity_text
from flowrl.schema.frozen import Frozen
from flowrl.schema.skill import Quantity, SkillSpec

PARTS = ("requires", "consumes", "yields")


class Change(Frozen):
    """One thing that a specification should say otherwise.

    Attributes:
        part: "requires", "consumes" or "yields".
        before, after: the amount as it is and as it should be; None: not there at all.
    """

    part: str
    fluent: str
    before: Quantity | None
    after: Quantity | None
    evidence: str

    def __str__(self) -> str:
        """E.g. ``requires wood: 5 -> 2. Table ...``."""
        was, will = (quantity_text(q) if q is not None else "nothing" for q in (self.before, self.after))
        return f"{self.part} {self.fluent}: {was} -> {will}. {self.evidence}"


class Repair(Frozen):
    """A corrected specification.

    Attributes:
        changes: what makes it differ from the one that it was made from; none: that one holds.
        way: the index of the way that it follows, None where there was none.
    """

    spec: SkillSpec
    changes: tuple[Change, ...]
    way: int | None = None


def repair(spec: SkillSpec, findings: Findings) -> Repair:
    """The specification corrected where the findings contradict it.

    Where a skill was done in several ways, those that end as successful segments mostly do count alone, if there are
    any; among them, the one that contradicts the specification least.
    """
    ways = _ways_to_follow(findings)
    if not ways:
        return _Corrections(spec, None, findings.statistics).made(None)
    repairs = [_Corrections(spec, findings.ways[i], findings.statistics).made(i) for i in ways]
    return min(repairs, key=lambda each: len(each.changes))


def consistent_with(spec: SkillSpec, findings: Findings) -> list[str]:
    """How the findings contradict a specification. One sentence each; empty: they agree."""
    return [str(change) for change in repair(spec, findings).changes]


def _ways_to_follow(findings: Findings) -> list[int]:
    found = findings.statistics
    played = found is not None and not found.scripted
    if not played or found is None:
        return list(range(len(findings.ways)))
    last = next(iter(found.actions))
    # Where the policy ends with an action that was never tried, what was done otherwise says nothing of what it needs.
    return [i for i, way in enumerate(findings.ways) if way.action == last]


@dataclass
class _Corrections:
    """Corrections of one specification by one way."""

    spec: SkillSpec
    way: Way | None
    statistics: Statistics | None
    changes: list[Change] = field(default_factory=list)

    def made(self, number: int | None) -> Repair:
        """The repair."""
        self.seen = self.statistics.named() if self.statistics is not None else {}
        self.parts = {part: dict(getattr(self.spec, part)) for part in PARTS}
        least = self.way.least if self.way is not None else {}
        stations = {f.removeprefix(p) for p in (NEAR, PLACED) for f in (*least, *self._asked()) if f.startswith(p)}
        for fluent in sorted({*least, *self._asked()}):
            if not fluent.startswith((NEAR, PLACED)):
                self._correct_need(fluent)
        for station in sorted(stations):
            self._correct_station(station)
        for fluent in sorted({*self.spec.consumes, *(self.way.consumed if self.way else ())}):
            self._correct_consumption(fluent)
        for fluent in sorted({*self.spec.yields, *(self.way.ended if self.way else ())}):
            self._correct_yield(fluent)
        return Repair(spec=self.spec.model_copy(update=self.parts), changes=tuple(self.changes), way=number)

    def _asked(self) -> list[str]:
        return sorted({*self.spec.requires, *self.spec.consumes})

    def _ns(self) -> list[int]:
        if self.way is not None:
            return list(self.way.ns)
        return list(self.statistics.ns) if self.statistics is not None else []

    def _change(self, part: str, fluent: str, after: Quantity | None, evidence: str) -> None:
        before = self.parts[part].get(fluent)
        if after == before:
            return
        self.changes.append(Change(part=part, fluent=fluent, before=before, after=after, evidence=evidence))
        if after is None:
            self.parts[part].pop(fluent)
        else:
            self.parts[part][fluent] = after

    def _correct_need(self, fluent: str) -> None:
        """Correct how much of anything but a station must be there."""
        ns = self._ns()
        asked = {n: self.spec.needed(n).get(fluent, 0) for n in ns}
        least, tried = asked, ""
        if self.way is not None and fluent in self.way.least:
            least = self.way.least[fluent]
            tried = _tried(self.way, fluent, least)
        there = self._always_there(fluent, ns)
        wanted = _at_most(least, there)
        if all(wanted[n] == asked[n] for n in wanted):
            return
        evidence = tried
        if wanted != least or not tried:
            evidence = _without(self.statistics, fluent, there)
        after = _amount(wanted, max)
        self._change("requires", fluent, after, evidence)
        consumed = self.parts["consumes"].get(fluent)
        if consumed is not None and any(consumed.at(n) > amount for n, amount in wanted.items()):
            self._change("consumes", fluent, after, f"{evidence} What is not needed cannot be spent.")

    def _always_there(self, fluent: str, ns: Sequence[int]) -> ByN:
        """The least amount at the start of successful segments, by n. Empty where no segment was seen."""
        if self.statistics is None:
            return {}
        seen = self.seen.get(fluent)
        by_n = seen.min_start if seen is not None else dict.fromkeys(self.statistics.ns, 0)
        return {n: by_n[n] for n in ns if n in by_n}

    def _correct_station(self, station: str) -> None:
        """Correct whether a station must be near or placed."""
        near, placed = NEAR + station, PLACED + station
        asked = [part for part in (near, placed) if self._asks(part)]
        tried = self._station_need(station)
        always = [part for part in (near, placed) if self._was_always_there(part)]
        if self.statistics is not None and any(part not in always for part in asked):
            wanted, evidence = [part for part in always if tried is None or part in tried][:1], "a policy does without"
            why = "; ".join(_without(self.statistics, part, self._always_there(part, self._ns())) for part in asked)
            self._swap(asked, wanted, why or evidence)
            return
        if tried is None or self.way is None:
            return
        if not tried:
            self._swap(asked, [], f"{self.way} works without any {station}.")
        elif asked and set(asked) <= set(tried) and not (asked == [placed] and self.spec.stays and near in tried):
            return  # a policy that goes back to a station needs only that it stands; the last step says nothing of it
        else:
            wanted = [part for part in tried if self.statistics is None or part in always][:1]
            if wanted:
                self._swap(asked, wanted, self._why_station(station, wanted[0]))

    def _why_station(self, station: str, wanted: str) -> str:
        if wanted.startswith(NEAR):
            return f"{self.way} works with a {station} within reach and never with one out of reach or none."
        return f"{self.way} works with a {station} on the floor and never without one."

    def _station_need(self, station: str) -> list[str] | None:
        """The fluents of a station that were needed, strongest first. None: not tried."""
        if self.way is None or PLACED + station not in self.way.least:
            return None
        return [f for f in (NEAR + station, PLACED + station) if any(self.way.least.get(f, {}).values())]

    def _asks(self, fluent: str) -> bool:
        return any(self.spec.needed(n).get(fluent, 0) > 0 for n in self._ns() or [1])

    def _was_always_there(self, fluent: str) -> bool:
        there = self._always_there(fluent, list(self.statistics.ns) if self.statistics is not None else [])
        return bool(there) and all(amount > 0 for amount in there.values())

    def _swap(self, asked: Sequence[str], wanted: Sequence[str], evidence: str) -> None:
        for part in asked:
            if part not in wanted:
                self._change("requires", part, None, evidence)
        for part in wanted:
            if part not in asked:
                self._change("requires", part, Quantity(base=1), evidence)

    def _correct_consumption(self, fluent: str) -> None:
        now = self.parts["consumes"].get(fluent)
        if self.way is not None and self.way.is_bare and fluent in self.way.least:
            spent = self.way.consumed.get(fluent, dict.fromkeys(self.way.ns, 0))
            if any((now or Quantity()).at(n) != amount for n, amount in spent.items()):
                after = _amount(spent, max)
                self._change("consumes", fluent, after, f"{self.way} takes {_by_n(spent)} of it.")
            return
        seen = self.seen.get(fluent)
        if now is None or seen is None or self.statistics is None or self.statistics.scripted:
            return
        most = max(now.at(n) for n in self.statistics.ns)
        if seen.consumed.most < min(now.at(n) for n in self.statistics.ns) or seen.consumed.least > most:
            rate = seen.consumed_for or Quantity(base=seen.consumed.most)
            after = rate if rate != Quantity() else None
            of = f"{self.statistics.segments} successful segments"
            self._change("consumes", fluent, after, f"In {of}, {seen.consumed} of it was gone at the end.")

    def _correct_yield(self, fluent: str) -> None:
        """Correct what is there at the end. Never more than there was in any segment. More only where it rose."""
        now, ns = self.parts["yields"].get(fluent), self._ns()
        claimed = {n: now.at(n) if now is not None else 0 for n in ns}
        found = self._tried_yield(fluent, claimed)
        evidence = f"{self.way} leaves {_by_n(found)} of it." if found != claimed else ""
        if self.statistics is not None and not self.statistics.scripted:
            ends = self._always_at_end(fluent)
            lower = _at_most(found, ends)
            if lower != found:
                found = lower
                of = f"{self.statistics.segments} successful segments"
                evidence = f"At the end of {of} there was {_by_n(ends)} of it at least."
        if any(claimed[n] != amount for n, amount in found.items()):
            self._change("yields", fluent, _amount(found, min), evidence)

    def _tried_yield(self, fluent: str, claimed: ByN) -> ByN:
        if self.way is None or not self.way.is_bare or (fluent.startswith(INTRINSIC) and not self.way.has_body):
            return claimed
        # What was there from the start, because it is needed, is there afterwards as well unless it was spent.
        kept = self.way.least.get(fluent, {})
        spent = self.way.consumed.get(fluent, {})
        still = {n: kept.get(n, 0) - spent.get(n, 0) for n in claimed}
        ended = self.way.ended.get(fluent)
        if ended is not None:
            return dict(ended)
        return {n: min(amount, still[n]) for n, amount in claimed.items()}

    def _always_at_end(self, fluent: str) -> ByN:
        if self.statistics is None:
            return {}
        seen = self.seen.get(fluent)
        return dict(seen.min_end) if seen is not None else dict.fromkeys(self.statistics.ns, 0)


def _at_most(points: ByN, bounds: ByN) -> ByN:
    """The points lowered to the bounds. If that changes any, only those that have a bound."""
    if all(amount <= bounds.get(n, amount) for n, amount in points.items()):
        return dict(points)
    return {n: min(amount, bounds[n]) for n, amount in points.items() if n in bounds}


def _amount(points: Mapping[int, int], bound_fn: Callable[[list[int]], int]) -> Quantity | None:
    """One linear amount for the amounts of each n. Where no line fits, a bound for all; None for zero."""
    if not any(points.values()):
        return None
    found = fit(points) or Quantity(base=bound_fn(list(points.values())))
    return found if found != Quantity() else None


def _by_n(points: Mapping[int, int]) -> str:
    if len(set(points.values())) == 1:
        return str(next(iter(points.values())))
    return ", ".join(f"{amount} for n = {n}" for n, amount in points.items())


def _tried(way: Way, fluent: str, least: Mapping[int, int]) -> str:
    if not any(least.values()):
        return f"{way} works without any {fluent}, with everything else at hand."
    return f"{way} works with {_by_n(least)} {fluent} and never with less, with everything else at hand."


def _without(statistics: Statistics | None, fluent: str, there: Mapping[int, int]) -> str:
    of = f"{statistics.segments} successful segments" if statistics is not None else "successful segments"
    return f"Among {of} there were some that began with {_by_n(there) if there else 0} {fluent}."
