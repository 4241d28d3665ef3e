"""Segments of play and their statistics.

A segment is a skill done once, from the start of its task to its end, as amounts of fluents. Everything here is a
frozen value with one JSON form.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from flowrl.errors import UsageError
from flowrl.knowledge.quantities import quantity_text
from flowrl.schema.frozen import Frozen
from flowrl.schema.skill import Quantity

ENOUGH = 10
"""Successful segments below which statistics say too little to be computed."""


class Segment(Frozen):
    """One successful execution of a skill. Amounts of zero are left out.

    Attributes:
        action: the name of the last action.
        start: what was there when the task began.
        before: what was there just before the last step.
        end: what was there when the task was done.
    """

    n: int
    steps: int
    action: str
    start: dict[str, int]
    before: dict[str, int]
    end: dict[str, int]


class Frame(Frozen):
    """One step of a trajectory.

    Attributes:
        changed: by how much the amounts of fluents changed in the step.
        near: the things nearest to the player before it: (name, columns to the right, rows down).
    """

    action: str
    changed: dict[str, int]
    near: tuple[tuple[str, int, int], ...] = ()


class Trajectory(Frozen):
    """A segment step by step, to be read.

    Attributes:
        title: why this one is shown.
    """

    title: str
    n: int
    start: dict[str, int]
    frames: tuple[Frame, ...]


def amounts_text(amounts: Mapping[str, int], nothing: str = "nothing") -> str:
    """Amounts on one line, e.g. ``3 wood, near:crafting_table``."""
    shown = [fluent if amount == 1 and ":" in fluent else f"{amount} {fluent}" for fluent, amount in amounts.items()]
    return ", ".join(shown) or nothing


def trajectory_text(trajectory: Trajectory, most: int = 60) -> str:
    """A trajectory as lines of text.

    Runs of an uneventful action are joined, and the middle of a long one is left out.
    """
    lines = list(_lines(trajectory))
    if len(lines) > most:
        left_out = f"    ... {len(lines) - most} lines left out ..."
        lines = [*lines[: most // 2], left_out, *lines[len(lines) - most // 2 :]]
    title = f"{trajectory.title}: n = {trajectory.n}, {len(trajectory.frames)} steps"
    return "\n".join([title, f"    start: {amounts_text(trajectory.start)}", *lines])


def _lines(trajectory: Trajectory) -> list[str]:
    lines, repeated = [], 0
    for i, frame in enumerate(trajectory.frames):
        following = trajectory.frames[i + 1] if i + 1 < len(trajectory.frames) else None
        if not frame.changed and following is not None and following.action == frame.action:
            repeated += 1
            continue
        times = f" x{repeated + 1}" if repeated else ""
        changed = ", ".join(f"{fluent} {by:+d}" for fluent, by in frame.changed.items())
        near = "; near " + ", ".join(f"{name} ({x:+d}, {y:+d})" for name, x, y in frame.near) if frame.near else ""
        lines.append(f"    {i + 1:4} {frame.action}{times}: {changed or 'no change'}{near}")
        repeated = 0
    return lines


class Spread(Frozen):
    """How some numbers lie: the least, the median, the most."""

    least: int
    median: float
    most: int

    def __str__(self) -> str:
        """E.g. ``2`` where all are the same, else ``1 / 2 / 5``."""
        return str(self.least) if self.least == self.most else f"{self.least} / {self.median:g} / {self.most}"


class FluentStatistics(Frozen):
    """One fluent over all segments.

    Attributes:
        start, end: amounts when the task began and when it was done.
        consumed, gained: how much less, and how much more, there was at the end than at the start.
        min_start, min_end: the least amounts for each n that was seen.
        spent_before: for each n, the least that was gone before the last step began.
        consumed_for, gained_for: the same as an amount that grows with n; None where a line does not fit the medians.
    """

    fluent: str
    start: Spread
    end: Spread
    consumed: Spread
    gained: Spread
    min_start: dict[int, int]
    min_end: dict[int, int]
    spent_before: dict[int, int]
    consumed_for: Quantity | None
    gained_for: Quantity | None


class Statistics(Frozen):
    """What the segments of a skill show.

    Attributes:
        ns: how many of them wanted each n.
        actions: how often each action was the last one, the most frequent first.
        fluents: those that were there at the start or at the end of any segment.
        scripted: no policy was played, but an action known to complete the skill, from random starts.
    """

    skill: str
    segments: int
    ns: dict[int, int]
    steps: Spread
    actions: dict[str, int]
    fluents: tuple[FluentStatistics, ...]
    scripted: bool = False

    def named(self) -> dict[str, FluentStatistics]:
        """The statistics by fluent."""
        return {each.fluent: each for each in self.fluents}


def statistics_of(skill: str, segments: Sequence[Segment], scripted: bool = False) -> Statistics:
    """What the segments have in common.

    Raises:
        UsageError: there are fewer than 10.
    """
    if len(segments) < ENOUGH:
        raise UsageError(
            f"{len(segments)} successful segments of {skill!r} are too few for statistics: {ENOUGH} are needed. "
            f"Train it further, or analyse it by probing alone."
        )
    names = sorted({fluent for each in segments for fluent in (*each.start, *each.end)})
    return Statistics(
        skill=skill,
        segments=len(segments),
        ns=dict(sorted(Counter(each.n for each in segments).items())),
        steps=spread([each.steps for each in segments]),
        actions=dict(Counter(each.action for each in segments).most_common()),
        fluents=tuple(_of_fluent(fluent, segments) for fluent in names),
        scripted=scripted,
    )


def spread(values: Sequence[int]) -> Spread:
    """The spread of some numbers."""
    return Spread(least=min(values), median=statistics.median(values), most=max(values))


def _of_fluent(fluent: str, segments: Sequence[Segment]) -> FluentStatistics:
    rows = [(s.n, *(amounts.get(fluent, 0) for amounts in (s.start, s.before, s.end))) for s in segments]
    ns = sorted({row[0] for row in rows})

    def least(values: Sequence[tuple[int, int]]) -> dict[int, int]:
        return {n: min(value for of, value in values if of == n) for n in ns}

    consumed = [(n, max(0, start - end)) for n, start, _, end in rows]
    gained = [(n, max(0, end - start)) for n, start, _, end in rows]
    return FluentStatistics(
        fluent=fluent,
        start=spread([start for _, start, _, _ in rows]),
        end=spread([end for _, _, _, end in rows]),
        consumed=spread([value for _, value in consumed]),
        gained=spread([value for _, value in gained]),
        min_start=least([(n, start) for n, start, _, _ in rows]),
        min_end=least([(n, end) for n, _, _, end in rows]),
        spent_before=least([(n, max(0, start - before)) for n, start, before, _ in rows]),
        consumed_for=fit({n: statistics.median(v for of, v in consumed if of == n) for n in ns}),
        gained_for=fit({n: statistics.median(v for of, v in gained if of == n) for n in ns}),
    )


def fit(points: Mapping[int, int | float]) -> Quantity | None:
    """The line ``per_n * n + base`` through every point. None where there is none.

    A single point is taken for an amount that does not grow with n.

    >>> fit({1: 2, 3: 6})
    Quantity(per_n=2, base=0)
    """
    if not points:
        return None
    first, last = min(points), max(points)
    slope = 0.0 if first == last else (points[last] - points[first]) / (last - first)
    base = points[first] - slope * first
    found = Quantity(per_n=round(slope), base=round(base))
    return found if all(found.at(n) == amount for n, amount in points.items()) else None


def statistics_text(found: Statistics) -> str:
    """The statistics as lines for people or prompts. Fluents that never occurred are left out."""
    how = "played by a script from starts drawn at random" if found.scripted else "played by the skill's policy"
    ns = ", ".join(f"{n} ({count})" for n, count in found.ns.items())
    actions = ", ".join(f"{action} ({count})" for action, count in found.actions.items())
    lines = [
        f"{found.segments} successful segments of {found.skill}, {how}.",
        f"n wanted (segments): {ns}. Steps: {found.steps}. Last action (segments): {actions}.",
        "Amounts are least / median / most, or one number where all are the same.",
    ]
    for each in found.fluents:
        parts = [f"start {each.start}", f"end {each.end}"]
        changes = (("consumed", each.consumed, each.consumed_for), ("gained", each.gained, each.gained_for))
        for label, change, rate in changes:
            if change.most:
                per_n = rate is not None and rate.per_n != 0
                parts.append(f"{label} {change}" + (f" = {quantity_text(rate)}" if rate and per_n else ""))
        lines.append(f"  {each.fluent}: {', '.join(parts)}")
    return "\n".join(lines)
