"""The figures of each number of models, what they are held against, and the table. Pure, but for the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

# One write for each object, two certificates among them, and one status; children of 500 models within a minute; at
# rest nothing.
CHILDREN_S = 60.0
CPU_SHARE = 0.05
RSS_MB = 250.0
UPDATE_S = 1.0
# Twice the models, twice the time: a tenth and a half is noise and start.
LINEAR = 1.6


@dataclass(frozen=True)
class Point:
    """So many models at once. writes: of the operator until it was quiet. cpu_share: of one core, at rest."""

    resources: int
    objects: int
    children_s: float
    writes: float
    update_p50_s: float
    writes_at_rest: float
    cpu_share: float
    rss_mb: float

    @property
    def writes_per_resource(self) -> float:
        return self.writes / self.resources


def build_report(points: Sequence[Point], machine: Mapping[str, Any], rest_s: float) -> dict[str, Any]:
    """The largest number's figures at the top, every one in `points`."""
    last = points[-1]
    return {
        **_figures(last),
        "rest_s": rest_s,
        "points": [_figures(point) for point in points],
        "goals": _goals(points),
        "machine": machine,
    }


def _figures(point: Point) -> dict[str, Any]:
    return {**asdict(point), "writes_per_resource": point.writes_per_resource}


def _goals(points: Sequence[Point]) -> list[dict[str, Any]]:
    first, last = points[0], points[-1]
    # The certificates of both roles are not watched, and so not among the objects that were counted.
    per_object = last.objects / last.resources + 2 + 1
    growth = (last.children_s / last.resources) / (first.children_s / first.resources)
    held = [
        ("seconds until all children exist", CHILDREN_S, last.children_s),
        ("writes for a model: its children and one status", per_object, last.writes_per_resource),
        ("writes at rest", 0.0, last.writes_at_rest),
        ("share of a core at rest", CPU_SHARE, last.cpu_share),
        ("resident MB", RSS_MB, last.rss_mb),
        ("seconds until a change has reached a child, median", UPDATE_S, last.update_p50_s),
        (f"seconds a model, {last.resources} over {first.resources}", LINEAR, growth),
    ]
    return [
        {"goal": name, "at_most": at_most, "measured": measured, "met": measured <= at_most}
        for name, at_most, measured in held
    ]


def show(console: Console, content: Mapping[str, Any]) -> None:
    table = Table(title="Models through one operator", title_justify="left")
    for head in ("models", "objects", "all there, s", "writes/model", "at rest", "core", "MB", "change, s"):
        table.add_column(head, justify="right")
    for point in content["points"]:
        table.add_row(
            str(point["resources"]),
            str(point["objects"]),
            f"{point['children_s']:.1f}",
            f"{point['writes_per_resource']:.2f}",
            f"{point['writes_at_rest']:.0f}",
            f"{100 * point['cpu_share']:.1f} %",
            f"{point['rss_mb']:.0f}",
            f"{point['update_p50_s']:.2f}",
        )
    console.print(table)
    goals = Table(title="Goals", title_justify="left")
    for head, justify in (("what", "left"), ("at most", "right"), ("measured", "right"), ("", "left")):
        goals.add_column(head, justify=justify)  # type: ignore[arg-type]
    for goal in content["goals"]:
        mark = "[green]✓[/]" if goal["met"] else "[red]✗[/]"
        goals.add_row(goal["goal"], f"{goal['at_most']:.2f}", f"{goal['measured']:.2f}", mark)
    console.print(goals)
