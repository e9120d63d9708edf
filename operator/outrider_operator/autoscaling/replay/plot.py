"""A replay as a picture: load, replicas of both roles, latencies, attainment and decisions over time."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from outrider_operator.autoscaling.replay.contest import Result
from outrider_operator.autoscaling.replay.figures import Latencies, Minute, minutes
from outrider_operator.autoscaling.replay.fleet import Slo

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by most who are colour-blind; lines differ besides.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#666666"
COLUMN_IN, HEIGHT_IN = 5.0, 10.0
DPI = 120
# That fit over one column.
TITLE_CHARACTERS = 40
# A request in a long queue must not hide what happens around the goal.
MOST_GOALS = 5.0


class PlotError(Exception):
    """Why there is no picture, in one line."""


@dataclass(frozen=True)
class Column:
    """One policy's part of the picture."""

    result: Result
    slo: Slo
    minutes: Sequence[Minute]

    @property
    def caption(self) -> str:
        of = self.result.figures
        name = f"{self.result.policy} ({self.result.setting})"
        return f"{name}\n{of.slo:.1%} within SLO, {of.gpu_hours:.1f} GPU-hours"


def plot(file: Path, title: str, slo: Slo, results: Sequence[Result]) -> None:
    """Writes a PNG with a column a policy. Raises PlotError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotError("needs matplotlib; run `pip install 'outrider-operator[plot]'`") from None
    figure = Figure(figsize=(COLUMN_IN * max(1.6, len(results)), HEIGHT_IN), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(title, TITLE_CHARACTERS * max(2, len(results))), fontsize=10)
    rows = (_load, _replicas, _first_tokens, _further_tokens, _attainment)
    grid = figure.subplots(len(rows), len(results), sharex=True, sharey="row", squeeze=False)
    for index, result in enumerate(results):
        column = Column(result, slo, minutes(result.outcome, slo))
        for draw, axes in zip(rows, grid[:, index], strict=True):
            draw(axes, column)
            axes.grid(alpha=0.3)
            if index:
                axes.set_ylabel("")
        grid[0][index].set_title(column.caption, fontsize=10)
        grid[-1][index].set_xlabel("minutes")
    for axes in grid[:2, 0]:
        # When all are drawn: columns share it, and a limit set ends its growth.
        axes.set_ylim(bottom=0)
    try:
        figure.savefig(file, dpi=DPI, format="png")
    except OSError as error:
        raise PlotError(f"{file} cannot be written ({error.strerror}); name a file in a folder that can") from None


def _load(axes: Axes, column: Column) -> None:
    at = [minute.minute for minute in column.minutes]
    prompts = [minute.prompt_tokens_per_s / 1000 for minute in column.minutes]
    axes.step(at, [minute.requests_per_s for minute in column.minutes], where="post", color=BLUE, label="requests/s")
    axes.step(at, prompts, where="post", color=GREY, linestyle="--", label="1000 prompt tokens/s")
    axes.set_ylabel("load")
    axes.legend(fontsize=7)


def _replicas(axes: Axes, column: Column) -> None:
    """Ready as lines, wanted as dotted ones, each decision on targets a mark; grey where speculation is off."""
    samples = column.result.outcome.samples
    at = [sample.at_s / 60 for sample in samples]
    for label, colour, ready, wanted in (
        ("targets", BLUE, [each.targets_ready for each in samples], [each.wanted.targets for each in samples]),
        ("drafts", GREEN, [each.drafts_ready for each in samples], [each.wanted.drafts for each in samples]),
    ):
        axes.step(at, ready, where="post", color=colour, label=f"{label} ready")
        axes.step(at, wanted, where="post", color=colour, linestyle=":", linewidth=1)
    for change in column.result.outcome.changes:
        before, after = change.before.targets, change.decision.target_replicas
        if before != after:
            axes.plot(change.at_s / 60, after, "^" if after > before else "v", color=BLUE, markersize=4)
    for start, end in pairwise(samples):
        if not start.wanted.speculate:
            axes.axvspan(start.at_s / 60, end.at_s / 60, color=GREY, alpha=0.2, linewidth=0)
    axes.set_ylabel("replicas")
    axes.legend(fontsize=7)


def _first_tokens(axes: Axes, column: Column) -> None:
    _latency(axes, column, column.slo.ttft_s, lambda of: (of.ttft_p50_s, of.ttft_p95_s))
    axes.set_ylabel("TTFT, ms")


def _further_tokens(axes: Axes, column: Column) -> None:
    _latency(axes, column, column.slo.itl_s, lambda of: (of.itl_p50_s, of.itl_p95_s))
    axes.set_ylabel("mean ITL of a request, ms")


def _latency(
    axes: Axes, column: Column, goal_s: float, of: Callable[[Latencies], tuple[float | None, float | None]]
) -> None:
    at = [minute.minute for minute in column.minutes]
    for index, (label, line) in enumerate((("p50", "--"), ("p95", "-"))):
        values = [of(minute.latencies)[index] for minute in column.minutes]
        shown = [float("nan") if value is None else value * 1000 for value in values]
        axes.step(at, shown, where="post", color=BLUE, linestyle=line, label=label)
    axes.axhline(goal_s * 1000, color=ORANGE, label="goal")
    axes.set_ylim(0, MOST_GOALS * goal_s * 1000)
    axes.legend(fontsize=7)


def _attainment(axes: Axes, column: Column) -> None:
    known = [(minute.minute, 100 * minute.slo) for minute in column.minutes if minute.slo is not None]
    axes.step([at for at, _ in known], [share for _, share in known], where="post", color=BLUE)
    axes.set_ylabel("within SLO, %")
    axes.set_ylim(0, 101)
