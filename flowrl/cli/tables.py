"""Tables of the commands: plans, skills, runs, measurements."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from flowrl.analysis.findings import Findings, way_text
from flowrl.analysis.repair import Repair
from flowrl.analysis.segments import Statistics, trajectory_text
from flowrl.fluents import ACHIEVEMENT, INTRINSIC, NEAR, PLACED, REACHED
from flowrl.knowledge.quantities import quantity_text
from flowrl.library.catalog import Outlook
from flowrl.library.versions import Version
from flowrl.parallel.run_reports import HomeStatus, RunReport, needs_of
from flowrl.planning.frontier import SkillStanding
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.home import SkillRecord
from flowrl.schema.plan import PlanInterrupt
from flowrl.schema.run import RunSpec
from flowrl.stats import Share

_QUIET = (ACHIEVEMENT, INTRINSIC, PLACED, REACHED)
"""Fluents left out of a plan's table; `--json` has them."""

_STATES = {
    "learned": "green", "weak": "yellow", "running": "cyan", "trained": "cyan", "interrupted": "blue",
    "waiting": "dim", "failed": "red", "cancelled": "magenta",
}  # fmt: skip


def plain_table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """An empty table without lines."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    return table


def held_text(held: Mapping[str, int]) -> str:
    """Items in hand and stations in reach. E.g. ``2 wood, wood_pickaxe, near crafting_table``."""
    parts = []
    for fluent, amount in held.items():
        if fluent.startswith(NEAR):
            parts.append(f"near {fluent.removeprefix(NEAR)}")
        elif not fluent.startswith(_QUIET):
            parts.append(fluent if amount == 1 else f"{amount} {fluent}")
    return ", ".join(sorted(parts, key=lambda part: part.startswith("near "))) or "nothing"


def plan_table(outlook: Outlook) -> Table:
    """A row for each step of a plan."""
    columns = ("step", "skill", "n", "expert", "status", "why", "held after it")
    table = plain_table(*columns, right=("step", "n", "expert"), title=f"plan for {outlook.plan.goal}")
    for i, row in enumerate(outlook.rows(), start=1):
        expert = "-" if row["expert"] is None else str(row["expert"])
        floor = f"floor {row['floor']}: " if any(state.floor for state in outlook.after) else ""
        held = floor + held_text(row["after"])
        table.add_row(str(i), row["skill"], str(row["n"]), expert, row["status"], row["why"], held)
    if outlook.plan.interrupts:
        table.caption, table.caption_justify = "\n".join(map(_interrupt_text, outlook.plan.interrupts)), "left"
    return table


def _interrupt_text(interrupt: PlanInterrupt) -> str:
    rule = interrupt.rule
    when = " or ".join(f"{name} is {level} or less" for name, level in rule.when.items())
    until = " and ".join(f"{name} is {level}" for name, level in rule.until.items())
    return f"{interrupt.skill} (expert {interrupt.expert}) pre-empts them when {when}, until {until} again."


def frontier_table(verdicts: Sequence[SkillStanding]) -> Table:
    """A row for each skill's standing and the reason."""
    table = plain_table("skill", "standing", "reason", title="what can be learned next")
    for verdict in verdicts:
        style = {"ready": "bold green", "learned": "green"}.get(verdict.standing, "dim")
        table.add_row(verdict.skill, verdict.standing, verdict.reason, style=style)
    return table


def library_table(
    records: Sequence[SkillRecord], running: Sequence[RunSpec] = (), frames: Mapping[str, int] | None = None
) -> Table:
    """A row for each skill and each run."""
    columns = ("skill", "status", "expert", "frames", "step success", "plan success", "path")
    table = plain_table(*columns, right=("expert", "frames"), title="library")
    for record in records:
        shares = (str(record.evaluation.step_success), str(record.evaluation.success))
        status = Text(record.status, style=_STATES[record.status])
        table.add_row(record.name, status, str(record.expert_idx), f"{record.frames:,}", *shares, record.path)
    for spec in running:
        table.add_row(spec.skill, Text("running", style=_STATES["running"]), str(spec.expert), "", "", "", "")
    if frames is not None:
        table.caption, table.caption_justify = frames_text(frames), "left"
    return table


def causes_text(causes: Mapping[str, int], max_causes: int = 3) -> str:
    """The most frequent causes of failure. E.g. ``zombie 88 %, lava 7 %``."""
    total = sum(causes.values())
    if not total:
        return "none"
    ranked = sorted(causes.items(), key=lambda item: -item[1])[:max_causes]
    return ", ".join(f"{name} {100 * number / total:.0f} %" for name, number in ranked)


def evaluation_tables(evaluation: Evaluation, tasks: Sequence[str]) -> Group:
    """Tables of shares, causes of failure and tasks."""
    figures = ("task", "reached", "finished", "of those that reached it")
    table = plain_table("task", "skill", *figures[1:], right=figures)
    for i, skill in enumerate(tasks):
        share = Share(successes=evaluation.finished[i], total=evaluation.reached[i])
        table.add_row(str(i), skill, str(share.total), str(share.successes), str(share))
    lines = [
        f"plan success   {evaluation.success}   ({evaluation.success.successes} of {evaluation.success.total} worlds)",
        f"step success   {evaluation.step_success}   (of {evaluation.step_success.total} that reached the last task)",
        f"episode length {evaluation.length:.1f} steps on average",
        f"failures       {causes_text(evaluation.causes, 9)}",
        *(f"  for n = {n}    {share}" for n, share in sorted(evaluation.per_amount.items())),
    ]
    return Group(*(Text(line) for line in lines), Text(""), table)


def history_table(versions: Sequence[Version]) -> Table:
    """A row for each version of a skill."""
    table = plain_table("version", "status", "frames", "step success", "plan success", "", right=("version", "frames"))
    for version in versions:
        record, evaluation = version.record, version.record.evaluation
        mark = "current" if version.current else ""
        shares = (str(evaluation.step_success), str(evaluation.success))
        table.add_row(str(record.version), record.status, f"{record.frames:,}", *shares, mark)
    return table


def _so_far(report: RunReport) -> str:
    return "unknown" if report.step_success is None else str(report.step_success)


def runs_table(found: Sequence[RunReport]) -> Table:
    """A row for each run."""
    columns = ("skill", "state", "expert", "frames", "budget", "step success", "minutes", "error")
    table = plain_table(*columns, right=("expert", "frames", "budget", "minutes"), title="runs")
    for report in found:
        state, error = Text(report.state, style=_STATES[report.state]), Text(first_line(report.error))
        counts = (str(report.expert), f"{report.frames:,}", f"{report.budget:,}")
        table.add_row(report.skill, state, *counts, _so_far(report), f"{report.seconds / 60:.1f}", error)
    return table


def first_line(text: str) -> str:
    """The first line of a message."""
    return text.splitlines()[0] if text else ""


def status_view(status: HomeStatus) -> Group:
    """A home on one screen. Its skills as a tree, each below the last one it builds on."""
    owner = f"growing in process {status.owner}, up to {status.jobs} runs at once" if status.owner else "not running"
    root = Tree(Text(f"{status.home}: {status.env}, {owner}"), guide_style="dim")
    nodes: dict[str, Tree] = {}
    for name, (label, needs) in _labels(status).items():
        above = next((nodes[need] for need in reversed(needs) if need in nodes), root)
        nodes[name] = above.add(label)
    counts = Counter(report.state for report in status.runs if report.state not in ("learned", "weak"))
    counts.update(record.status for record in status.records)
    counts["waiting"] = len(status.waiting)
    line = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    failures = [report for report in status.runs if report.state == "failed"]
    errors = [Text(f"{report.skill} failed: {first_line(report.error)}", style="red") for report in failures]
    return Group(root, Text(line or "nothing learned yet"), Text(frames_text(status.frames)), *errors)


def frames_text(frames: Mapping[str, int]) -> str:
    """All frames of a home. E.g. ``frames played: 900,000 (train 800,000, gate 100,000)``."""
    parts = ", ".join(f"{purpose} {number:,}" for purpose, number in frames.items())
    return f"frames played: {sum(frames.values()):,}" + (f" ({parts})" if parts else "")


def _labels(status: HomeStatus) -> dict[str, tuple[Text, tuple[str, ...]]]:
    """Label and needs of each skill. Learned ones first."""
    found: dict[str, tuple[Text, tuple[str, ...]]] = {}
    for record in status.records:
        text = f"{record.name}  {record.status}, step success {record.evaluation.step_success}"
        label = Text(text, style=_STATES[record.status])
        found[record.name] = (label, needs_of(record.plan, record.name))
    for report in status.runs:
        if report.state in ("learned", "weak"):
            continue
        frames = f"{report.frames:,} of at most {report.budget:,} frames"
        text = f"{report.skill}  {report.state}, {frames}, {_standing(report)}"
        found[report.skill] = (Text(text, style=_STATES[report.state]), report.needs)
    for name, needs in status.waiting.items():
        label = Text(f"{name}  waits for {', '.join(needs) or 'a free slot'}", style=_STATES["waiting"])
        found.setdefault(name, (label, needs))
    return found


def _standing(report: RunReport) -> str:
    """What a run has come to. A chain run by its whole plan, with its deaths."""
    if not report.chain:
        return f"step success {_so_far(report)}"
    parts = [f"success {report.success}" if report.success is not None else "success unknown"]
    if report.deaths_per_1000_steps is not None:
        parts.append(f"{report.deaths_per_1000_steps:.1f} deaths in 1,000 steps")
    if report.seconds_left is not None:
        parts.append(f"at most {report.seconds_left / 60:.0f} minutes left")
    return ", ".join(parts)


def analysis_report(findings: Findings, found: Repair) -> Group:
    """The findings and suggested corrections of an analysis."""
    parts: list[Any] = [Text(note, style="yellow") for note in findings.notes]
    if findings.statistics is not None:
        parts.append(_segments_table(findings.statistics))
    parts += [Text(way_text(way), "" if i == found.way else "dim") for i, way in enumerate(findings.ways)]
    parts += [Text(trajectory_text(each, most=20), style="dim") for each in findings.trajectories[:1]]
    parts.append(_changes_table(found) if found.changes else Text("Nothing contradicts the specification.", "green"))
    return Group(*(line for part in parts for line in (part, "")))


def _segments_table(found: Statistics) -> Table:
    how = "a script" if found.scripted else "the skill's policy"
    title = f"{found.segments} successful segments of {found.skill}, played by {how}: min / median / max"
    table = plain_table("fluent", "start", "end", "consumed", "gained", right=("start", "end"), title=title)
    for each in found.fluents:
        changes = (str(change) if change.most else "" for change in (each.consumed, each.gained))
        table.add_row(each.fluent, str(each.start), str(each.end), *changes)
    return table


def _changes_table(found: Repair) -> Table:
    table = plain_table("part", "fluent", "says", "should say", "evidence", title="what contradicts the specification")
    for change in found.changes:
        says, should = (quantity_text(q) if q is not None else "nothing" for q in (change.before, change.after))
        table.add_row(change.part, change.fluent, says, should, change.evidence)
    return table
