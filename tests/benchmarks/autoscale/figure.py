"""All cases in one picture: attainment against GPU-hours, every policy a mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.autoscale.report import Json, name

# Okabe and Ito's colours; marks besides, for those who do not tell them apart.
MARKS = {
    "outrider": ("Outrider", "#0072B2", "o"),
    "hpa": ("HPA on concurrency", "#E69F00", "s"),
    "kpa": ("Knative's KPA", "#009E73", "^"),
    "fixed_best": ("best fixed fleet in hindsight", "#666666", "D"),
}
COLUMNS, CELL_IN, DPI = 4, 3.2, 120


def draw(file: Path, runs: Sequence[Json]) -> None:
    """Writes a PNG with a cell a case. Pale: what HPA and KPA come to with the goals that were not best."""
    columns = min(COLUMNS, len(runs))
    rows = math.ceil(len(runs) / columns)
    figure = Figure(figsize=(CELL_IN * columns + 0.5, CELL_IN * rows + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("Within the SLO against GPU-hours; simulated pods, Azure's traces of 2023")
    cells = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in cells.flat[len(runs) :]:
        axes.axis("off")
    for axes, run in zip(cells.flat, runs, strict=False):
        for policy, (label, colour, marker) in MARKS.items():
            for row in run["tried"].get(policy, ()):
                axes.plot(row["gpu_hours"], 100 * row["slo"], marker, color=colour, alpha=0.25, markersize=4)
            row = run["policies"][policy]
            axes.plot(row["gpu_hours"], 100 * row["slo"], marker, color=colour, label=label, linestyle="none")
        axes.set_title(name(run), fontsize=9)
        axes.set_ylim(0, 102)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    for axes in cells[:, 0]:
        axes.set_ylabel("within SLO, %")
    for axes in cells[-1]:
        axes.set_xlabel("GPU-hours")
    figure.legend(*cells[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(MARKS), fontsize=8)
    figure.savefig(file, dpi=DPI, format="png")
