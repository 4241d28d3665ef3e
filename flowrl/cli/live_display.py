"""Progress of a growing library: live panels on a terminal, plain lines elsewhere."""

import statistics
import sys
import time
from collections import Counter, deque
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from flowrl.cli.tables import causes_text
from flowrl.paths import RunPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.metrics import GateRow, MetricsRow, PhaseRow, PlayedRow, StartsRow, UpdateRow
from flowrl.schema.run import RunSpec

_LINE_SECONDS = 10.0
_NEWEST = 50
"""Updates that deaths are counted over."""
_DEADLIEST = 3
"""Tasks whose deaths are told by cause."""
_PHASES = {
    "starting": "starting: jax, the game, new worlds",
    "compiling": "compiling",
    "compiled": "training",
    "update": "training",
    "measuring": "measuring on reserved worlds",
    "gate": "measured",
    "exploring": "collecting start states",
    "starts": "start states found",
    "keeping": "collecting final states",
}


def duration(seconds: float) -> str:
    """Minutes and seconds, e.g. ``1:05`` or ``2:03:04``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def finished_text(spec: RunSpec, row: UpdateRow) -> str:
    """How many episodes finish each task. E.g. ``Collect Wood 98 % > Place Table 95 %``."""
    parts = []
    for task, share in zip(spec.tasks, row.finished, strict=True):
        parts.append(f"{task.skill} {'?' if share.value is None else f'{100 * share.value:.0f} %'}")
    return " > ".join(parts)


def steps_text(spec: RunSpec) -> str:
    """The plan of a run on one line. The trained skill stands in brackets."""
    parts = []
    for i, task in enumerate(spec.tasks):
        amount = f" x{task.high}" if task.high > 1 and task.low == task.high else ""
        amount = f" x{task.low}-{task.high}" if task.low != task.high else amount
        name = f"{task.skill}{amount}"
        parts.append(f"[{name}]" if i == len(spec.tasks) - 1 else name)
    return " > ".join(parts)


class RunView:
    """The latest rows of a run for display."""

    def __init__(self, spec: RunSpec, clock: float):
        self.spec, self.began = spec, clock
        self.row: MetricsRow = PhaseRow(kind="starting")
        self.update: UpdateRow | None = None
        self.gate: GateRow | None = None
        self.rates: deque[float] = deque(maxlen=9)
        self.newest: deque[UpdateRow] = deque(maxlen=_NEWEST)
        self.last_line, self.last_phase = 0.0, ""

    @property
    def phase(self) -> str:
        """The kind of the newest row."""
        return self.row.kind

    def feed(self, row: MetricsRow) -> None:
        """Take in one row."""
        if isinstance(row, PlayedRow):
            return
        self.row = row
        if isinstance(row, UpdateRow):
            self.update = row
            self.newest.append(row)
            if row.fps:
                self.rates.append(row.fps)
        elif isinstance(row, GateRow):
            self.gate = row

    def is_line_due(self, now: float) -> bool:
        """Whether plain output is due a line. On a new phase, and now and then in training."""
        due = self.phase != self.last_phase and self.phase not in {"compiled", "update"}
        if self.phase == "update":
            # The first update compiles, so its speed is unknown.
            due = bool(self.rates) and now - self.last_line >= _LINE_SECONDS
        if due:
            self.last_line, self.last_phase = now, self.phase
        return due

    @property
    def rate(self) -> float | None:
        """Frames a second by the newest updates' median."""
        return statistics.median(self.rates) if self.rates else None

    @property
    def deaths(self) -> str:
        """Deaths in 1,000 steps of the newest updates. In which tasks, and of what."""
        steps = sum(sum(row.task_steps) for row in self.newest)
        if not steps:
            return "unknown"
        causes: dict[str, Counter[str]] = {}
        for row in self.newest:
            for task, deaths in zip(self.spec.tasks, row.deaths, strict=True):
                causes.setdefault(task.skill, Counter()).update(deaths)
        total = sum(deaths.total() for deaths in causes.values())
        worst = sorted(causes.items(), key=lambda item: -item[1].total())[:_DEADLIEST]
        where = [f"{task} {100 * of.total() / total:.0f} % ({causes_text(of)})" for task, of in worst if of]
        return f"{1000 * total / steps:.1f} in 1,000 steps{': ' if where else ''}{', '.join(where)}"

    @property
    def left(self) -> str:
        """The longest time still to go."""
        if not self.rate or self.update is None:
            return "unknown"
        frames = self.spec.config.ppo.frames - self.update.frames
        return f"at most {duration(frames / self.rate)}"


class Display:
    """An observer that shows progress; use as a context manager."""

    def __init__(self, stream: TextIO | None = None):
        self.console = Console(file=stream or sys.stdout, highlight=False)
        self.live: Live | None = None
        self.views: dict[str, RunView] = {}
        self.several = False

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=4, get_renderable=self._panels)
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.views = {}
        if self.live is not None:
            self.live.stop()

    def started(self, spec: RunSpec, paths: RunPaths) -> None:
        """Show that a run begins or resumes."""
        self.several = self.several or bool(self.views)
        self.views[spec.skill] = RunView(spec, time.monotonic())
        trained = ", ".join(str(spec.local_to_global[i]) for i in spec.trained)
        self.note(f"{spec.skill}: expert {trained}, plan {steps_text(spec)}")

    def row(self, skill: str, row: MetricsRow) -> None:
        """Show a row of metrics. Without a terminal, print a line now and then."""
        view = self.views.get(skill)
        if view is None:
            return
        view.feed(row)
        if self.live is None and view.is_line_due(time.monotonic()):
            self.note(f"  {f'{skill}: ' if self.several else ''}{_line(view)}")

    def finished(self, record: SkillRecord) -> None:
        """Show the result of a run."""
        step, plan = record.evaluation.step_success, record.evaluation.success
        self.note(f"{record.name} is {record.status}: step success {step}, plan success {plan}")
        self.views.pop(record.name, None)

    def failed(self, skill: str, reason: str) -> None:
        """Show that a run failed."""
        self.note(f"{skill} failed: {reason}")
        self.views.pop(skill, None)

    def note(self, text: str) -> None:
        """Show a remark on a line of its own."""
        self.console.print(Text(text), soft_wrap=True)
        # Lines should appear at once in a file or pipe, too.
        self.console.file.flush()

    def _panels(self) -> Group:
        return Group(*(_panel(view) for view in self.views.values()))


def _line(view: RunView) -> str:
    row = view.row
    if isinstance(row, GateRow):
        on_plan, where = view.spec.config.gate.on == "plan", " again, on fresh worlds" if row.again else ""
        share = f"success {row.success}" if on_plan else f"step success {row.step_success}"
        return f"measured{where}: {share}, {'passed' if row.passed else 'not yet learned'}"
    if isinstance(row, StartsRow):
        return row.note
    if not isinstance(row, UpdateRow):
        return _PHASES[row.kind]
    if view.spec.chain:
        return (
            f"{row.frames:,} of {row.budget:,} frames, {view.rate:,.0f} frames/s, success {row.success}, "
            f"deaths {view.deaths}, failures: {causes_text(row.causes)}, {view.left} left; "
            f"finished by those that reach it: {finished_text(view.spec, row)}"
        )
    return (
        f"{row.frames:,} frames, {view.rate:,.0f} frames/s, step success {row.step_success}, "
        f"failures: {causes_text(row.causes)}, {view.left} left"
    )


def _panel(view: RunView) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    update, config = view.update, view.spec.config
    frames = update.frames if update else 0
    grid.add_row("plan", Text(steps_text(view.spec)))
    rate = f"{view.rate:,.0f} frames/s" if view.rate else ""
    bar = ProgressBar(total=max(config.ppo.frames, 1), completed=frames, width=24)
    counts = Table.grid(padding=(0, 2))
    counts.add_row(bar, Text(f"{frames:,} of at most {config.ppo.frames:,}  {rate}"))
    grid.add_row("frames", counts)
    if view.spec.chain:
        grid.add_row("finished", Text(finished_text(view.spec, update) if update else "unknown"))
        grid.add_row("deaths", view.deaths)
    else:
        grid.add_row("step success", str(update.step_success) if update else "unknown")
    grid.add_row("plan success", str(update.success) if update else "unknown")
    grid.add_row("failures", causes_text(update.causes if update else {}))
    grid.add_row("time", f"{duration(time.monotonic() - view.began)} so far, {view.left} left")
    if view.gate:
        grid.add_row("last gate", str(view.gate.success if view.spec.chain else view.gate.step_success))
    spinner = Spinner("dots", text=_PHASES.get(view.phase, view.phase))
    return Panel(Group(grid, spinner), title=Text(f"learning {view.spec.skill}"), title_align="left", expand=False)
