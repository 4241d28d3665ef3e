"""Segments: a skill done once, from the start of its task to its end, as amounts of fluents. And where it was played.

Everything here is a frozen value with one JSON form.
"""

from collections.abc import Mapping

from flowrl.schema.frozen import Frozen

ENOUGH = 10
"""Successful segments below which statistics say too little to be computed."""


class Segment(Frozen):
    """One successful execution of a skill. Amounts of zero are left out.

    Attributes:
        n: the amount that was wanted.
        steps: how many steps it took.
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
    start = amounts_text(trajectory.start)
    return "\n".join(
        [f"{trajectory.title}: n = {trajectory.n}, {len(trajectory.frames)} steps", f"    start: {start}", *lines]
    )


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
