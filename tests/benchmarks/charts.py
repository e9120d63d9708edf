"""`python -m benchmarks.charts`: the figures of what bench-decode and bench-load measured, as PNG beside the JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from outrider_serving.cli import FlagError, run

from benchmarks.load.points import MIXED, TRACES

PROGRAM = "benchmarks.charts"
Json = Mapping[str, Any]

# Okabe and Ito's colours, told apart by most who are colour-blind; marks and hatches besides.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#666666"
SYSTEMS = {
    "on": ("Outrider, speculating", BLUE, "o", "-"),
    "off": ("Outrider, mode Off", ORANGE, "s", "--"),
    "hf": ("transformers continuous batching", GREEN, "^", ":"),
}
WIDTH_IN, HEIGHT_IN, CAPTION_IN = 9.0, 4.2, 0.6
DPI = 150
CAPTION_CHARACTERS = 150

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Bars:
    """One series over all categories; None where nothing was run."""

    label: str
    values: Sequence[float | None]


def throughput(report: Json) -> dict[float, dict[str, list[tuple[int, float]]]]:
    """Temperature → system → (streams, tokens a second) of the mixed workload, by rising streams."""
    found: dict[float, dict[str, list[tuple[int, float]]]] = {}
    for point in sorted(report["points"], key=lambda point: point["streams"]):
        for system in SYSTEMS:
            rate = point[f"{system}_tok_s"]
            if point["category"] == MIXED and rate is not None:
                found.setdefault(point["temperature"], {}).setdefault(system, []).append((point["streams"], rate))
    return found


def categories(report: Json) -> tuple[list[str], list[Bars]]:
    """Names, and the speed-up over mode Off of each, greedy and at temperature 1."""
    if report["benchmark"] == "decode":
        of = report["by_category"]
        ratios = [of[name]["ratios"].get("outrider/outrider_off", {}).get("total") for name in of]
        sampled = [of[name]["temperature_1"] for name in of]
        return list(of), [Bars("greedy", ratios), Bars("temperature 1", sampled)]
    points = [point for point in report["points"] if point["category"] not in (MIXED, *TRACES)]
    names = list(dict.fromkeys(point["category"] for point in points))
    ratios_of = {(point["category"], point["temperature"]): point["on_off"] for point in points}
    return names, [
        Bars("greedy", [ratios_of.get((name, 0.0)) for name in names]),
        Bars("temperature 1", [ratios_of.get((name, 1.0)) for name in names]),
    ]


def caption(report: Json) -> str:
    """What was measured, where and when."""
    machine, settings = report["machine"], report["settings"]
    models = settings["target"] + (f" drafted by {settings['draft']}" if settings["draft"] else ", n-grams")
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
    versions = f"torch {machine['torch']}, transformers {machine['transformers']}, {machine['date'][:10]}"
    part = "" if report["complete"] else "; the run was stopped before its end"
    return f"{models}, {settings['dtype']}, {settings['tokens']} tokens an answer. {where}; {versions}{part}."


def draw(file: Path) -> list[Path]:
    """The figures of one JSON, as files beside it. Raises FlagError when there is nothing to draw."""
    report = _read(file)
    drawn = []
    if report["benchmark"] == "load" and (rates := throughput(report)):
        figure = _figure(len(rates), f"Throughput under load, pair {report['pair']}", caption(report))
        for axes, (temperature, systems) in zip(figure.axes, sorted(rates.items()), strict=True):
            _draw_throughput(axes, temperature, systems)
        drawn.append(_save(figure, file, "throughput"))
    names, bars = categories(report)
    if any(value is not None for each in bars for value in each.values):
        streams = "one stream" if report["benchmark"] == "decode" else f"{_category_streams(report)} streams"
        title = f"Speed-up by category, pair {report['pair']}, {streams}"
        figure = _figure(1, title, caption(report))
        _draw_categories(figure.axes[0], names, bars)
        drawn.append(_save(figure, file, "categories"))
    if not drawn:
        raise FlagError("FILE", f"{file} holds nothing to draw; measure first, with make bench-load or bench-decode")
    return drawn


def _category_streams(report: Json) -> int:
    streams: int = next(point["streams"] for point in report["points"] if point["category"] not in (MIXED, *TRACES))
    return streams


def _read(file: Path) -> Json:
    try:
        report: Json = json.loads(file.read_text(encoding="utf-8"))
        if report["benchmark"] not in ("load", "decode"):
            raise KeyError("benchmark")
    except (OSError, ValueError, KeyError, TypeError):
        message = f"{file} is no JSON of bench-load or bench-decode; give one of theirs"
        raise FlagError("FILE", message) from None
    return report


def _figure(columns: int, title: str, text: str) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN + CAPTION_IN), layout="constrained")
    share = CAPTION_IN / (HEIGHT_IN + CAPTION_IN)
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.set(rect=(0, share, 1, 1 - share))  # type: ignore[call-arg]
    figure.suptitle(title)
    figure.text(0.01, 0.02, textwrap.fill(text, CAPTION_CHARACTERS), fontsize=7, color=GREY)
    figure.subplots(1, columns, sharey=True)
    return figure


def _draw_throughput(axes: Axes, temperature: float, systems: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    for system, points in systems.items():
        label, colour, marker, line = SYSTEMS[system]
        streams, rates = zip(*points, strict=True)
        axes.plot(streams, rates, label=label, color=colour, marker=marker, linestyle=line)
    axes.set_xscale("log", base=2)
    loads = sorted({streams for points in systems.values() for streams, _ in points})
    axes.set_xticks(loads, [str(load) for load in loads])
    axes.set_xlabel("streams at once")
    axes.set_ylabel("tokens/s, all streams together")
    axes.set_ylim(bottom=0)
    axes.set_title("greedy" if temperature == 0 else f"temperature {temperature:g}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_categories(axes: Axes, names: Sequence[str], bars: Sequence[Bars]) -> None:
    width = 0.8 / len(bars)
    for index, (each, colour, hatch) in enumerate(zip(bars, (BLUE, ORANGE), ("", "//"), strict=True)):
        at = [place + (index - (len(bars) - 1) / 2) * width for place in range(len(names))]
        heights = [value or 0.0 for value in each.values]
        axes.bar(at, heights, width, label=each.label, color=colour, hatch=hatch, edgecolor="white")
    axes.axhline(1.0, color="black", linewidth=1, linestyle="--", label="as fast as mode Off")
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8)
    axes.set_ylabel("times the tokens/s of mode Off")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)


def _save(figure: Figure, file: Path, what: str) -> Path:
    png = file.with_name(f"{file.stem}-{what}.png")
    figure.savefig(png, dpi=DPI)
    return png


@app.command(epilog="Example: python -m benchmarks.charts benchmarks/results/load-s.json")
def charts(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSONs of bench-load and bench-decode.")],
) -> int:
    """Draw throughput against concurrency, and speed-up by category, as PNG files beside each JSON."""
    matplotlib.use("agg")
    for file in files:
        for png in draw(file):
            print(png)
    return 0


def main() -> None:
    run(app, PROGRAM)


if __name__ == "__main__":
    main()
