"""What is shown while a benchmark runs: a bar in a terminal, a line a prompt elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.runs import Run

# The bar must not take the processor from what is measured.
REFRESHES_PER_SECOND = 1


class Screen:
    """Says lines, and how far the comparison is."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}"),
            console=console,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None, left="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """A line that stays, and what is being done from now on."""
        self.console.print(line, highlight=False)
        self._progress.update(self._task, description=line)

    def begin(self, runs: int) -> None:
        self._progress.update(self._task, total=runs, completed=0, description="running")

    def ran(self, run: Run, done: int, total: int, left_s: float) -> None:
        rate = f"T={run.temperature:g} {run.tok_s:.1f} tok/s"
        self.step(f"{run.category} {run.prompt}: {run.system} {rate}", done, total, left_s)

    def step(self, what: str, done: int, total: int, left_s: float | None) -> None:
        """What was done: in the bar of a terminal, a line elsewhere. left_s: None while it is not known."""
        left = "" if left_s is None else f"{duration(left_s)} left"
        self._progress.update(self._task, completed=done, left=left, description=what)
        if not self.console.is_terminal:
            self.console.print(f"{done}/{total} {what}{left and ', '}{left}", highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """3 min 05 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
